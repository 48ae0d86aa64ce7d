"""The live view in a window of the desktop, with keys."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from edgefsa.errors import OutputError
from edgefsa.media.labels import write_label
from edgefsa.media.pictures import write_image
from edgefsa.segment.figures import LiveFigures
from edgefsa.segment.overlay import MODES, OverlayStyle
from edgefsa.segment.sinks.base import Sink

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame

KEYS = "space pauses, s saves a snapshot, + and - opacity, 1 to 9 hide a class, m mode, e next engine, q ends"

_OPACITY_STEP = 0.1
_ESCAPE = 27
_WIDTHS = (640, 1280)  # of the window at first; it can be dragged to any size


class WindowSink(Sink):
    """Shows the newest frame in a window; see KEYS. Closing the window ends the run.

    Snapshots (overlay and mask as PNG) go to the folder `snapshots`. Raises OutputError where this OpenCV, or this
    machine, has no windows.
    """

    name = "window"
    every_frame = False
    in_main_thread = True

    def __init__(self, style: OverlayStyle | None = None, *, snapshots: str | Path = ".") -> None:
        super().__init__(style)
        _check_gui()
        self._snapshots = Path(snapshots)
        self._title = "edgefsa"
        self._open = self._closed = False
        self._run: Run | None = None
        self._figures: LiveFigures | None = None
        self._frame: SegmentedFrame | None = None
        self._keys: dict[int, Callable[[], None]] = {
            ord(" "): self._pause,
            ord("s"): self._snapshot,
            **dict.fromkeys((ord("+"), ord("=")), lambda: self._change_opacity(_OPACITY_STEP)),
            **dict.fromkeys((ord("-"), ord("_")), lambda: self._change_opacity(-_OPACITY_STEP)),
            ord("m"): self._next_mode,
            ord("e"): self._next_engine,
            **dict.fromkeys((ord("q"), _ESCAPE), self._stop),
        }

    def __exit__(self, *error: Any) -> None:
        if self._open:
            self._open = False
            cv2.destroyWindow(self._title)

    def start(self, run: Run) -> None:
        """Take note of the run, which the keys control."""
        self._run = run
        self._figures = LiveFigures(run)
        self._title = f"edgefsa: {run.source_name}"
        run.note(f"keys in the window: {KEYS}")

    def write(self, frame: SegmentedFrame) -> None:
        """Show a frame; after the window was closed, nothing."""
        if self._closed:
            return
        self._frame = frame
        picture = self._picture(frame)
        if not self._open:
            height, width = picture.shape[:2]
            shown = min(max(width, _WIDTHS[0]), _WIDTHS[1])
            os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # else it complains about fonts
            # With WINDOW_GUI_NORMAL, which has no toolbar, one window of Qt in four is never painted (OpenCV 5.0).
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, shown, round(shown * height / width))
            self._open = True
        cv2.imshow(self._title, picture)

    def poll(self) -> None:
        """Do what the keys ask for, and see whether the window is still there."""
        if not self._open:
            return
        key = cv2.waitKey(1)
        if key != -1:
            self._press(key & 0xFF)
        if not self._visible():
            self._open, self._closed = False, True
            self._stop()

    def _visible(self) -> bool:
        try:
            return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)
        except cv2.error:  # Qt's part of OpenCV goes with its last window
            return False

    def _press(self, key: int) -> None:
        if ord("1") <= key <= ord("9"):
            self._toggle_class(key - ord("1"))
        elif key in self._keys:
            self._keys[key]()

    def _picture(self, frame: SegmentedFrame) -> Any:
        style = replace(self.style, numbered=True)
        rows = self._figures.rows() if self._figures is not None and style.figures else ()
        return frame.segmentation.overlay(frame.source.frame, style, rows)

    def _redraw(self) -> None:
        if self._frame is not None:
            cv2.imshow(self._title, self._picture(self._frame))

    def _restyle(self, **changes: Any) -> None:
        self.style = replace(self.style, **changes)
        self._redraw()

    def _pause(self) -> None:
        if self._run is not None:
            self._run.pause(not self._run.paused)
            self._figures = LiveFigures(self._run)  # says so at once
            self._redraw()

    def _change_opacity(self, step: float) -> None:
        self._restyle(alpha=min(max(round(self.style.alpha + step, 2), 0.0), 1.0))

    def _toggle_class(self, index: int) -> None:
        if self._frame is not None and index < len(self._frame.segmentation.names):
            self._restyle(hidden=self.style.hidden ^ {index})

    def _next_mode(self) -> None:
        self._restyle(mode=MODES[(MODES.index(self.style.mode) + 1) % len(MODES)])

    def _next_engine(self) -> None:
        if self._run is not None:
            names = list(self._run.engines)
            self._run.switch_engine(names[(names.index(self._run.engine.name) + 1) % len(names)])

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stop()

    def _snapshot(self) -> None:
        """Save what is shown, and its mask."""
        if self._frame is None or self._run is None:
            return
        segmentation = self._frame.segmentation
        base = self._snapshots / self._frame.source.name
        overlay = write_image(f"{base}_overlay.png", self._picture(self._frame))
        mask = write_label(f"{base}_mask.png", segmentation.mask, segmentation.palette_rgb)
        self.outputs += [overlay, mask]
        self._run.note(f"saved {overlay} and {mask.name}")


def _check_gui() -> None:
    """Raise OutputError where a window cannot be opened; Qt would end the whole program instead."""
    if not _has_gui():
        raise OutputError(
            "this OpenCV has no windows: opencv-python has, instead of opencv-python-headless (JetPack's own has too); "
            "--sink serve shows the same in a browser and needs none"
        )
    if sys.platform.startswith("linux") and not _has_screen():
        display = os.environ.get("DISPLAY")
        reason = f"nothing answers at DISPLAY={display}" if display else "DISPLAY is not set"
        raise OutputError(f"there is no screen for a window ({reason}); --sink serve shows the same in a browser")


def _has_screen() -> bool:
    if os.environ.get("WAYLAND_DISPLAY"):
        return True
    host, _, number = os.environ.get("DISPLAY", "").rpartition(":")
    number = number.partition(".")[0]  # host:display.screen
    if not number.isdecimal():
        return False
    path = f"/tmp/.X11-unix/X{number}"
    if host in ("", "unix"):
        return any(_answers(socket.AF_UNIX, address) for address in (path, f"\0{path}"))
    return _answers(socket.AF_INET, (host, 6000 + int(number)))


def _answers(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(address)
        except OSError:
            return False
    return True


def _has_gui() -> bool:
    lines = (line.strip() for line in cv2.getBuildInformation().splitlines())
    gui = next((line.partition(":")[2].strip() for line in lines if line.startswith("GUI:")), "NONE")
    return gui != "NONE"
