"""The window's keys, against an OpenCV whose window is faked; test_real_window.py has a real one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefsa.errors import OutputError
from edgefsa.segment import OverlayStyle, Run, Segmenter, WindowSink, run_pipeline
from edgefsa.segment.sinks import window
from tests.unit.segment.fakes import FakeSession
from tests.unit.segment.sinks.frames import Squares, run_of, segmented


class FakeGui:
    """What OpenCV's functions for windows do, as far as a program can see it; `keys` are those that will be pressed."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.pictures: list[np.ndarray] = []
        self.keys: list[str] = []
        self.visible = 1.0
        self.size: tuple[int, int] = (0, 0)

    def namedWindow(self, title: str, flags: int) -> None:  # noqa: N802
        self.titles.append(title)

    def resizeWindow(self, title: str, width: int, height: int) -> None:  # noqa: N802
        self.size = (width, height)

    def imshow(self, title: str, picture: np.ndarray) -> None:
        assert title == self.titles[-1]
        self.pictures.append(picture)

    def waitKey(self, delay_ms: int) -> int:  # noqa: N802
        return ord(self.keys.pop(0)) if self.keys else -1

    def getWindowProperty(self, title: str, name: int) -> float:  # noqa: N802
        assert name == cv2.WND_PROP_VISIBLE
        return self.visible

    def destroyWindow(self, title: str) -> None:  # noqa: N802
        self.titles.remove(title)


@pytest.fixture
def gui(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGui]:
    fake = FakeGui()
    for name in ("namedWindow", "resizeWindow", "imshow", "waitKey", "getWindowProperty", "destroyWindow"):
        monkeypatch.setattr(cv2, name, getattr(fake, name))
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "\n  GUI:                           QT5\n")
    monkeypatch.setenv("WAYLAND_DISPLAY", "fake")
    yield fake
    assert fake.titles == [], "the window was left open"


@pytest.fixture
def shown(gui: FakeGui, tmp_path: Path) -> Iterator[tuple[WindowSink, Run]]:
    """A window that shows a frame of a run with two engines."""
    with WindowSink(snapshots=tmp_path) as sink:
        run = run_of(live=True, engines=("fp32", "int8"))
        sink.start(run)
        sink.write(segmented(4, (240, 320)))
        yield sink, run


def press(sink: WindowSink, gui: FakeGui, *keys: str) -> np.ndarray:
    gui.keys += keys
    for _ in keys:
        sink.poll()
    return gui.pictures[-1]


def test_it_shows_the_overlay_with_legend_numbers_and_figures(gui: FakeGui, shown: tuple[WindowSink, Run]) -> None:
    frame = segmented(4, (240, 320))
    without = frame.segmentation.overlay(frame.source.frame, OverlayStyle(legend=False))
    assert gui.titles == ["edgefsa: squares"]
    assert gui.size == (640, 480), "a small picture is enlarged, in its own shape"
    changed = (gui.pictures[-1] != without).any(axis=2)
    assert changed[:60, :100].mean() > 0.5 and changed[:60, 220:].mean() > 0.5, "panels in both upper corners"
    assert not changed[200:].any()


def test_plus_and_minus_change_the_opacity_within_its_bounds(gui: FakeGui, shown: tuple[WindowSink, Run]) -> None:
    sink, _ = shown
    press(sink, gui, "+", "=")
    assert sink.style.alpha == 0.7
    press(sink, gui, *"+" * 9)
    assert sink.style.alpha == 1.0
    picture = press(sink, gui, *"-" * 10)
    assert sink.style.alpha == 0.0
    assert np.array_equal(picture[220:230, 150:], segmented(4, (240, 320)).source.frame[220:230, 150:])


def test_a_digit_hides_its_class_and_shows_it_again(gui: FakeGui, shown: tuple[WindowSink, Run]) -> None:
    sink, _ = shown
    dark = (slice(200, 240), slice(150, 320))
    before = gui.pictures[-1][dark].copy()
    picture = press(sink, gui, "1")
    assert sink.style.hidden == {0}
    assert np.array_equal(picture[dark], segmented(4, (240, 320)).source.frame[dark])
    picture = press(sink, gui, "1", "9")
    assert sink.style.hidden == frozenset(), "and there is no ninth class"
    assert np.array_equal(picture[dark], before)


