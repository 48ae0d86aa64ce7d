"""How CMake is called, and how many compilers a machine's memory takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgefsa.engines.tensorrt.plugins import build, cmake
from edgefsa.errors import InputError

ROOT = Path(__file__).parents[5]
GIGABYTE = 10**9


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*cmake.JOBS_VARIABLES, "TENSORRT_INCLUDE_DIR"):
        monkeypatch.delenv(name, raising=False)


def machine(monkeypatch: pytest.MonkeyPatch, cores: int, free: float | None) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(cmake, "_free_bytes", lambda: None if free is None else int(free * GIGABYTE))


@pytest.mark.parametrize(
    ("cores", "free", "jobs"),
    [
        (6, 0.3, 1),  # a Jetson with a desktop open: one compiler, which may swap
        (6, 2.0, 2),
        (6, 5.0, 6),  # 8 GB Jetson Orin Nano
        (64, 256.0, 64),
        (64, 20.0, 26),
        (4, None, 4),
    ],
)
def test_jobs_by_cores_and_free_memory(
    cores: int, free: float | None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cores, free)
    assert cmake.compile_jobs() == jobs


def test_the_environment_goes_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 6, 2.0)
    monkeypatch.setenv("MAX_JOBS", "5")
    assert cmake.compile_jobs() == 5
    monkeypatch.setenv("JOBS", "3")
    assert cmake.build_command("folder", "edgefsa_plugins")[-2:] == ["--parallel", "3"]


@pytest.mark.parametrize("text", ["0", "-1", "all", "1.5"])
def test_a_wish_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS", text)
    with pytest.raises(InputError, match=f"JOBS is '{text}'"):
        build._build_command("folder")


def test_the_free_memory_is_that_of_the_kernel() -> None:
    if not Path("/proc/meminfo").is_file():
        pytest.skip("needs /proc/meminfo; this system has none")
    before = cmake._free_bytes()
    total = int(re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())[1]) * 1024
    assert before is not None and 0 < before <= total


def test_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cmake.configure_command("plugins", "out") == ["cmake", "-S", "plugins", "-B", "out"]
    options = ["-DCMAKE_CUDA_ARCHITECTURES=87", "-DTENSORRT_INCLUDE_DIR=/trt"]
    assert cmake.configure_command("plugins", "out", architecture=87, include_dir="/trt")[5:] == options
    monkeypatch.setenv("TENSORRT_INCLUDE_DIR", "/trt")
    assert cmake.configure_command("plugins", "out", architecture=87)[5:] == options
    monkeypatch.setenv("JOBS", "2")
    expected = ["cmake", "--build", "out", "--target", "edgefsa_plugins", "--parallel", "2"]
    assert cmake.build_command("out", "edgefsa_plugins") == expected


def test_the_makefile_asks_the_same_function() -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make; there is none on the PATH")
    command = ["make", "-n", "plugins", f"PYTHON={sys.executable}"]
    for wish, jobs in (({"MAX_JOBS": "7"}, "7"), ({"JOBS": "3"}, "3"), ({}, str(cmake.compile_jobs()))):
        said = subprocess.run(command, cwd=ROOT, env={**os.environ, **wish}, capture_output=True, text=True, check=True)
        assert re.search(r"--parallel (\d+)", said.stdout)[1] == jobs
