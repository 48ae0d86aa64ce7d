"""What lies beyond calibrated ranges: counted as NumPy does, silent on frames of the calibration's kind, and heard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from edgefsa.artifacts import Manifest
from edgefsa.cli import app
from edgefsa.engines import build_engine
from edgefsa.engines.proof import ProofFrames
from edgefsa.errors import EngineError
from edgefsa.graph.running import named_tensors_runner
from edgefsa.quantize import Ranges
from edgefsa.quantize.calibrate import Calibration
from edgefsa.segment import FrameSource, Segmenter, SourceFrame, run_pipeline
from edgefsa.segment.summary import run_summary
from edgefsa.verify.canary import Canary
from edgefsa.verify.saturation import Saturations, calibrated_tensors_of, saturation_on
from edgefsa.verify.twin import with_outputs
from tests.unit.segment.fakes import moving_square

INNER = "layer2.0.relu/Relu"


def dull(index: int) -> np.ndarray:
    """Return a frame in fog: all that there is lies around the mean that the network takes off."""
    return (100 + moving_square(index, (64, 96)) // 12).astype(np.uint8)


def bright(index: int) -> np.ndarray:
    return moving_square(index, (64, 96))


@pytest.fixture(scope="module")
def ranges(edge_onnx: Path) -> Ranges:
    calibration = Calibration(edge_onnx)
    calibration.add(dull(index) for index in range(0, 40, 5))
    return calibration.ranges("percentile")


def built(onnx_path: Path, folder: Path, ranges: Ranges, target: str) -> Path:
    """An engine that is proved on frames like those of its ranges."""
    frames = ProofFrames(np.stack([dull(index)[None] for index in (3, 13)]), "dull", foreign=True)
    return build_engine(onnx_path, folder, precision="int8", target=target, ranges=ranges, frames=lambda: frames).engine


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def engine(request, edge_onnx: Path, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engines")
    return built(edge_onnx, folder, ranges, request.param)


def graph_of(engine: Path) -> Path:
    return next(path for name in ("engine.onnx", "int8.onnx") if (path := engine / name).is_file())


def test_shares_are_those_that_numpy_counts(engine: Path, ranges: Ranges) -> None:
    calibrated = calibrated_tensors_of(Manifest.read(engine))
    assert {"frames/Transpose", INNER} <= calibrated.keys() and calibrated[INNER]["block"].startswith("layer2.0")
    tensors = named_tensors_runner(onnx.load(graph_of(engine)), list(calibrated))(bright(3)[None])
    rows = {row.tensor: row for row in saturation_on(engine, [("bright", bright(3))]).rows()}
    for name, item in calibrated.items():
        assert item["amax"] == pytest.approx(ranges.amax(name), rel=1e-5) or item["amax"] > ranges.amax(name)
        magnitudes = np.abs(tensors[name].astype(np.float64))
        beyond = magnitudes > item["amax"] * (1 + 0.5 / 127)
        assert rows[name].share == pytest.approx(beyond.mean(), abs=2 / magnitudes.size), name
        if beyond.any():
            assert rows[name].reach == pytest.approx(magnitudes[beyond].mean() / item["amax"], rel=1e-3)


def test_frames_like_those_of_the_calibration_stay_within(engine: Path) -> None:
    rows = saturation_on(engine, [(str(index), dull(index)) for index in range(1, 30, 7)]).rows()
    assert not any(row.drifted for row in rows) and max(row.share for row in rows) < 0.002


def test_a_range_that_is_too_small_is_named_with_its_block(edge_onnx: Path, ranges: Ranges, tmp_path: Path) -> None:
    tensors = {name: dict(item) for name, item in ranges.tensors.items()}
    tensors[INNER]["amax"] /= 3
    small = Ranges(ranges.model, ranges.model_sha256, ranges.method, ranges.data, tensors)
    engine = built(edge_onnx, tmp_path, small, "openvino")
    first, *_ = saturation_on(engine, [(str(index), dull(index)) for index in range(1, 30, 7)]).rows()
    assert first.drifted and first.tensor == INNER and first.block.startswith("layer2.0") and first.reach > 1.1


def test_pixels_that_saturate_by_a_hair_are_no_drift() -> None:
    found = Saturations({"image": {"amax": 1.0, "clipped": 0.0, "block": "frames"}})
    found.add("a", {"image": np.array([0.5, 1.05, -1.05, 0.1])})
    (row,) = found.rows()
    assert row.share == 0.5 and row.reach == pytest.approx(1.05) and not row.drifted
    found.add("b", {"image": np.array([0.5, 1.5, -np.inf, 0.1])})
    assert found.rows()[0].drifted and np.isfinite(found.rows()[0].reach)


def test_inner_tensors_are_given_out_without_onnx(edge_onnx: Path) -> None:
    names = [INNER, "x" * 300]  # a length of two bytes
    made = onnx.ModelProto.FromString(with_outputs(edge_onnx.read_bytes(), names))
    plain = onnx.load(edge_onnx)
    assert [item.name for item in made.graph.output] == [*(item.name for item in plain.graph.output), *names]
    del made.graph.output[-2:]
    assert made == plain


CHANGE = 5


class Clip(FrameSource):
    """Dull frames that become bright."""

    def __init__(self) -> None:
        super().__init__("clip")
        self.total = CHANGE + 5

    def __iter__(self) -> Iterator[SourceFrame]:
        for index in range(self.total or 0):
            yield SourceFrame((dull if index < CHANGE else bright)(index), f"f{index}", index, index / 25)


def test_a_canary_hears_once_of_frames_beyond_the_ranges(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefsa.verify.canary.give_way", lambda: None)  # other tests keep the cores busy
    heard: list[str] = []
    with Segmenter(engine) as segmenter:
        canary = Canary(1, {"engine": engine})
        canary.every_frame = True
        report = run_pipeline(Clip(), {"engine": segmenter}, [canary], on_note=heard.append)
    drift = [note for note in heard if "beyond the calibrated range" in note]
    assert len(drift) == 1 and "edgefsa build" in drift[0] and "images:FRAMES" in drift[0]
    index = int(drift[0].removeprefix("canary: up to frame ").split()[0])
    assert CHANGE <= index <= CHANGE + 3, "the last four frames are judged"
    found = run_summary(report)["canary"]["saturation"]
    assert found["drifted"] and found["tensor"] in drift[0] and 0 < found["share"] <= 1


def test_the_command_exits_with_3_and_names_the_tensor(engine: Path, tmp_path: Path) -> None:
    import cv2

    for name, make in (("dull", dull), ("bright", bright)):
        (tmp_path / name).mkdir()
        for index in (1, 9, 17):
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), make(index))
    runs = {
        name: CliRunner().invoke(
            app, ["drift", str(engine), "--data", f"images:{tmp_path / name}", "--json"], standalone_mode=False
        )
        for name in ("dull", "bright")
    }
    assert [run.return_value for run in runs.values()] == [0, 3]
    found = json.loads(runs["bright"].stdout)
    assert found["drifted"] and found["frames"] == 3 and found["tensors"][0]["drifted"]
    assert found["tensors"][0]["tensor"] in runs["bright"].stderr


def test_engines_without_a_record_are_refused(edge_onnx: Path, tmp_path: Path) -> None:
    engine = build_engine(edge_onnx, tmp_path, precision="fp32", target="openvino").engine
    with pytest.raises(EngineError, match="is not INT8"):
        saturation_on(engine, [])
