"""The README's own commands, run as they stand, in a fresh folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_tour_and_the_python_example_work(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the tour names OpenVINO engines: pip install 'edgefsa[cpu]'")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shell, python = blocks("sh"), blocks("python")
    assert len(shell) == 2 and len(python) == 1
    for script in shell:
        commands = ["bash", "-euxo", "pipefail", "-c", script]
        done = subprocess.run(commands, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    done = subprocess.run([sys.executable, "-c", python[0]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'road'" in done.stdout and (tmp_path / "overlay.png").is_file()
    assert (tmp_path / "engines" / "fsanet-edge-onnxruntime-int8-360x480" / "manifest.json").is_file()


def test_the_tables_are_those_of_the_measured_results() -> None:
    program = ROOT / "benchmarks" / "tables.py"
    done = subprocess.run([sys.executable, str(program), "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def results(name: str) -> list[dict]:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]


def test_the_measured_results_keep_their_bounds() -> None:
    """The bounds of the project, held against the newest results; they are measured by `make bench`, not here."""
    assert all(row["times_faster"] >= 3 for row in results("frequency-cpu")[:2])
    assert all(row["relative_l2"] <= 1e-5 for row in results("frequency-cpu"))
    for name in ("accuracy-camvid", "accuracy-synthetic"):
        rows = results(name)
        for row in rows:
            base = next(other for other in rows if other["model"] == row["model"])
            assert base["miou"] - row["miou"] <= (0.01 if row["precision"] == "int8" else 0.001), row


def test_the_two_commands_and_every_linked_file_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:", makefile, re.MULTILINE) and re.search(r"^test:", makefile, re.MULTILINE)
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
