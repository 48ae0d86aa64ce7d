"""ONNX files of other tools: what adopts them repeats them, and what cannot be adopted is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.adopt import AdoptRequest, adopt_onnx
from edgefsa.errors import GraphError
from edgefsa.graph.files import load_graph
from edgefsa.graph.running import onnx_runner
from edgefsa.media.tensors import InputForm

SIZE_HW = (32, 48)
CLASSES = 3
NORMALISED = InputForm(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def network(
    form: InputForm = NORMALISED,
    *,
    argmax: bool = False,
    opset: int = 20,
    names: tuple[str, str] = ("image", "logits"),
    dynamic: bool = False,
    outputs: int = 1,
) -> onnx.ModelProto:
    """A convolution and a norm that other tools would write, with nodes that have no names."""
    given, made = names
    rng = np.random.default_rng(5)
    stored = {
        "w": rng.standard_normal((CLASSES, 3, 3, 3)).astype(np.float32),
        **{name: rng.uniform(0.5, 1.5, CLASSES).astype(np.float32) for name in ("gain", "shift", "mu", "var")},
    }
    nodes, current = [], given
    if form.dtype != "float32":
        nodes.append(helper.make_node("Cast", [current], ["as_float"], to=TensorProto.FLOAT))
        current = "as_float"
    if form.layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [current], ["planes"], perm=[0, 3, 1, 2]))
        current = "planes"
    nodes.append(helper.make_node("Conv", [current, "w"], ["conv"], pads=[1, 1, 1, 1]))
    last = "scores" if argmax else made
    nodes.append(helper.make_node("BatchNormalization", ["conv", "gain", "shift", "mu", "var"], [last]))
    if argmax:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["index"], axis=1, keepdims=0))
        nodes.append(helper.make_node("Cast", ["index"], [made], to=TensorProto.INT32))
    shape: Any = ["n", 3, "h", "w"] if dynamic else list(form.shape(1, SIZE_HW))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(form.dtype))
    result = TensorProto.INT32 if argmax else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(made, result, [None] * (3 if argmax else 4))]
    if outputs == 2:
        ends.append(helper.make_tensor_value_info("conv", TensorProto.FLOAT, [None] * 4))
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info(given, element, shape)],
        ends,
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def reference(form: InputForm, frames: np.ndarray) -> np.ndarray:
    """The network in float64, from the pixels on."""
    stored = {item.name: np.float64(numpy_helper.to_array(item)) for item in network(form).graph.initializer}
    pixels = frames[0, ..., ::-1] if form.colours == "rgb" else frames[0]
    image = ((pixels / form.divisor - np.array(form.mean)) / np.array(form.std)).transpose(2, 0, 1)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    conv = np.einsum("ocij,chwij->ohw", stored["w"], windows)
    gain = (stored["gain"] / np.sqrt(stored["var"] + 1e-5))[:, None, None]
    return gain * (conv - stored["mu"][:, None, None]) + stored["shift"][:, None, None]


def adopt(tmp_path: Path, model: onnx.ModelProto, form: InputForm = NORMALISED, **changes: Any) -> Path:
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    given = {"num_classes": CLASSES, "size_hw": SIZE_HW, **changes}
    adopt_onnx(path, AdoptRequest(form, **given), tmp_path / "ours.onnx")
    return tmp_path / "ours.onnx"


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        (NORMALISED, {}),
        (InputForm(colours="bgr", divisor=1.0, mean=(100, 110, 120), std=(50, 55, 60)), {"opset": 13, "dynamic": True}),
        (InputForm.of_uint8(), {}),
        (InputForm("nhwc", "float16", "rgb"), {"names": ("frames", "masks")}),
        (NORMALISED, {"argmax": True, "names": ("masks", "frames")}),
    ],
)
def test_an_adopted_file_takes_frames_and_gives_what_the_network_does(
    tmp_path: Path, form: InputForm, changes: dict[str, Any]
) -> None:
    model = load_graph(adopt(tmp_path, network(form, **changes), form))
    frames = np.random.default_rng(1).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)
    logits, masks = onnx_runner(model)(frames)
    wanted = reference(form, frames)
    limit = 2e-3 if form.dtype == "float16" else 1e-5
    assert np.linalg.norm(logits[0] - wanted) < limit * np.linalg.norm(wanted)
    assert masks is not None and (masks[0] == wanted.argmax(0)).mean() > 0.995


def test_normalisation_goes_into_the_first_convolution(tmp_path: Path) -> None:
    model = load_graph(adopt(tmp_path, network()))
    operators = [node.op_type for node in model.graph.node]
    assert operators[:4] == ["Cast", "Sub", "Transpose", "Conv"] and "BatchNormalization" not in operators
    assert all(node.name for node in model.graph.node)


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        (network(), {"size_hw": (64, 64)}, r"takes image float32 \[1, 3, 32, 48\], not float32 \[1, 3, 64, 64\]"),
        (network(InputForm.of_uint8()), {}, r"takes image uint8 \[1, 32, 48, 3\], not float32"),
        (network(), {"num_classes": 9}, r"the file's output logits is float \[1, 3, 32, 48\], no logits of 9 classes"),
        (network(outputs=2), {}, "the outputs logits, conv; say which with --output-name"),
        (network(outputs=2), {"output_name": "none"}, "has no output none; use one of logits, conv"),
    ],
)
def test_what_cannot_be_adopted(tmp_path: Path, model: onnx.ModelProto, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(GraphError, match=words) as caught:
        adopt(tmp_path, model, **changes)
    assert "\n" not in str(caught.value) and not (tmp_path / "ours.onnx").exists()


def test_one_of_several_outputs(tmp_path: Path) -> None:
    model = load_graph(adopt(tmp_path, network(outputs=2), output_name="conv"))
    assert [item.name for item in model.graph.output] == ["masks"]


@pytest.mark.parametrize("data", [b"", b"nothing of ONNX"])
def test_a_file_that_is_no_onnx(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(data)
    with pytest.raises(GraphError, match=r"bad\.onnx is no valid ONNX file"):
        adopt_onnx(tmp_path / "bad.onnx", AdoptRequest(NORMALISED, num_classes=3, size_hw=SIZE_HW), tmp_path / "o.onnx")
