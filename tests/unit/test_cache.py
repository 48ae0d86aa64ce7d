"""Where what was built once is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgefsa.cache import cache_folder
from edgefsa.engines.tensorrt.timing_cache import timing_cache_path


def test_the_variable_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder("plugins") == tmp_path / "own" / "plugins"
    timing = timing_cache_path("10.13.3.9", "NVIDIA GeForce RTX 4060", "8.9")
    assert timing == tmp_path / "own" / "timing" / "tensorrt-10.13.3.9-nvidia-geforce-rtx-4060-sm_89.cache"


@pytest.mark.skipif(sys.platform != "linux", reason="the names of the XDG base directories are Linux's")
def test_the_operating_systems_place_is_taken_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEFSA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("plugins") == tmp_path / "edgefsa" / "plugins"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("timing") == tmp_path / "home" / ".cache" / "edgefsa" / "timing"
