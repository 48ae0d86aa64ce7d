"""The canary on real engines of a tiny network: silent while they agree, and heard when the engine computes wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, open_engine
from edgefsa.engines.cpu import openvino as openvino_target
from edgefsa.errors import EngineError, InputError
from edgefsa.segment import FrameSource, Segmenter, SourceFrame, run_pipeline
from edgefsa.segment.summary import run_summary
from edgefsa.verify.canary import Canary
from edgefsa.verify.twin import Twin
from tests.unit.segment.fakes import moving_square

SIZE_HW = (64, 96)


class Clip(FrameSource):
    def __init__(self, count: int) -> None:
        super().__init__("clip")
        self.total = count

    def __iter__(self) -> Any:
        for index in range(self.total or 0):
            yield SourceFrame(moving_square(index, (72, 100)), f"f{index}", index, index / 25)


@pytest.fixture(scope="module", params=["openvino-fp32", "openvino-fp16", "onnxruntime-fp32"])
def engine(request: pytest.FixtureRequest, edge_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target, precision = request.param.split("-")
    folder = tmp_path_factory.mktemp("engines")
    return build_engine(edge_onnx, folder, precision=precision, target=target).engine


def run_with_canary(engine: Path, every: int, count: int = 24) -> tuple[Any, list[str]]:
    heard: list[str] = []
    with Segmenter(engine) as segmenter:
        canary = Canary(every, {"engine": engine})
        canary.every_frame = True  # so that the test knows which frames it gets
        report = run_pipeline(Clip(count), {"engine": segmenter}, [canary], on_note=heard.append)
    return report, heard


def test_an_engine_that_computes_what_it_should_is_not_heard_of(engine: Path) -> None:
    report, heard = run_with_canary(engine, 10)
    found = run_summary(report)["canary"]
    assert found["frames"] == 3, "frames 0, 10 and 20"
    bound = Manifest.read(engine).proof["numbers"]["engine_bound"]["agreement"]
    assert found["bound"] == bound <= found["lowest"] <= found["mean"] <= 1 and found["below"] == 0
    assert heard == []


def test_a_twin_gives_what_the_session_gives_in_float(edge_onnx: Path, tmp_path: Path) -> None:
    engine = build_engine(edge_onnx, tmp_path, precision="fp32", target="onnxruntime").engine
    frame = moving_square(5, (72, 100))
    with Segmenter(engine) as segmenter:
        assert (Twin(engine).mask(frame) == segmenter.segment(frame).mask).mean() > 0.999


def test_an_engine_that_begins_to_compute_wrongly_is_heard_once(
    edge_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_engine(edge_onnx, tmp_path, precision="fp32", target="openvino").engine
    collect, runs = openvino_target.OpenVinoSession._collect, [0]

    def wrong(self: Any, handle: Any) -> Any:
        outputs, *times = collect(self, handle)
        runs[0] += 1
        return (outputs if runs[0] < 8 else np.roll(outputs, 9, axis=1)), *times

    with open_engine(engine):
        monkeypatch.setattr(openvino_target.OpenVinoSession, "_collect", wrong)
    report, heard = run_with_canary(engine, 1)
    assert len(heard) == 1 and heard[0].startswith("canary: on frame 6 engine agrees with its ONNX graph on")
    assert report.canary.below == 18 and report.canary.frames == 24


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a canary every 0 frames"):
        Canary(0, {})
    with pytest.raises(EngineError):
        Twin(tmp_path)
