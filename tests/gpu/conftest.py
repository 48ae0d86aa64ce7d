"""What the tests on a GPU share. Without a GPU they are skipped, or, with EDGEFSA_REQUIRE_GPU=1, they fail."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REQUIRE_VARIABLE = "EDGEFSA_REQUIRE_GPU"
sys.path.insert(0, str(ROOT / "benchmarks"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)


def missing(reason: str) -> None:
    """Leave a test out; a run that was meant to have a GPU must not pass by leaving everything out."""
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(f"{REQUIRE_VARIABLE}=1, and {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def cuda() -> Any:
    """PyTorch, on a machine where it has a GPU."""
    try:
        import torch
    except ImportError:
        missing("needs PyTorch with CUDA; it is not installed")
    if not torch.cuda.is_available():
        missing("needs an NVIDIA GPU and PyTorch with CUDA; there is none here")
    return torch


@pytest.fixture(scope="session")
def capability(cuda: Any) -> str:
    """The GPU's compute capability, as "8.7"."""
    return ".".join(map(str, cuda.cuda.get_device_capability()))


@pytest.fixture(scope="session")
def kernels(cuda: Any, capability: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels compiled for this GPU."""
    from _kernels import Kernels, build_kernels

    if shutil.which("cmake") is None:
        missing("needs cmake and nvcc to build the kernels; there is no cmake on the PATH")
    return Kernels(build_kernels(capability, tmp_path_factory.mktemp("kernels")))
