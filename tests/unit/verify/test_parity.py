from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.engines import build_engine
from edgefsa.engines.cpu.onnxruntime import OnnxRuntimeTarget
from edgefsa.errors import CheckpointError
from edgefsa.export import load_graph, onnx_from_model
from edgefsa.models import create_model, load_default_weights
from edgefsa.quantize import Ranges, ranges_from_calibration
from edgefsa.verify.parity import parity

SIZE_HW = (64, 96)


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return open_dataset("synthetic", split="val", limit=3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = create_model("fsanet-edge")
    weights = load_default_weights(model)
    path = tmp_path_factory.mktemp("parity") / "m.onnx"
    onnx_from_model(model, path, size_hw=SIZE_HW, batch=2, weights=weights)
    return path


@pytest.fixture(scope="module")
def ranges(exported: Path, scenes: Dataset) -> Ranges:
    return ranges_from_calibration(exported, (sample.frame for sample in scenes))


def build(exported: Path, folder: Path, **options: object) -> Path:
    return build_engine(exported, folder, target="onnxruntime", **options).engine


def test_stages_follow_each_other_and_quantising_is_what_moves_the_logits(
    exported: Path, ranges: Ranges, scenes: Dataset, tmp_path: Path
):
    calls: list[tuple[int, int]] = []
    engine = build(exported, tmp_path, precision="int8", ranges=ranges)
    report = parity(engine, dataset=scenes, progress=lambda done, total: calls.append((done, total)))
    stages = {stage.stage: stage for stage in report.stages}
    assert next(iter(stages)) == "model.onnx" and list(stages)[-1] == "engine"
    assert stages["model.onnx"].relative_l2 < 1e-5 and stages["model.onnx"].argmax_agreement > 0.999
    assert 1e-3 < stages["engine"].relative_l2 < 0.2 and 0.9 < stages["engine"].argmax_agreement < 1
    assert report.frames == 3 and calls == [(2, 3), (3, 3)]
    values = report.as_dict()
    assert values["argmax_agreement"] == stages["engine"].argmax_agreement
    assert values["relative_l2"] == stages["engine"].relative_l2 and len(values["stages"]) == len(stages)


def test_an_engine_that_has_no_logits_to_give_is_compared_by_its_masks(
    exported: Path, ranges: Ranges, scenes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As plans of TensorRT that were built for masks are."""
    engine = build(exported, tmp_path, precision="int8", ranges=ranges)
    whole = parity(engine, dataset=scenes).stages[-1]
    monkeypatch.setattr(OnnxRuntimeTarget, "gives_logits", False)
    monkeypatch.setattr(OnnxRuntimeTarget, "open_logits", lambda *_, **__: pytest.fail("there are none"))
    masks = parity(engine, dataset=scenes).stages[-1]
    assert masks.argmax_agreement == whole.argmax_agreement
    assert masks.relative_l2 is None and masks.relative_l2_to_previous is None


def test_a_float_engine_is_the_model(exported: Path, scenes: Dataset, tmp_path: Path):
    report = parity(build(exported, tmp_path), dataset=scenes, limit=1).as_dict()
    assert report["frames"] == 1 and report["relative_l2"] < 1e-5 and report["argmax_agreement"] > 0.999


def test_a_stage_that_differs_is_seen(exported: Path, scenes: Dataset, tmp_path: Path):
    """An engine made from other numbers than its metadata says."""
    model = load_graph(exported)
    bias = next(item for item in model.graph.initializer if item.name == "classifier.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(5), bias.name))
    (tmp_path / "changed.onnx").write_bytes(model.SerializeToString())
    report = parity(build(tmp_path / "changed.onnx", tmp_path), dataset=scenes)
    first, engine = report.stages[0], report.stages[-1]
    assert first.relative_l2 > 0.3 and engine.relative_l2 == pytest.approx(first.relative_l2, rel=1e-3)
    assert engine.relative_l2_to_previous < 1e-5
    # The same for all classes, so the masks stay.
    assert engine.argmax_agreement > 0.999


def test_checkpoints_are_looked_for_and_compared(scenes: Dataset, tmp_path: Path):
    torch.manual_seed(3)
    model = create_model("fsanet-edge").eval()
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    from edgefsa.artifacts import sha256_of_file

    weights = {"kind": "checkpoint", "source": str(path), "sha256": sha256_of_file(path)}
    onnx_from_model(model, tmp_path / "m.onnx", size_hw=SIZE_HW, weights=weights)
    engine = build(tmp_path / "m.onnx", tmp_path)
    assert parity(engine, dataset=scenes, limit=1).stages[-1].relative_l2 < 1e-5
    moved = path.rename(tmp_path / "moved.pth")
    with pytest.raises(CheckpointError, match="is not here; say where it lies with --checkpoint"):
        parity(engine, dataset=scenes, limit=1)
    assert parity(engine, checkpoint=moved, dataset=scenes, limit=1).stages[-1].relative_l2 < 1e-5
    torch.save(create_model("fsanet-edge").state_dict(), moved)
    with pytest.raises(CheckpointError, match="is not the file that the engine was built from"):
        parity(engine, checkpoint=moved, dataset=scenes, limit=1)


def test_an_engine_of_unknown_weights_asks_for_them(scenes: Dataset, tmp_path: Path):
    model = create_model("fsanet-edge").eval()
    onnx_from_model(model, tmp_path / "m.onnx", size_hw=SIZE_HW)
    engine = build(tmp_path / "m.onnx", tmp_path)
    with pytest.raises(CheckpointError, match="does not say where its weights came from"):
        parity(engine, dataset=scenes, limit=1)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    assert parity(engine, checkpoint=tmp_path / "w.pth", dataset=scenes, limit=1).stages[-1].relative_l2 < 1e-5
