"""What TensorRT's builder gets of a memory that CPU and GPU share; the builder itself is played."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import build_memory
from edgefsa.engines.build_memory import MemoryPart, build_need
from edgefsa.engines.tensorrt import target as tensorrt
from edgefsa.engines.tensorrt.builder_memory import TENSORRT_MB, builder_memory
from edgefsa.engines.tensorrt.rtx import RtxOptions, TensorRtRtxTarget
from edgefsa.errors import InputError
from edgefsa.machine.memory import Memory
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build
from tests.unit.engines.tensorrt.played_machine import GPU, VERSIONS, play_machine

REST = [MemoryPart("Python", 500.0, "measured")]


@pytest.mark.parametrize(
    ("free", "workspace", "tactics", "level"),
    [
        (None, 1024, None, None),
        (8000.0, 1024, 6000, None),
        (3000.0, 500, 1000, None),
        (2500.0, 250, 500, 1),
        (2100.0, 64, 128, 1),
        (1000.0, 64, 128, 1),
    ],
)
def test_the_builder_gets_half_of_what_is_left(
    free: float | None, workspace: int, tactics: int | None, level: int | None
) -> None:
    assert TENSORRT_MB == 1500.0
    given = builder_memory(free, REST)
    assert (given.workspace_mb, given.tactics_mb, given.optimization_level) == (workspace, tactics, level)
    assert sum(part.mb for part in given.parts()) == TENSORRT_MB + workspace


def test_what_is_asked_for_is_kept() -> None:
    given = builder_memory(1000.0, REST, workspace_mb=700, level=5)
    assert (given.workspace_mb, given.optimization_level) == (700, 5)
    assert builder_memory(None, REST, workspace_mb=200, level=0).optimization_level == 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("available", "level"), [(15_000.0, 3), (2_300.0, 1)], ids=["roomy", "tight"])
def test_a_jetson_of_each_version(
    version: str,
    available: float,
    level: int,
    shared_dir: Path,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    played = play_machine(version, shared_dir, monkeypatch, tmp_path, dataclasses.replace(GPU, integrated=True))
    monkeypatch.setattr(tensorrt, "memory", lambda: Memory(15_000, available, 0, 0, 0))
    manifest = Manifest.read(build("fp16", "tensorrt").engine)
    recorded = manifest.precision_detail["builder"]
    assert played.pools["WORKSPACE"] == recorded["workspace_mb"] << 20
    left = available - TENSORRT_MB - build_need(tiny.tiny_graph()).total_mb
    assert recorded["workspace_mb"] == min(1024, int(left / 2)) and played.level == level
    assert played.pools["TACTIC_DRAM"] >= played.pools["WORKSPACE"]
    assert f"{available:.0f} MB of the memory that CPU and GPU share are free" in recorded["why"]


def test_a_jetson_without_room_is_told_what_is_assumed(
    shared_dir: Path, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    play_machine("10.3.0", shared_dir, monkeypatch, tmp_path, dataclasses.replace(GPU, integrated=True))
    here = Memory(4000, 1200, 0, 0, 0)
    monkeypatch.setattr(tensorrt, "memory", lambda: here)
    monkeypatch.setattr(build_memory, "memory", lambda: here)
    said: list[str] = []
    build("fp32", "tensorrt", say=said.append)
    assert "1500 for TensorRT and CUDA (assumed) + 64 for the builder's workspace (chosen)" in said[0]


def test_a_card_with_memory_of_its_own_and_given_settings(
    shared_dir: Path, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    played = play_machine("10.13.3.9", shared_dir, monkeypatch, tmp_path)
    build("fp32", "tensorrt")
    assert played.pools == {"WORKSPACE": 1 << 30} and played.level == 3
    options: dict[str, Any] = {"workspace_mb": 300, "optimization_level": 5}
    build("fp32", "tensorrt", options=options, overwrite=True)
    assert played.pools == {"WORKSPACE": 300 << 20} and played.level == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workspace_mb": 0}, "workspace_mb 0"),
        ({"workspace_mb": "much"}, "workspace_mb much"),
        ({"optimization_level": 6}, "optimization_level 6 is not one of 0 to 5"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tensorrt.TensorRtOptions(**options)


def test_the_builder_of_tensorrt_for_rtx_is_measured() -> None:
    (part,) = TensorRtRtxTarget().memory_parts([], RtxOptions())
    assert part.known == "measured" and part.mb > 0
