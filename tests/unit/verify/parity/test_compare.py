from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from edgefsa.artifacts import sha256_of_file
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.engines import build_engine
from edgefsa.engines.cpu.onnxruntime import OnnxRuntimeTarget
from edgefsa.errors import CheckpointError, InputError
from edgefsa.export import load_graph, onnx_from_model
from edgefsa.models import create_model
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate
from edgefsa.verify.parity import ParityReport, parity
from tests.unit.verify.parity.conftest import SIZE_HW

Engines = Callable[[str, str], Path]


def stages_of(report: ParityReport) -> dict:
    return {stage.stage: stage for stage in report.stages}


def test_stages_follow_each_other_and_quantising_is_what_moves_the_logits(engines: Engines, scenes: Dataset):
    calls: list[tuple[int, int]] = []
    engine = engines("openvino", "int8")
    report = parity(engine, dataset=scenes, progress=lambda done, total: calls.append((done, total)))
    assert [stage.stage for stage in report.stages] == ["module", "onnx", "inlined", "converted", "engine"]
    assert [stage.against for stage in report.stages] == ["checkpoint", "module", "onnx", "inlined", "converted"]
    stages = stages_of(report)
    assert stages["module"].tensors.compared > 100 and stages["module"].tensors.different == 0
    assert stages["onnx"].to_previous.relative_l2 < 1e-5 and stages["inlined"].to_previous.relative_l2 < 1e-6
    assert 1e-3 < stages["converted"].to_previous.relative_l2 < 0.2
    assert all(stages[name].pixels.different == 0 for name in ("onnx", "inlined", "converted"))
    assert stages["onnx"].pixels.compared == 3 * 3 * SIZE_HW[0] * SIZE_HW[1] and stages["engine"].pixels is None
    near = stages["engine"].to_first
    assert near.at_borders < near.agreement < near.elsewhere <= 1 and 0.99 < near.cosine < 1
    assert report.passed and report.frames == 3 and calls == [(2, 3), (3, 3)]
    values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert values["argmax_agreement"] == near.agreement and values["relative_l2"] == near.relative_l2
    assert values["stages"][-1]["relative_l2_to_previous"] == stages["engine"].to_previous.relative_l2


def test_iou_changes_are_those_of_the_two_masks(engines: Engines, scenes: Dataset):
    """The engine's IoU is what `eval` says of it; the changes are against the first stage."""
    engine = engines("onnxruntime", "int8")
    report = parity(engine, dataset=scenes, first="onnx")
    with Segmenter(engine) as segmenter:
        assert stages_of(report)["engine"].iou == evaluate(segmenter, scenes).per_class_iou
    whole = parity(engines("onnxruntime", "fp32"), dataset=scenes, first="onnx")
    floats = stages_of(whole)["engine"].iou
    found = stages_of(report)["engine"]
    assert found.iou_change["sky"] == pytest.approx(found.iou["sky"] - floats["sky"], abs=2e-3)
    assert set(found.iou_change) == set(scenes.class_set.names)


def test_an_engine_that_has_no_logits_to_give_is_compared_by_its_masks(
    engines: Engines, scenes: Dataset, monkeypatch: pytest.MonkeyPatch
):
    """As plans of TensorRT that were built for masks are."""
    engine = engines("onnxruntime", "int8")
    whole = parity(engine, dataset=scenes, first="onnx").stages[-1]
    monkeypatch.setattr(OnnxRuntimeTarget, "gives_logits", False)
    monkeypatch.setattr(OnnxRuntimeTarget, "open_logits", lambda *_, **__: pytest.fail("there are none"))
    masks = parity(engine, dataset=scenes, first="onnx").stages[-1]
    assert masks.to_first.agreement == whole.to_first.agreement
    assert masks.to_first.relative_l2 is None and masks.to_previous.cosine is None


def test_a_float_engine_is_the_model_and_has_no_converted_graph(engines: Engines, scenes: Dataset):
    report = parity(engines("onnxruntime", "fp32"), dataset=scenes, limit=1)
    assert report.frames == 1 and list(stages_of(report)) == ["module", "onnx", "inlined", "engine"]
    assert report.stages[-1].to_first.relative_l2 < 1e-5 and report.stages[-1].to_first.agreement > 0.999


