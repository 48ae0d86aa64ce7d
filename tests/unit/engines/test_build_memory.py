"""Whether a build fits is said before it starts, with a sum that can be checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgefsa.engines import build_memory
from edgefsa.engines.build_memory import (
    ASSUMED,
    BUILD_FACTORS,
    BUILD_FACTORS_BY_NUMPY,
    CALIBRATION_FACTORS,
    MemoryNeed,
    MemoryPart,
    build_need,
    calibration_need,
)
from edgefsa.engines.tensorrt.rtx import BUILDER_MB
from edgefsa.graph.sizes import activations_mb, weights_mb
from edgefsa.machine.memory import Memory
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build

MEASURED = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "build-memory.json"
FACTORS = {False: BUILD_FACTORS, True: BUILD_FACTORS_BY_NUMPY}
NEED = MemoryNeed("this build", (MemoryPart("Python", 300.0, "measured"), MemoryPart("TensorRT", 1500.0, ASSUMED)))


def rows() -> list[dict[str, Any]]:
    return json.loads(MEASURED.read_text())["rows"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['model']}-{row['size_hw']}-{row['batch']}-{row['work']}")
def test_the_factors_bound_each_measured_peak_and_not_by_much(row: dict[str, Any]) -> None:
    if row["work"] == "calibration":
        (base, weight_copies, copies), held = CALIBRATION_FACTORS, row["calibrated_mb"]
    else:
        by_numpy = row["work"].endswith("proved by NumPy")
        (base, weight_copies, copies), held = FACTORS[by_numpy], row["activations_mb"]
    estimate = base + weight_copies * row["weights_mb"] + copies * held
    # What TensorRT for RTX takes goes by the operators more than by sizes, so its bound is wide.
    rtx = row["work"].startswith("tensorrt-rtx")
    assert row["peak_mb"] <= estimate + (BUILDER_MB if rtx else 0.0) <= (4.0 if rtx else 1.6) * row["peak_mb"]


def test_the_sum_is_that_of_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.tiny_graph()
    further = [MemoryPart("TensorRT and CUDA", 1500.0, ASSUMED)]
    for by_numpy, (base, weight_copies, copies) in FACTORS.items():
        expected = base + weight_copies * weights_mb(model) + copies * sum(activations_mb(model).values())
        assert build_need(model, by_numpy=by_numpy).total_mb == pytest.approx(expected)
        assert build_need(model, further, by_numpy=by_numpy).total_mb == pytest.approx(expected + 1500.0)
    assert build_need(model) == build_need(model, by_numpy=False), "ONNX Runtime is installed here"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert build_need(model) == build_need(model, by_numpy=True)
    base, weight_copies, copies = CALIBRATION_FACTORS
    seen = activations_mb(model)["logits"]
    found = calibration_need(model, ["logits", "no such tensor"]).total_mb
    assert found == pytest.approx(base + weight_copies * weights_mb(model) + copies * seen)


@pytest.mark.parametrize(
    ("available", "swap_free", "zram", "fits"),
    [(2000, 0, 0, True), (1700, 0, 0, False), (1700, 200, 0, True), (1700, 200, 200, False), (1700, 300, 200, True)],
)
def test_it_fits_into_free_memory_and_swap_on_a_disk(available: int, swap_free: int, zram: int, fits: bool) -> None:
    warning = NEED.warning(Memory(8000, available, swap_free, swap_free, zram))
    assert (warning is None) == fits
    if warning is not None:
        for words in ("needs about 1800 MB", "300 for Python (measured)", "1500 for TensorRT (assumed)", "1700 MB and"):
            assert words in warning


def test_a_system_that_does_not_say_gets_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_memory, "memory", lambda: None)
    assert NEED.warning() is None


def test_a_build_says_so_before_it_starts_and_goes_on(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    steps: list[int] = []

    def say(line: str) -> None:
        assert not steps, "it is said before the first step"
        said.append(line)

    monkeypatch.setattr(build_memory, "memory", lambda: Memory(4000, 100, 0, 0, 0))
    assert build("fp32", say=say, progress=lambda done, total: steps.append(done)).engine.is_dir()
    (warning,) = said
    assert warning.startswith("warning: this build needs about 3") and "free are 100 MB" in warning
    said.clear()
    steps.clear()
    monkeypatch.setattr(build_memory, "memory", lambda: Memory(4000, 3000, 0, 0, 0))
    build("fp32", say=say, overwrite=True)
    assert said == []
