"""Cameras, played: what they are asked for, what they grant, the times of their frames."""

from __future__ import annotations

import sys
import time
from typing import Any

import cv2
import numpy as np
import pytest

from edgefsa.errors import SourceError
from edgefsa.media.camera import Camera, CameraRequest


class PlayedCapture:
    """A camera of 640 x 480 at 30 frames a second, whatever it is asked for, that writes down what is done with it."""

    frames = 3

    def __init__(self, device: int | str, api: int) -> None:
        self.opened, self.log, self.left = (device, api), [], self.frames
        type(self).last = self

    def set(self, prop: int, value: float) -> bool:
        self.log.append((prop, value))
        return True

    def get(self, prop: int) -> float:
        return {
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
            cv2.CAP_PROP_POS_MSEC: 5000.0 + self.frames - self.left,
        }.get(prop, 0.0)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.02)
        return True, np.zeros((480, 640, 3), np.uint8)

    def release(self) -> None:
        self.log.append("released")


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cv2, "VideoCapture", PlayedCapture)
    return PlayedCapture


def test_the_format_is_asked_for_before_the_size_that_it_decides(capture: Any) -> None:
    camera = Camera(0, "camera 0", CameraRequest((1080, 1920), 60.0, "MJPG"))
    assert capture.last.opened == (0, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    assert capture.last.log == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1920),
        (cv2.CAP_PROP_FRAME_HEIGHT, 1080),
        (cv2.CAP_PROP_FPS, 60.0),
    ]
    assert camera.granted == (
        "camera 0: 640x480, 30 frames a second, YUYV (1920x1080, 60 frames a second, MJPG was asked for)"
    )
    assert camera.fps == 30.0


def test_a_camera_that_grants_everything_is_said_in_short(capture: Any) -> None:
    asked = CameraRequest((480, 640), 30.0, "YUYV")
    assert Camera(0, "camera 0", asked).granted == "camera 0: 640x480, 30 frames a second, YUYV"


def test_nothing_is_asked_of_a_pipeline(capture: Any) -> None:
    Camera("videotestsrc ! appsink", "gst", CameraRequest((1080, 1920)), pipeline=True)
    assert capture.last.opened == ("videotestsrc ! appsink", cv2.CAP_GSTREAMER)
    assert capture.last.log == []


def test_a_frame_has_the_clock_of_its_capture_and_the_drivers_own(capture: Any) -> None:
    camera = Camera(0, "camera 0", CameraRequest())
    frame = camera.read()
    now_ns = time.perf_counter_ns()
    assert frame is not None
    assert now_ns - frame.captured_ns >= 20e6, "the time before it was unpacked"
    assert frame.device_time_s == 5.002
    assert camera.read() is not None
    assert camera.read() is None, "it gives no more"
    camera.close()
    assert capture.last.log == ["released"]


def test_a_driver_without_times_names_none(capture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "get", lambda self, prop: 0.0)
    camera = Camera(0, "camera 0", CameraRequest())
    frame = camera.read()
    assert frame is not None
    assert frame.device_time_s is None
    assert (camera.fps, camera.granted) == (25.0, "camera 0: 640x480")


@pytest.mark.parametrize("fault", ["dark", "fails"])
def test_a_camera_without_frames_is_released_and_named(
    capture: Any, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def broken(_: Any) -> Any:
        raise cv2.error("no buffer")

    monkeypatch.setattr(capture, "grab", lambda _: False)
    if fault == "fails":
        monkeypatch.setattr(capture, "grab", broken)
    with pytest.raises(SourceError, match="camera 3 gives no frames"):
        Camera(3, "camera 3", CameraRequest())
    assert capture.last.log == ["released"]
