"""What the tests on a GPU share.

Without a GPU they are skipped, without TensorRT those that need it. With EDGEFSA_REQUIRE_GPU=1 and
EDGEFSA_REQUIRE_TENSORRT=1 they fail instead, and so does a run in which no test used the GPU to its end.
EDGEFSA_EMULATED_KERNELS names a library of kernels for the host: the tests of kernels then run on it, which tests them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

import pytest

REQUIRE_GPU, REQUIRE_TENSORRT = "EDGEFSA_REQUIRE_GPU", "EDGEFSA_REQUIRE_TENSORRT"
EMULATED = "EDGEFSA_EMULATED_KERNELS"
USED = pytest.StashKey[int]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed and {"cuda", "device"} & set(getattr(item, "fixturenames", ())):
        item.config.stash[USED] = item.config.stash.get(USED, 0) + 1
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_run = not session.config.option.collectonly and not hasattr(session.config, "workerinput")
    if is_run and os.environ.get(REQUIRE_GPU) == "1" and not session.config.stash.get(USED, 0):
        print(f"\n{REQUIRE_GPU}=1, and no test has passed that uses the GPU", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def missing(reason: str, required_by: str = REQUIRE_GPU) -> NoReturn:
    """Leave a test out; a run that was meant to have what is missing must not pass by leaving everything out."""
    if os.environ.get(required_by) == "1":
        pytest.fail(f"{required_by}=1, and {reason}", pytrace=False)
    pytest.skip(reason)


def torch_with_cuda() -> Any:
    """Return PyTorch where it has a GPU, else leave the test out."""
    try:
        import torch
    except ImportError:
        missing("needs PyTorch with CUDA; it is not installed")
    if not torch.cuda.is_available():
        missing("needs an NVIDIA GPU and PyTorch with CUDA; there is none here")
    return torch


@pytest.fixture(scope="session")
def cuda() -> Any:
    """PyTorch, on a machine where it has a GPU."""
    return torch_with_cuda()


@pytest.fixture(scope="session")
def capability(cuda: Any) -> str:
    """The GPU's compute capability, as "8.7"."""
    return ".".join(map(str, cuda.cuda.get_device_capability()))


@pytest.fixture(scope="session")
def device() -> str:
    """The device of the tensors that kernels work on: "cuda", or "cpu" with emulated kernels."""
    if EMULATED not in os.environ:
        torch_with_cuda()
        return "cuda"
    return "cpu"


@pytest.fixture(scope="session")
def launcher(device: str) -> Any:
    """Launches the kernels of EDGEFSA_KERNELS, else those built for this GPU."""
    import torch

    from edgefsa.errors import EdgeFsaError
    from edgefsa.kernels.launchers import Kernels, load_kernels
    from tests.gpu.launching import Launcher

    if device == "cpu":
        return Launcher(Kernels(os.environ[EMULATED]), device)
    try:
        return Launcher(load_kernels(".".join(map(str, torch.cuda.get_device_capability()))), device)
    except EdgeFsaError as error:
        missing(f"needs the kernels: {error}")


@pytest.fixture(scope="session")
def tensorrt(cuda: Any) -> Any:
    """Full TensorRT's Python package."""
    try:
        import tensorrt
    except ImportError:
        missing("needs full TensorRT's Python package; it is not installed", REQUIRE_TENSORRT)
    return tensorrt