def test_a_stage_that_differs_is_seen(exported: Path, scenes: Dataset, tmp_path: Path):
    """An engine made from other numbers than its metadata says."""
    model = load_graph(exported)
    bias = next(item for item in model.graph.initializer if item.name == "classifier.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(5), bias.name))
    (tmp_path / "changed.onnx").write_bytes(model.SerializeToString())
    engine = build_engine(tmp_path / "changed.onnx", tmp_path, target="onnxruntime").engine
    report = parity(engine, dataset=scenes)
    first, last = stages_of(report)["onnx"], report.stages[-1]
    assert first.to_previous.relative_l2 > 0.3 and first.faults and not last.faults
    assert last.to_first.relative_l2 == pytest.approx(first.to_first.relative_l2, rel=1e-3)
    # The same for all classes, so the masks stay.
    assert last.to_first.agreement > 0.999
    assert (report.fault.stage, report.fault.block) == ("onnx", "refine.0..classifier")


def test_without_the_weights_the_onnx_file_is_the_first_stage(scenes: Dataset, tmp_path: Path):
    torch.manual_seed(3)
    model = create_model("fsanet-edge").eval()
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    weights = {"kind": "checkpoint", "source": str(path), "sha256": sha256_of_file(path)}
    onnx_from_model(model, tmp_path / "m.onnx", size_hw=SIZE_HW, weights=weights)
    engine = build_engine(tmp_path / "m.onnx", tmp_path, target="onnxruntime").engine
    assert parity(engine, dataset=scenes, limit=1).first == "module"
    moved = path.rename(tmp_path / "moved.pth")
    report = parity(engine, dataset=scenes, limit=1)
    assert report.first == "onnx" and report.stages[0].against == "onnx"
    assert any("not the PyTorch module" in note and "weights.pth is not here" in note for note in report.notes)
    with pytest.raises(CheckpointError, match="is not here; say where it lies with --checkpoint"):
        parity(engine, dataset=scenes, limit=1, first="module")
    assert parity(engine, checkpoint=moved, dataset=scenes, limit=1).first == "module"
    torch.save(create_model("fsanet-edge").state_dict(), moved)
    with pytest.raises(CheckpointError, match="is not the file that the engine was built from"):
        parity(engine, checkpoint=moved, dataset=scenes, limit=1)
    with pytest.raises(InputError, match="cannot be 'engine'; choose auto, module, onnx"):
        parity(engine, dataset=scenes, limit=1, first="engine")


def test_an_engine_of_unknown_weights_asks_for_them(scenes: Dataset, tmp_path: Path):
    model = create_model("fsanet-edge").eval()
    onnx_from_model(model, tmp_path / "m.onnx", size_hw=SIZE_HW)
    engine = build_engine(tmp_path / "m.onnx", tmp_path, target="onnxruntime").engine
    with pytest.raises(CheckpointError, match="does not say where its weights came from"):
        parity(engine, dataset=scenes, limit=1, first="module")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    report = parity(engine, checkpoint=tmp_path / "w.pth", dataset=scenes, limit=1)
    assert report.passed and report.stages[-1].to_first.relative_l2 < 1e-5


def test_torch_is_loaded_only_for_the_module(engines: Engines):
    code = (
        "import sys; from edgefsa.data.readers import open_dataset; from edgefsa.verify.parity import parity\n"
        f"report = parity({str(engines('onnxruntime', 'fp32'))!r}, dataset=open_dataset('synthetic', limit=1),"
        " first='onnx')\nprint(report.passed, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_frames_of_other_classes_are_compared_without_iou(engines: Engines, tmp_path: Path):
    (tmp_path / "images").mkdir()
    frame = np.random.default_rng(1).integers(0, 255, (48, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "one.png"), frame)
    (tmp_path / "images" / "two.png").write_bytes(b"no picture")
    report = parity(engines("onnxruntime", "fp32"), dataset=open_dataset(f"images:{tmp_path}"), first="onnx")
    assert report.frames == 1 and report.stages[-1].iou is None
    assert len(report.unreadable) == 1 and "two.png" in report.unreadable[0]


def test_pictures_show_where_masks_differ(engines: Engines, scenes: Dataset, tmp_path: Path):
    parity(engines("openvino", "int8"), dataset=scenes, first="onnx", heatmaps=tmp_path / "maps")
    files = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert len(files) == 4 and files[-1] == "all-frames.png" and files[0].startswith("0000-")
    picture = cv2.imread(str(tmp_path / "maps" / files[0]))
    assert picture.shape[0] > 2 * SIZE_HW[0] and picture.shape[1] > 2 * SIZE_HW[1]
