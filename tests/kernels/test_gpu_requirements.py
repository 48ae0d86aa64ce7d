"""A run of tests/gpu that was meant to have a GPU or TensorRT does not pass by leaving everything out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GPU_TESTS = ROOT / "tests" / "gpu"
TESTS = """import pytest

def test_on_the_gpu(cuda): pass
def test_without_it(): pass
def test_that_is_left_out(cuda): pytest.skip("for another reason")
def test_with_tensorrt(tensorrt): pass
"""
FAKE_TORCH = "class cuda:\n    is_available = staticmethod(lambda: {available})\n"


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFSA_")}
    environment = {**inherited, "PYTHONPATH": str(folder), **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", "pytest.ini"]
    return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, env=environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tests' own conftest.py over tests that only ask for its fixtures."""
    shutil.copy(GPU_TESTS / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "torch.py").write_text(FAKE_TORCH.format(available=True))
    (tmp_path / "tensorrt.py").write_text("raise ImportError")
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "chosen", "passes"),
    [
        ({}, "", True),
        ({"EDGEFSA_REQUIRE_GPU": "1"}, "", True),
        ({"EDGEFSA_REQUIRE_GPU": "1"}, "on_the_gpu", True),
        ({"EDGEFSA_REQUIRE_GPU": "1"}, "left_out or tensorrt", False),
        ({"EDGEFSA_REQUIRE_GPU": "1"}, "without_it", False),
        ({"EDGEFSA_REQUIRE_GPU": "1"}, "nothing_of_this_name", False),
        ({"EDGEFSA_REQUIRE_TENSORRT": "1"}, "", False),
        ({"EDGEFSA_REQUIRE_TENSORRT": "1"}, "on_the_gpu", True),
    ],
)
def test_what_a_run_requires(folder: Path, variables: dict[str, str], chosen: str, passes: bool) -> None:
    done = run(folder, "-k", chosen, **variables)
    assert (done.returncode == 0) == passes, done.stdout


def test_without_a_gpu_the_tests_are_left_out_or_fail(folder: Path) -> None:
    (folder / "torch.py").write_text(FAKE_TORCH.format(available=False))
    assert "1 passed, 3 skipped" in run(folder).stdout
    failed = run(folder, EDGEFSA_REQUIRE_GPU="1")
    assert failed.returncode == 1 and "1 passed, 3 errors" in failed.stdout
    assert "EDGEFSA_REQUIRE_GPU=1, and no test has passed that uses the GPU" in failed.stderr


def test_the_gpu_tests_themselves_are_collected() -> None:
    """Also where none can run: names that they import are there."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "--collect-only", str(GPU_TESTS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for file in GPU_TESTS.glob("test_*.py"):
        assert file.name in done.stdout
