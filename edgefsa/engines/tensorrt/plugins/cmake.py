"""The two calls of CMake that build the plugins, and how many compilers may run at once.

setup.py and the Makefile run this file by its path, before anything is installed: it needs Python alone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Three times the largest sum of nvcc and its children over our kernels (docs/decisions/0015): other versions of nvcc,
# and the host compiler with TensorRT's headers, were not measured.
BYTES_PER_JOB = 750_000_000
JOBS_VARIABLES = ("JOBS", "MAX_JOBS")


def configure_command(
    sources: str | Path, build: str | Path, *, architecture: int | None = None, include_dir: str | Path | None = None
) -> list[str]:
    """Return the command that configures `build`: for one GPU architecture (87), or for the GPU that is here.

    `include_dir` is the folder of TensorRT's headers, else TENSORRT_INCLUDE_DIR of the environment, else CMake looks.
    """
    command = ["cmake", "-S", str(sources), "-B", str(build)]
    if architecture is not None:
        command.append(f"-DCMAKE_CUDA_ARCHITECTURES={architecture}")
    headers = include_dir or os.environ.get("TENSORRT_INCLUDE_DIR")
    return [*command, f"-DTENSORRT_INCLUDE_DIR={headers}"] if headers else command


def build_command(build: str | Path, target: str) -> list[str]:
    """Return the command that compiles `target` in a configured folder, with as many jobs as the memory takes."""
    return ["cmake", "--build", str(build), "--target", target, "--parallel", str(compile_jobs())]


def compile_jobs() -> int:
    """Return how many compilers to run at once: one a core, as far as the free memory goes, and at least one.

    JOBS or MAX_JOBS of the environment go before that; ValueError where they are no number above 0.
    """
    for name in JOBS_VARIABLES:
        text = os.environ.get(name, "")
        if text:
            if not text.isdecimal() or int(text) == 0:
                raise ValueError(f"{name} is {text!r}, and it is a number of compilers; give one above 0")
            return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = _free_bytes()
    return cores if free is None else max(1, min(cores, free // BYTES_PER_JOB))


def _free_bytes() -> int | None:
    """Return the memory that programs may still take; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


if __name__ == "__main__":
    sys.stdout.write(f"{compile_jobs()}\n")
