"""Run the command line in this process, and engines to run it on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgefsa import cli


@dataclass
class Outcome:
    """What a command left: its exit status, its standard output and its standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> str:
        """The one line that a mistake gets, after checking that it is one line with status 2."""
        assert self.status == 2, f"status {self.status}: {self.out}{self.err}"
        lines = [line for line in self.err.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1 and lines[0].startswith("error: "), self.err
        assert "Traceback" not in self.err
        return lines[0]


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Call `edgefsa` with arguments, as a shell would."""

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["edgefsa", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capfd.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An INT8 OpenVINO engine of the default model at a small size; not to be changed."""
    from edgefsa.build import ModelRequest, calibrate_onnx, export_model, frames_for_proof
    from edgefsa.engines import build_engine
    from edgefsa.graph.files import read_metadata

    pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'edgefsa[cpu]'")
    folder = tmp_path_factory.mktemp("engines")
    export_model(ModelRequest(size_hw=(128, 160)), folder / "m.onnx")
    ranges = calibrate_onnx(folder / "m.onnx", "synthetic", frames=8)
    metadata = read_metadata(folder / "m.onnx")
    return build_engine(
        folder / "m.onnx",
        folder,
        precision="int8",
        target="openvino",
        ranges=ranges,
        frames=lambda: frames_for_proof("synthetic", metadata),
    ).engine


@pytest.fixture
def engine(built: Path, tmp_path: Path) -> Path:
    """A copy of that engine, to be damaged at will."""
    return Path(shutil.copytree(built, tmp_path / built.name))
