"""The demo programs, run as a person runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).parents[2]


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "demos" / program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_quickstart_builds_segments_measures_and_names_its_pictures(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'edgefsa[cpu]'")
    done = run("quickstart.py", "--limit", 3, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {
        row[0]: [float(cell) for cell in row[1:]] for row in re.findall(r"(int8|fp32) +([\d.]+) +([\d.]+)", done.stdout)
    }
    assert rows["int8"][0] > 50 and abs(rows["int8"][0] - rows["fp32"][0]) < 1.0
    named = [Path(name) for name in re.findall(r"^ +(\S+\.(?:mp4|png|jpg))$", done.stdout, re.MULTILINE)]
    assert len(named) == 9 and all(path.is_file() for path in named)
    assert cv2.VideoCapture(str(next(path for path in named if path.suffix == ".mp4"))).read()[0]
    assert (tmp_path / "engines").is_dir()

    picture = tmp_path / "picture.jpg"
    engine = next((tmp_path / "engines").glob("*int8*"))
    done = run("side_by_side.py", engine, "synthetic:3", "synthetic:4", "-o", picture)
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(picture)).shape == (720, 960, 3)


def test_a_demo_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    done = run("quickstart.py", "--data", f"camvid:{tmp_path}", "--output", tmp_path / "out", "--source", tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
