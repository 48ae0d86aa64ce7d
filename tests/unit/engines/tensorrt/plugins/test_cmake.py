"""Which GPUs CMake compiles the plugins for, with a program in place of nvcc."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[5] / "plugins" / "cmake" / "architectures.cmake"
# What `nvcc --list-gpu-arch` says.
CUDA_12_2 = [50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90]
CUDA_13_0 = [75, 80, 86, 87, 88, 89, 90, 100, 110, 103, 120, 121]


def chosen(tmp_path: Path, listed: list[int], *settings: str) -> str:
    """Return what architectures.cmake says to the end."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake; there is none on the PATH")
    nvcc = tmp_path / "nvcc"
    names = "".join(f"echo compute_{item}\n" for item in listed)
    nvcc.write_text(f'#!/bin/sh\n[ "$1" = --list-gpu-arch ] || exit 1\n{names}')
    nvcc.chmod(0o755)
    definitions = [f"-D{item}" for item in (f"CMAKE_CUDA_COMPILER={nvcc}", "CMAKE_CUDA_COMPILER_VERSION=1", *settings)]
    done = subprocess.run(["cmake", *definitions, "-P", str(SCRIPT)], capture_output=True, text=True, cwd=tmp_path)
    return done.stdout + done.stderr


def test_all_architectures_are_those_that_nvcc_knows(tmp_path: Path) -> None:
    said = chosen(tmp_path, CUDA_12_2, "EDGEFSA_ALL_ARCHITECTURES=ON")
    assert "Compiling for sm_75,80,86,87,89,90\n" in said
    left_out = [line.split()[-3] for line in said.splitlines() if "left out" in line]
    assert left_out == [f"sm_{number}:" for number in (100, 103, 110, 120, 121)]
    assert "sm_75,80,86,87,89,90,100,103,110,120,121\n" in chosen(tmp_path, CUDA_13_0, "EDGEFSA_ALL_ARCHITECTURES=ON")


@pytest.mark.parametrize("given", ["87", "86;89", "87-real", "75;120-virtual"])
def test_given_architectures_are_taken(tmp_path: Path, given: str) -> None:
    assert f"Compiling for sm_{given.replace(';', ',')}\n" in chosen(
        tmp_path, CUDA_12_2, f"given_architectures={given}"
    )


@pytest.mark.parametrize("given", ["native", "8.7", "sm_87"])
def test_others_are_told(tmp_path: Path, given: str) -> None:
    said = " ".join(chosen(tmp_path, CUDA_12_2, f"given_architectures={given}").split())
    assert f"CMAKE_CUDA_ARCHITECTURES is {given}: give numbers, as 87" in said


@pytest.mark.parametrize(("processor", "architecture"), [("aarch64", 87), ("x86_64", 86)])
def test_without_a_gpu_it_is_the_usual_one_of_the_machine(tmp_path: Path, processor: str, architecture: int) -> None:
    said = chosen(tmp_path, CUDA_12_2, f"CMAKE_SYSTEM_PROCESSOR={processor}")
    assert f"No GPU here: compiling for sm_{architecture};" in said
