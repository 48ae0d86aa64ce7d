"""The real quantiser's graphs on every target that builds here: each layer that it quantised is proved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import TARGETS, build_engine, open_engine
from edgefsa.quantize import ranges_from_calibration

from . import tiny


@pytest.mark.parametrize("target", TARGETS)
def test_ranges_to_int8_engine(onnx_path: Path, tmp_path: Path, target: str) -> None:
    if TARGETS[target].unbuildable() is not None:
        pytest.skip(str(TARGETS[target].unbuildable()))
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (4, *tiny.SIZE_HW, 3), dtype=np.uint8)
    ranges = ranges_from_calibration(onnx_path, frames, method="minmax")
    report = build_engine(onnx_path, tmp_path, precision="int8", target=target, ranges=ranges)
    manifest = Manifest.read(report.engine)
    assert manifest.quantization is not None
    assert set(tiny.QUANTISED) <= set(manifest.quantization["quantised"])
    assert manifest.precision_detail["proof"]["proved"] == len(manifest.quantization["quantised"])
    if TARGETS[target].unusable() is None:
        with open_engine(report.engine) as session:
            assert (session.run(frames[:1]) == tiny.reference_masks(frames[:1])).mean() > 0.95
