"""The window on a real screen (Xvfb with the window manager openbox), real keys (xdotool), looked at pixel by pixel.

It needs an OpenCV with windows. Where the installed one is headless, EDGEFSA_OPENCV_WITH_WINDOWS may name a folder
with another: pip install --no-deps --target FOLDER opencv-python
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.segment.fakes import PALETTE, moving_square

ROOT = Path(__file__).parents[4]
WAIT_S = 30
PROGRAM = """
import time
from edgefsa.segment import OverlayStyle, Segmenter, WindowSink, run_pipeline
from tests.unit.segment.fakes import FakeSession
from tests.unit.segment.sinks.frames import Squares, segmented

class Slow(Squares):
    def __iter__(self):
        while True:
            time.sleep(0.02)
            yield segmented(4, (240, 320)).source

style = OverlayStyle(alpha=1.0, contours=False)
with Segmenter(FakeSession((240, 320))) as segmenter, WindowSink(style) as sink:
    say = lambda note: print(note, flush=True)
    report = run_pipeline(Slow(live=True), {"first": segmenter, "second": segmenter}, [sink], on_note=say)
print("ended", report.statistics.frames > 0, flush=True)
"""


def window_packages() -> Path | None:
    """Return a folder to put first on the path for an OpenCV with windows; skip where there is none."""
    for program in ("Xvfb", "openbox", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install xvfb openbox xdotool")
    folder = os.environ.get("EDGEFSA_OPENCV_WITH_WINDOWS")
    if folder is None:
        from edgefsa.segment.sinks.window import _has_gui

        if not _has_gui():
            pytest.skip("the installed OpenCV has no windows, and EDGEFSA_OPENCV_WITH_WINDOWS names none that has")
    return Path(folder) if folder else None


class Screen:
    """A screen of Xvfb, its pixels, and the keyboard."""

    def __init__(self, folder: Path) -> None:
        reading, writing = os.pipe()
        options = ["-screen", "0", "1000x700x24", "-fbdir", str(folder), "-nolisten", "tcp", "-noreset"]
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), *options], pass_fds=[writing], stderr=subprocess.DEVNULL
        )
        os.close(writing)
        with os.fdopen(reading) as answer:
            self.display = f":{answer.readline().strip()}"
        self._pixels = folder / "Xvfb_screen0"
        environment = {**os.environ, "DISPLAY": self.display}
        self._manager = subprocess.Popen(["openbox"], env=environment, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.xdotool("get_num_desktops").isdigit(), "the window manager")

    def close(self) -> None:
        for program in (self._manager, self._server):
            program.terminate()
            program.wait(WAIT_S)

    def picture(self) -> np.ndarray:
        """Return the screen, uint8 [H, W, 3] BGR: an XWD file with a header of big-endian numbers."""
        data = self._pixels.read_bytes()
        header = np.frombuffer(data[:100], ">u4")
        width, height, bytes_per_line, colours = (int(header[index]) for index in (4, 5, 12, 19))
        start = int(header[0]) + 12 * colours
        rows = np.frombuffer(data[start : start + height * bytes_per_line], np.uint8).reshape(height, -1, 4)
        return rows[:, :width, :3].copy()

    def xdotool(self, *arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments], capture_output=True, text=True, env={**os.environ, "DISPLAY": self.display}
        )
        return done.stdout.strip()

    def ask_to_close(self, window: int) -> None:
        """Send a window what its closing button sends: WM_DELETE_WINDOW (newer xdotool: windowquit)."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        names = [x11.XInternAtom(display, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")]
        # XClientMessageEvent: type, serial, send_event, display, window, message_type, format, data; 24 longs in all.
        event = (ctypes.c_long * 24)(33, 0, 1, 0, window, names[0], 32, names[1])
        x11.XSendEvent(display, ctypes.c_ulong(window), False, ctypes.c_long(0), ctypes.byref(event))
        x11.XCloseDisplay(display)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    window_packages()
    folder = tmp_path / "screen"
    folder.mkdir()
    opened = Screen(folder)
    yield opened
    opened.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s, f"waited in vain for {what}"
        time.sleep(0.05)


def start(screen: Screen, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start the program in `folder`, and return it with its window, once its picture is on the screen."""
    packages = window_packages()
    path = os.pathsep.join(str(part) for part in (packages, ROOT) if part is not None)
    environment = {**os.environ, "DISPLAY": screen.display, "PYTHONPATH": path}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: share_of_dark(screen) > 0.2, "the picture")
    window = screen.xdotool("search", "--name", "edgefsa: squares").splitlines()[-1]
    screen.xdotool("windowfocus", "--sync", window)
    return program, window


def share_of_dark(screen: Screen) -> float:
    """Return the share of the screen that has the colour of the class `dark`."""
    red, green, blue = PALETTE[0]
    return float((np.abs(screen.picture().astype(int) - (blue, green, red)) < 8).all(axis=2).mean())


def test_keys_and_pictures_are_real(screen: Screen, tmp_path: Path) -> None:
    program, window = start(screen, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline().startswith("keys in the window: space pauses")
    if kept := os.environ.get("EDGEFSA_KEEP_SCREENSHOT"):
        Image.fromarray(screen.picture()[..., ::-1]).save(kept)

    screen.xdotool("key", "--window", window, "s")
    assert program.stdout.readline() == "saved f4_overlay.png and f4_mask.png\n"
    mask = np.asarray(Image.open(tmp_path / "f4_mask.png"))
    assert np.array_equal(mask, moving_square(4, (240, 320))[..., 0] // 64)

    screen.xdotool("key", "--window", window, "1")
    wait_for(lambda: share_of_dark(screen) < 0.01, "the class to be hidden")
    screen.xdotool("key", "--window", window, "q")
    assert program.communicate(timeout=WAIT_S)[0] == "ended True\n"
    assert program.returncode == 0


def test_closing_the_window_ends_the_run(screen: Screen, tmp_path: Path) -> None:
    program, window = start(screen, tmp_path)
    screen.ask_to_close(int(window))
    assert program.communicate(timeout=WAIT_S)[0].endswith("ended True\n")
    assert program.returncode == 0
