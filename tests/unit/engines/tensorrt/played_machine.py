"""A machine with a GPU, TensorRT of some version and, where a test wants it, the plugin library."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edgefsa import machine as device
from edgefsa.engines import directory
from edgefsa.engines.tensorrt import target as tensorrt
from edgefsa.engines.tensorrt.plugins import choice as tensorrt_plugins
from edgefsa.engines.tensorrt.plugins.library import LIBRARY_VARIABLE
from edgefsa.engines.tensorrt.plugins.sources import source_sha256
from tests.unit.engines import tiny
from tests.unit.engines.tensorrt.facade import Played, TensorRt
from tests.unit.engines.tensorrt.gpu_fakes import play_gpu

VERSIONS = ("10.3.0", "10.13.3.9", "11.4.0.106")
GPU = device.Gpu("NVIDIA Jetson Orin NX", "8.7", 15_000)


def names_of(version: str, shared_dir: Path) -> dict[str, list[str]]:
    """Return class or function -> its attributes, of the Python module of a version."""
    return dict(json.loads((shared_dir / "tensorrt-api" / f"tensorrt-{version}.json").read_text()))


def play_machine(
    version: str, shared_dir: Path, monkeypatch: pytest.MonkeyPatch, folder: Path, gpu: device.Gpu = GPU
) -> Played:
    """Play a machine whose caches lie in `folder`; no plugin library is there yet."""
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx, whose parser these tests use")
    played = Played(version, names_of(version, shared_dir), run=tiny.reference_masks)
    monkeypatch.setitem(sys.modules, "tensorrt", TensorRt(played))
    for module in (tensorrt, directory):
        monkeypatch.setattr(module, "gpus", lambda: (gpu,))
    for module in (tensorrt, tensorrt_plugins):
        monkeypatch.setattr(module, "driver_cuda", lambda: (12, 6))
    monkeypatch.setattr(tensorrt, "tensorrt_version", lambda: version)
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setenv(LIBRARY_VARIABLE, str(folder / "none.so"))
    played.gpu = play_gpu(monkeypatch, "cuda.bindings").gpu
    return played


def write_library(tensorrt: str, **note: Any) -> Path:
    """Write a file with the note of a plugin library where the played machine looks for it."""
    path = Path(os.environ[LIBRARY_VARIABLE])
    facts = {"tensorrt": tensorrt, "cudart": 12060, "architectures": "87", "source_sha256": source_sha256(), **note}
    path.write_bytes(b"ELF" + b"edgefsa-plugins-note:" + json.dumps(facts).encode() + b"\0")
    return path