def test_m_goes_through_the_modes(gui: FakeGui, shown: tuple[WindowSink, Run]) -> None:
    sink, _ = shown
    shapes = [press(sink, gui, "m").shape[:2] for _ in range(4)]
    assert shapes == [(240, 320), (240, 320), (240, 640), (240, 320)]
    assert sink.style.mode == "overlay"


def test_space_pauses_and_goes_on(gui: FakeGui, shown: tuple[WindowSink, Run]) -> None:
    sink, run = shown
    press(sink, gui, " ")
    assert run.paused
    press(sink, gui, " ")
    assert not run.paused


def test_e_goes_through_the_engines(gui: FakeGui, shown: tuple[WindowSink, Run]) -> None:
    sink, run = shown
    names = [run.engine.name]
    for _ in range(2):
        press(sink, gui, "e")
        names.append(run.engine.name)
    assert names == ["fp32", "int8", "fp32"]


def test_s_saves_what_is_shown_and_its_mask(gui: FakeGui, shown: tuple[WindowSink, Run], tmp_path: Path) -> None:
    sink, run = shown
    picture = press(sink, gui, "m", "s")
    assert sink.outputs == [tmp_path / "f4_overlay.png", tmp_path / "f4_mask.png"]
    assert np.array_equal(np.asarray(Image.open(sink.outputs[0]))[..., ::-1], picture)
    assert np.array_equal(np.asarray(Image.open(sink.outputs[1])), segmented(4, (240, 320)).segmentation.mask)
    assert run.notes[-1] == f"saved {tmp_path}/f4_overlay.png and f4_mask.png"


@pytest.mark.parametrize("key", ["q", "\x1b"])
def test_q_and_escape_end_the_run(gui: FakeGui, shown: tuple[WindowSink, Run], key: str) -> None:
    sink, run = shown
    press(sink, gui, "x")
    assert not run.stopped, "other keys do nothing"
    press(sink, gui, key)
    assert run.stopped


def test_closing_the_window_ends_the_run(gui: FakeGui) -> None:
    with WindowSink() as sink:
        run = run_of()
        sink.start(run)
        sink.poll()  # before the first frame there is no window, and nothing to close
        sink.write(segmented(0))
        gui.visible = 0.0
        gui.titles.clear()
        sink.poll()
        assert run.stopped
        sink.write(segmented(1))  # one that was on its way does not open it again
        assert gui.titles == []


def test_the_keys_are_said_once_and_a_run_ends_on_q(gui: FakeGui) -> None:
    notes: list[str] = []
    gui.keys = [" ", " ", "m", "q"]
    with Segmenter(FakeSession()) as segmenter, WindowSink() as sink:
        run_pipeline(Squares(10_000_000), segmenter, [sink], on_note=notes.append)
    assert notes == [f"keys in the window: {window.KEYS}"]
    assert len(gui.pictures) >= 1


def test_without_windows_it_says_which_package_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n  VTK: NO\n")
    with pytest.raises(OutputError, match=r"opencv-python has, instead of opencv-python-headless.*--sink serve"):
        WindowSink()


def test_without_a_screen_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI: \n    GTK+:                        YES\n")
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OutputError, match=r"no screen for a window \(DISPLAY is not set\).*--sink serve"):
        WindowSink()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert isinstance(WindowSink(), WindowSink)


def test_a_screen_that_does_not_answer_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # Qt would end the whole program.
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           QT5\n")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = f"127.0.0.1:{server.getsockname()[1] - 6000}.0"
        monkeypatch.setenv("DISPLAY", left)
        assert isinstance(WindowSink(), WindowSink)
    for display in (left, ":98765", "unix:98765.0", "nonsense", "localhost:x"):
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(OutputError, match=f"nothing answers at DISPLAY={display}"):
            WindowSink()
