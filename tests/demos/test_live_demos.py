"""The demos of the live half, run as a person runs them: each does what it says, and says in one line what is wrong."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefsa.data.classes import CAMVID
from tests.servers.rtsp import RtspServer
from tests.unit.segment.fakes import moving_square

ROOT = Path(__file__).parents[2]
LIVE_DEMOS = ("webcam.py", "video_file.py", "image_folder.py", "rtsp.py", "browser.py")


def command(program: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "demos" / program), *map(str, arguments)]


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(program, *arguments), capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of a moving square, as an AVI of 10 frames a second."""
    path = tmp_path_factory.mktemp("clips") / "squares.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 128))
    for index in range(20):
        writer.write(moving_square(index, (128, 160)))
    writer.release()
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize("program", LIVE_DEMOS)
def test_help_shows_how_it_is_run(program: str) -> None:
    done = run(program, "--help")
    assert done.returncode == 0
    assert f"python demos/{program} engines/" in done.stdout


def test_the_webcam_demo_takes_whatever_is_a_source(built: Path, clip: Path, tmp_path: Path) -> None:
    done = run("webcam.py", built, "--camera", clip, "--sink", f"video:{tmp_path / 'a.mp4'}")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"20 frames, [\d.]+ fps, 0 dropped\n", done.stdout)
    assert len(frames_of(tmp_path / "a.mp4")) == 20


def test_a_video_file_becomes_a_video(built: Path, clip: Path, tmp_path: Path) -> None:
    done = run("video_file.py", built, clip, "-o", tmp_path / "a.mp4", "--alpha", "1")
    assert done.returncode == 0, done.stderr
    assert re.match(r"20 frames at [\d.]+ fps, [\d.]+ ms from frame to mask: ", done.stdout)
    frames = frames_of(tmp_path / "a.mp4")
    assert len(frames) == 20
    assert frames[0].shape == (128, 160, 3)


def test_a_folder_of_pictures_becomes_masks_and_a_table(built: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for index in range(3):
        cv2.imwrite(str(pictures / f"p{index}.png"), moving_square(index, (128, 160)))
    (pictures / "broken.png").write_bytes(b"no picture")
    done = run("image_folder.py", built, pictures, "-o", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"3 masks in {tmp_path / 'masks'}\n")
    assert "left out: " in done.stderr and "broken.png" in done.stderr
    for index in range(3):
        mask = np.asarray(Image.open(tmp_path / "masks" / f"p{index}.png"))
        assert mask.shape == (128, 160)
        largest = CAMVID.names[int(np.bincount(mask.ravel()).argmax())]
        assert re.search(rf"^ *p{index} +{re.escape(largest)} \d+%", done.stdout, re.MULTILINE)


def test_a_stream_in_numbers(built: Path) -> None:
    with RtspServer() as server:
        done = run("rtsp.py", built, server.address, "--seconds", "3")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"[1-9]\d* frames, [\d.]+ fps, \d+ dropped, 0 reconnects", lines[-1])
    assert 1 <= len(lines[:-1]) <= 4
    assert all(re.match(r"\d\d:\d\d:\d\d +[\d.]+ ms  \w.* \d+%", line) for line in lines[:-1])


def health(link: str) -> int:
    try:
        with urllib.request.urlopen(f"{link}healthz", timeout=60) as answer:
            json.load(answer)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_browser_demo_serves_its_page_until_ctrl_c(built: Path, clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="needs the live view: pip install 'edgefsa[serve]'")
    program = subprocess.Popen(
        command("browser.py", built, "--source", clip, "--port", 0), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert program.stderr is not None
    link = next(line for line in program.stderr if "http" in line).split()[-1]
    end_s = time.monotonic() + 60
    while health(link) != 200:  # until the first frame has come
        assert time.monotonic() < end_s and program.poll() is None
        time.sleep(0.05)
    with urllib.request.urlopen(link, timeout=60) as answer:
        assert "<html" in answer.read().decode()
    program.send_signal(signal.SIGINT)
    assert program.wait(60) == 0
    assert "Traceback" not in program.stderr.read()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(link, timeout=10)


@pytest.mark.parametrize(
    ("program", "arguments", "reason"),
    [
        ("webcam.py", ["ENGINE", "--camera", "63", "--sink", "null"], "camera 63 "),
        ("webcam.py", ["ENGINE", "--sink", "screen"], "screen is no sink; give window"),
        ("video_file.py", ["ENGINE", "none.mp4"], "none.mp4 does not exist"),
        ("video_file.py", ["ENGINE", "synthetic", "-o", "a.gif"], "a.gif: cannot write that video format"),
        ("video_file.py", ["ENGINE", "synthetic", "--alpha", "2"], "alpha is 2"),
        ("video_file.py", ["nowhere", "synthetic"], "nowhere is no engine directory"),
        ("image_folder.py", ["ENGINE", "."], "holds no images"),
        ("rtsp.py", ["ENGINE", "rtsp://user:secret@127.0.0.1:1/x"], "cannot be opened"),
        ("rtsp.py", ["ENGINE", "synthetic", "--seconds", "-1"], "duration is -1"),
        ("browser.py", ["ENGINE", "--port", "70000"], "70000"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    built: Path, tmp_path: Path, program: str, arguments: list[str], reason: str
) -> None:
    given = [built if argument == "ENGINE" else argument for argument in arguments]
    done = subprocess.run(command(program, *given), capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ") and reason in done.stderr
    assert "secret" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
