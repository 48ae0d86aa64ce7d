"""The benchmark programs as modules, and a data set and a calibration small enough for a test."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import pytest

import edgefsa.build
from edgefsa.data.synthetic import render_scene

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch) -> Callable[[str], ModuleType]:
    """Return a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


@pytest.fixture
def few_frames(program, monkeypatch) -> None:
    """Calibrate on four frames in place of 128."""
    few = functools.partial(edgefsa.build.calibrate_onnx, frames=4)
    monkeypatch.setattr(edgefsa.build, "calibrate_onnx", few)
    monkeypatch.setattr(program("_common"), "calibrate_onnx", few)


@pytest.fixture(scope="session")
def small_camvid(tmp_path_factory) -> str:
    """Rendered scenes of 64 x 96 in CamVid's layout: six to train on, three for val."""
    root = tmp_path_factory.mktemp("camvid")
    for split, seeds in (("train", range(6)), ("val", range(6, 9))):
        for part in ("images", "labels"):
            (root / split / part).mkdir(parents=True)
        for seed in seeds:
            frame, label = render_scene(seed, (64, 96))
            cv2.imwrite(str(root / split / "images" / f"{seed}.png"), frame)
            cv2.imwrite(str(root / split / "labels" / f"{seed}.png"), label)
    return f"camvid:{root}"
