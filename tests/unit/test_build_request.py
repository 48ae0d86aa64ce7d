"""From a request to an engine in one call: the options that are taken, what is said, and what is done once only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgefsa.artifacts import sha256_of_file
from edgefsa.build import BuildRequest, ModelRequest, build_from_request, model_from_request
from edgefsa.data.mixture import Mixture
from edgefsa.errors import CheckpointError, InputError
from edgefsa.graph.files import load_graph, weights_hash
from edgefsa.media.pictures import write_image
from edgefsa.models import create_model
from edgefsa.models.rebuilt import module_of
from edgefsa.quantize import Ranges
from edgefsa.quantize.half import LARGEST_AMAX
from tests.unit.engines import tiny


@pytest.fixture
def request_for(tmp_path: Path) -> BuildRequest:
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny.tiny_graph(), path)
    return BuildRequest(str(path), ModelRequest(), "int8", "openvino", tmp_path / "engines")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with two pictures of the tiny network's size."""
    frames = np.random.default_rng(3).integers(0, 256, (2, *tiny.SIZE_HW, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        write_image(tmp_path / "images" / f"{index}.png", frame)
    return tmp_path / "images"


def wide_ranges(request: BuildRequest, folder: Path) -> Path:
    """Ranges by which the body's output has no room in float16."""
    source = load_graph(request.source)
    tensors = {name: {"amax": 4.0} for node in source.graph.node for name in node.output}
    tensors["body_relu"] = {"amax": 2 * LARGEST_AMAX}
    return Ranges("tiny", weights_hash(source), "minmax", {"name": "made up"}, tensors).write(folder / "ranges.json")


def test_an_fp16_build_takes_ranges(request_for: BuildRequest, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    request = replace(request_for, precision="fp16", target="tensorrt-rtx", ranges=wide_ranges(request_for, tmp_path))
    engine = Path(build_from_request(request, say=print)["engine"])
    graph = onnx.shape_inference.infer_shapes(onnx.load(engine / "fp16.onnx"), strict_mode=True).graph
    kinds = {item.name: item.type.tensor_type.elem_type for item in graph.value_info}
    assert kinds["body_relu"] == onnx.TensorProto.FLOAT and onnx.TensorProto.FLOAT16 in kinds.values()


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("fp32", {"ranges": Path("ranges.json")}, "--ranges is for --precision int8 and fp16, not fp32"),
        (
            "fp16",
            {"mixture": Mixture((), ("night",)), "data": "synthetic"},
            "--also and --augment are for an int8 build",
        ),
        ("int8", {"mixture": Mixture(("images:x",))}, "--also and --augment are .* measures its ranges on --data"),
        ("fp16", {"skip": ("stem",)}, "--skip is for --precision int8, not fp16"),
    ],
)
def test_options_of_another_precision(
    request_for: BuildRequest, precision: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build_from_request(replace(request_for, precision=precision, **options), say=print)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_build_parses_and_checks_its_file_once(
    request_for: BuildRequest, precision: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, read, checked = Path(request_for.source), [], []
    read_bytes, check_model = Path.read_bytes, onnx.checker.check_model

    def counted_read(self: Path) -> bytes:
        read.append(self)
        return read_bytes(self)

    def counted_check(model: onnx.ModelProto, *rest: object, **options: object) -> None:
        checked.append(model)
        check_model(model, *rest, **options)

    monkeypatch.setattr(Path, "read_bytes", counted_read)
    monkeypatch.setattr(onnx.checker, "check_model", counted_check)
    data = f"images:{images}" if precision == "int8" else None
    build_from_request(replace(request_for, precision=precision, data=data), say=print)
    assert read.count(source) == 1 and len(checked) == 1


def test_of_several_sets_of_weights_one_is_named_and_recorded(tmp_path: Path) -> None:
    plain, averaged = (create_model("fsanet-edge", num_classes=3).state_dict() for _ in range(2))
    path = tmp_path / "trained.pth.tar"
    torch.save({"model": plain, "ema": {"module": averaged, "updates": 7}, "epoch": 3}, path)
    said: list[str] = []
    request = ModelRequest("fsanet-edge", path, num_classes=3, size_hw=(64, 96))
    model, weights = model_from_request(request, say=said.append)
    assert torch.equal(model.state_dict()["classifier.weight"], plain["classifier.weight"])
    assert weights["key"] == "model" and "ema.module" in said[0] and "--weights-key" in said[0]
    model, weights = model_from_request(replace(request, weights_key="ema.module"), say=said.append)
    assert torch.equal(model.state_dict()["classifier.weight"], averaged["classifier.weight"])
    assert weights["key"] == "ema.module" and len(said) == 1
    with pytest.raises(CheckpointError, match=r"no weights under teacher; .* model \(\d+ tensors\), ema.module"):
        model_from_request(replace(request, weights_key="teacher"))
    with pytest.raises(InputError, match="--weights-key ema is for a checkpoint"):
        model_from_request(ModelRequest("fsanet-edge", weights_key="ema"))


def test_parity_takes_the_weights_that_the_engine_was_built_from(tmp_path: Path) -> None:
    plain, averaged = (create_model("fsanet-edge", num_classes=3).state_dict() for _ in range(2))
    path = tmp_path / "trained.pth"
    torch.save({"model": plain, "ema": averaged}, path)
    weights = {"kind": "checkpoint", "source": str(path), "sha256": sha256_of_file(path), "key": "ema"}
    facts = {"model": "fsanet-edge", "options": {"num_classes": 3}, "weights": weights}
    for key, expected in ((None, averaged), ("ema", averaged), ("model", plain)):
        found = module_of(facts, None, key)[0].state_dict()
        assert torch.equal(found["classifier.weight"], expected["classifier.weight"])
    with pytest.raises(CheckpointError, match="no weights under teacher"):
        module_of(facts, None, "teacher")
    facts["weights"] = {"kind": "random", "source": "random, seed 0", "sha256": "0"}
    with pytest.raises(CheckpointError, match="--weights-key ema is for checkpoints, and this engine has none"):
        module_of(facts, None, "ema")
