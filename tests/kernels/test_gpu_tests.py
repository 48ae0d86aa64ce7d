"""The tests of kernels on a GPU, run here on emulated ones: a session on a GPU is not to be spent on their mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each kernel at aligned and other addresses, in its main forms; `-m "not large and not graph"` alone runs for minutes.
CHOSEN = "any_address or off_16_bytes"


@pytest.mark.parametrize("name", ["attention", "map"])
def test_they_pass_on_emulated_kernels(launchers: Path, name: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += [f"tests/gpu/test_{name}_kernels.py", "-m", "not large and not graph", "-k", CHOSEN]
    variables = {**os.environ, "EDGEFSA_EMULATED_KERNELS": str(launchers)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.count(".") > 5 and "s" not in done.stdout.split("[")[0]
