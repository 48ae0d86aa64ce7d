"""Cameras, played: their clock, and what happens where one hangs while it is closed."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from edgefsa.errors import SourceError
from edgefsa.media.camera import Camera


class HangingCapture:
    """Return two frames, then hangs in its driver until the test lets go; fails the test if released meanwhile."""

    def __init__(self, _: int) -> None:
        self.count, self.inside, self.hangs, self.go = 0, False, threading.Event(), threading.Event()
        self.released: list[bool] = []

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray]:
        self.inside = True
        self.count += 1
        if self.count > 2:
            self.hangs.set()
            assert self.go.wait(20)
        self.inside = False
        return True, np.zeros((4, 4, 3), np.uint8)

    def release(self) -> None:
        self.released.append(self.inside)


def test_a_camera_is_never_released_under_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    played = HangingCapture(0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: played)
    camera = Camera(0)
    thread = threading.Thread(target=lambda: list(camera))
    thread.start()
    assert played.hangs.wait(20)
    begun = time.monotonic()
    camera.close()
    assert time.monotonic() - begun < 5, "closing does not wait for the driver"
    assert played.released == []
    played.go.set()
    thread.join(20)
    assert not thread.is_alive(), "a closed camera gives no more frames"
    assert played.released == [False]


def test_frames_have_the_times_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(HangingCapture):
        def read(self) -> tuple[bool, np.ndarray]:
            time.sleep(0.05)
            self.count += 1
            return self.count < 6, np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(cv2, "VideoCapture", Slow)
    camera = Camera(0)
    begun = time.monotonic()
    times = [timed.time_s for timed in camera]
    assert camera.fps == 30.0
    assert len(times) == 4
    assert 0.2 <= times[-1] <= time.monotonic() - begun
    assert min(np.diff(times)) >= 0.049


def test_a_camera_without_frames_is_released_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dark(HangingCapture):
        def read(self) -> tuple[bool, None]:  # type: ignore[override]
            return False, None

    played = Dark(0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: played)
    with pytest.raises(SourceError, match="camera 3 gives no frames"):
        Camera(3)
    assert played.released == [False]
