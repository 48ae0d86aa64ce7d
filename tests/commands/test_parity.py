"""The command as a gate: its exit status, what it prints, and its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefsa.engines.names import QUANTISED_NAME
from tests.commands.conftest import Run
from tests.unit.verify.parity.conftest import plant, store, stored


@pytest.fixture
def broken(engine: Path) -> Path:
    """An engine in whose converted graph a scale is 10 times too large."""
    name = "layer2.0.relu/Relu.scale"
    plant(engine, QUANTISED_NAME, lambda model: store(model, name, stored(model, name) * np.float32(10)))
    return engine


def test_an_engine_within_its_bounds_exits_with_0_and_says_what_was_compared(run: Run, built: Path):
    found = run("parity", built, "--limit", 2)
    assert found.status == 0
    for words in (
        "module",
        "132 of 132 weights",
        "onnx",
        "inlined",
        "converted",
        "engine",
        "at borders",
        "IoU %",
        "sky",
    ):
        assert words in found.out
    assert "every stage keeps to its bound" in found.out and "BEYOND" not in found.out


def test_a_fault_exits_with_3_and_names_stage_and_block(run: Run, broken: Path):
    found = run("parity", broken, "--limit", 2, "--first", "onnx")
    assert found.status == 3
    assert "converted parts from inlined, beginning in the block layer2.0.downsample.0..conv2" in found.out
    assert "BEYOND" in found.out and "layer2.0.relu/Relu is about" in found.out
    result = run("parity", broken, "--limit", 2, "--first", "onnx", "--json")
    assert result.status == 3 and not result.json["passed"]
    assert result.json["fault"]["stage"] == "converted"
    assert result.json["fault"]["block"] == "layer2.0.downsample.0..conv2"
    assert [stage["within"] for stage in result.json["stages"]][:2] == [True, False]


def test_without_the_weights_it_says_what_is_first(run: Run, built: Path, monkeypatch: pytest.MonkeyPatch):
    from edgefsa.errors import CheckpointError
    from edgefsa.models import rebuilt

    def missing(*_: object) -> None:
        raise CheckpointError("the engine's checkpoint w.pth is not here; say where it lies with --checkpoint")

    monkeypatch.setattr(rebuilt, "module_of", missing)
    found = run("parity", built, "--limit", 1)
    assert found.status == 0 and "note: the ONNX file is the first stage, not the PyTorch module" in found.err
    assert "w.pth is not here" in run("parity", built, "--limit", 1, "--first", "module").error()


def test_pictures_of_the_disagreement(run: Run, built: Path, tmp_path: Path):
    found = run("parity", built, "--limit", 2, "--first", "onnx", "--heatmap", tmp_path / "maps")
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert found.status == 0 and len(names) == 3 and names[-1] == "all-frames.png"


def test_a_stage_that_there_is_not_is_refused(run: Run, built: Path):
    assert "choose auto, module, onnx" in run("parity", built, "--first", "engine").error()
