"""A tiny ONNX file, and engines made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

import edgefsa.quantize
from edgefsa.engines import BuildReport, build_engine

from . import tiny

Build = Callable[..., BuildReport]


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny.tiny_graph(), path)
    return path


@pytest.fixture
def frames() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (1, *tiny.SIZE_HW, 3), dtype=np.uint8)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, onnx_path: Path, tmp_path: Path) -> Build:
    """Build an engine of the tiny network, with the tiny quantiser."""
    monkeypatch.setattr(edgefsa.quantize, "int8_onnx", tiny.tiny_int8, raising=False)
    monkeypatch.setattr(edgefsa.quantize, "fp16_onnx", tiny.tiny_fp16, raising=False)

    def make(precision: str = "fp32", target: str = "openvino", **options: object) -> BuildReport:
        options.setdefault("ranges", tiny.tiny_ranges() if precision == "int8" else None)
        return build_engine(onnx_path, tmp_path / "engines", precision=precision, target=target, **options)

    return make
