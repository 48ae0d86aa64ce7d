"""Graphs run by NumPy alone give what ONNX Runtime gives, and a board without it builds, calibrates and proves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgefsa.artifacts import Manifest
from edgefsa.engines.numbers import FRAMES_BY_EVALUATOR
from edgefsa.graph.files import load_graph
from edgefsa.graph.reference import ReferenceRunner
from edgefsa.graph.running import evaluator_in_words, onnx_runner
from edgefsa.media.frames import Frame
from edgefsa.quantize import fp16_onnx, int8_onnx, ranges_from_calibration

# What a board lacks; a module that is blocked cannot be imported at all.
ABSENT = ("torch", "onnxscript", "onnx_ir", "onnxsim", "safetensors", "onnxruntime", "matplotlib", "jinja2", "scipy")
BLOCKED = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
from edgefsa.cli import main
main()
"""
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
CONVOLUTIONS = {
    "plain": ((1, 6, 9, 12), (8, 6, 3, 3), {"pads": [1, 1, 1, 1]}),
    "stride and uneven pads": ((2, 6, 10, 13), (4, 6, 3, 5), {"strides": [2, 3], "pads": [0, 1, 2, 3]}),
    "dilated": ((1, 4, 15, 17), (4, 4, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "depthwise": ((1, 6, 9, 12), (6, 1, 5, 5), {"group": 6, "pads": [2, 2, 2, 2]}),
    "grouped": ((1, 6, 9, 12), (9, 2, 1, 1), {"group": 3, "strides": [2, 2]}),
    "1-D, which the evaluator does": ((1, 6, 20), (4, 6, 3), {"pads": [1, 1]}),
    "padded by name, which the evaluator does": ((1, 3, 9, 9), (4, 3, 3, 3), {"auto_pad": "SAME_UPPER"}),
}
RESIZES: dict[str, tuple[dict[str, Any], list[float], list[int]]] = {
    "up": ({"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, [], [1, 3, 18, 31]),
    "down": ({"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, [], [1, 3, 4, 5]),
    "by scales": ({"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, [1, 1, 2, 1.6], []),
    "corners": ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, [], [1, 3, 17, 29]),
    "nearest": (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        *([], [1, 3, 14, 25]),
    ),
    "cubic, which the evaluator does": (
        {"mode": "cubic", "coordinate_transformation_mode": "half_pixel"},
        *([], [1, 3, 10, 15]),
    ),
}


def one_node(node: onnx.NodeProto, shape: tuple[int, ...], kind: int, **stored: np.ndarray) -> onnx.ModelProto:
    """A graph of one node, from `frames` to `found`."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("frames", kind, shape)],
        [helper.make_tensor_value_info("found", kind, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def both(model: onnx.ModelProto, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What NumPy and what ONNX Runtime, unoptimised, make of `value`."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return ReferenceRunner(model, ["found"])(value)[0], session.run(None, {"frames": value})[0]


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    yield


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions_are_those_of_onnx_runtime(case: str, kind: type[np.floating]) -> None:
    shape, weight_shape, settings = CONVOLUTIONS[case]
    rng = np.random.default_rng(1)
    stored = {"weight": rng.standard_normal(weight_shape), "bias": rng.standard_normal(weight_shape[0])}
    node = helper.make_node("Conv", ["frames", "weight", "bias"], ["found"], **settings)
    onnx_type = FLOAT if kind is np.float32 else HALF
    model = one_node(node, shape, onnx_type, **{name: value.astype(kind) for name, value in stored.items()})
    found, wanted = both(model, rng.standard_normal(shape).astype(kind))
    assert found.dtype == wanted.dtype == kind
    np.testing.assert_allclose(
        found, wanted, **({"atol": 1e-5} if kind is np.float32 else {"atol": 2e-2, "rtol": 2e-3})
    )


@pytest.mark.parametrize("case", RESIZES)
def test_resizing_is_that_of_onnx_runtime(case: str) -> None:
    settings, scales, sizes = RESIZES[case]
    stored = {"by": np.array(scales, np.float32)} if scales else {"to": np.array(sizes, np.int64)}
    node = helper.make_node(
        "Resize", ["frames", "", "by" if scales else "", "" if scales else "to"], ["found"], **settings
    )
    rng = np.random.default_rng(2)
    found, wanted = both(one_node(node, (1, 3, 7, 10), FLOAT, **stored), rng.random((1, 3, 7, 10), np.float32))
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_what_the_fast_forms_do_not_cover_is_left_to_onnx(without_onnxruntime: None) -> None:
    """A clip in place of an edge: nothing here knows of `antialias`, the evaluator does."""
    node = helper.make_node("Resize", ["frames", "", "", "to"], ["found"], mode="linear", antialias=1)
    value = np.random.default_rng(3).random((1, 1, 12, 12), np.float32)
    model = one_node(node, (1, 1, 12, 12), FLOAT, to=np.array([1, 1, 4, 4], np.int64))
    (plain,) = ReferenceRunner(model, ["found"])(value)
    (wanted,) = onnx.reference.ReferenceEvaluator(model).run(None, {"frames": value})
    np.testing.assert_array_equal(plain, wanted)


@pytest.mark.parametrize("form", ["float", "int8", "int8 and float16", "float16"])
def test_whole_networks_agree_in_every_form(
    form: str, edge_onnx: Path, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the last bits of sums, only values that lie between two INT8 codes may fall to the other one."""
    graph = load_graph(edge_onnx)
    if "int8" in form:
        ranges = ranges_from_calibration(edge_onnx, [frame], max_frames=1)
        graph, _ = int8_onnx(graph, ranges, rest="f16" if "float16" in form else "f32")
    elif form == "float16":
        graph = fp16_onnx(graph)[0]
    height, width = (dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    frames = np.ascontiguousarray(frame[None, :height, :width])
    frames = np.pad(frames, ((0, 0), (0, height - frames.shape[1]), (0, width - frames.shape[2]), (0, 0)))
    logits, masks = onnx_runner(graph, optimised=False)(frames)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert evaluator_in_words() == f"the reference evaluator of onnx {onnx.__version__}"
    found_logits, found_masks = onnx_runner(graph, optimised=False)(frames)
    assert masks is not None and found_masks is not None and found_masks.dtype == masks.dtype == np.uint8
    apart = np.linalg.norm(found_logits - logits) / np.linalg.norm(logits)
    assert apart < {"float": 1e-5, "float16": 2e-3}.get(form, 0.03)
    assert (found_masks == masks).mean() > (0.95 if "int8" in form else 0.998)


def test_ranges_measured_without_onnx_runtime_are_the_same(
    edge_onnx: Path, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ranges_from_calibration(edge_onnx, [frame], max_frames=1, method="minmax")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = ranges_from_calibration(edge_onnx, [frame], max_frames=1, method="minmax")
    assert found.tensors.keys() == wanted.tensors.keys() and len(found.tensors) > 20
    for name, value in wanted.tensors.items():
        assert found.tensors[name]["amax"] == pytest.approx(value["amax"], rel=1e-3), name


@pytest.mark.parametrize(
    ("target", "precision"), [("openvino", "int8"), *(("tensorrt-rtx", precision) for precision in ("int8", "fp16"))]
)
def test_a_board_builds_from_onnx_with_onnx_and_numpy_alone(
    target: str, precision: str, edge_onnx: Path, tmp_path: Path
) -> None:
    """Everything else that builds use on a workstation is blocked; the engine is proved all the same."""
    pytest.importorskip("tensorrt_rtx" if target == "tensorrt-rtx" else target)
    command = ["build", str(edge_onnx), "--target", target, "--precision", precision, "-o", str(tmp_path), "--json"]
    command += ["--compute-capability", "8.6"] if target == "tensorrt-rtx" else []
    code = BLOCKED.format(absent=ABSENT)
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    numbers = Manifest.read(json.loads(done.stdout)["engine"]).proof["numbers"]
    assert numbers["computed_by"].startswith("the reference evaluator of onnx")
    assert 0 < numbers["float_to_converted"]["relative_l2"] < 0.5
    assert numbers["frames"] == FRAMES_BY_EVALUATOR
    if target == "openvino":
        assert numbers["converted_to_engine"]["agreement"] > 0.98
    else:
        assert numbers["converted_to_engine"] is None
    stored = Manifest.read(json.loads(done.stdout)["engine"])
    assert stored.golden["agreement"] > 0.9


def test_an_onnx_runtime_engine_needs_nothing_of_torch(edge_onnx: Path, tmp_path: Path) -> None:
    absent = tuple(name for name in ABSENT if name != "onnxruntime")
    command = ["build", str(edge_onnx), "--target", "onnxruntime", "--precision", "int8", "-o", str(tmp_path), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(absent=absent), *command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    numbers = Manifest.read(json.loads(done.stdout)["engine"]).proof["numbers"]
    assert numbers["computed_by"] == f"onnxruntime {onnxruntime.__version__}"
