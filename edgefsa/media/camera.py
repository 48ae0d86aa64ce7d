"""Cameras, by OpenCV: frames with the time of their capture."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np

from edgefsa.errors import SourceError
from edgefsa.media.frames import Frame
from edgefsa.media.quiet import quiet_opencv
from edgefsa.media.video import DEFAULT_FPS

_PLAUSIBLE_FPS = (1.0, 240.0)
_API = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY


@dataclass(frozen=True)
class CapturedFrame:
    """A frame uint8 [H, W, 3] BGR, when this machine got it (`time.perf_counter_ns`), and the device's own time of it.

    `device_time_s` is in seconds on a clock of the camera or stream, None where it names none.
    """

    frame: Frame
    captured_ns: int
    device_time_s: float | None = None


@dataclass(frozen=True)
class CameraRequest:
    """What a camera is asked for; it grants what it can. `pixel_format` is a FourCC."""

    size_hw: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None


class Camera:
    """An open camera by its number, its path (/dev/video0), or a GStreamer pipeline; one thread opens and reads it.

    `fps` is the rate that it names, else 25; `granted` says in words what it gives and what else was asked for. Raises
    SourceError where it gives no frame; `label` is what messages call it.
    """

    def __init__(self, device: int | str, label: str, request: CameraRequest, *, pipeline: bool = False) -> None:
        self.label = label
        self._stack = ExitStack()
        with ExitStack() as stack:
            stack.enter_context(quiet_opencv())
            capture = cv2.VideoCapture(device, cv2.CAP_GSTREAMER if pipeline else _API)
            stack.callback(capture.release)
            self._capture = capture
            if not pipeline:
                self._ask(request)
            first = self.read()
            if first is None:
                raise SourceError(f"{label} gives no frames; is it connected, free, and are you allowed to use it?")
            fps = float(capture.get(cv2.CAP_PROP_FPS))
            known = _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1]
            self.fps = fps if known else DEFAULT_FPS
            self.granted = f"{label}: " + _in_words(first.frame, fps if known else None, self._pixel_format(), request)
            self._stack = stack.pop_all()

    def read(self) -> CapturedFrame | None:
        """Wait for the next frame; None where there is none any more."""
        try:
            if not self._capture.grab():
                return None
            captured_ns = time.perf_counter_ns()
            device_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
            found, frame = self._capture.retrieve()
        except cv2.error:
            return None
        if not found:
            return None
        return CapturedFrame(np.asarray(frame, np.uint8), captured_ns, device_ms / 1e3 if device_ms > 0 else None)

    def close(self) -> None:
        """Release the camera."""
        self._stack.close()

    def _ask(self, request: CameraRequest) -> None:
        # The format first: it decides which sizes and rates there are.
        if request.pixel_format is not None:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*request.pixel_format))
        if request.size_hw is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size_hw[1])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size_hw[0])
        if request.fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, request.fps)

    def _pixel_format(self) -> str:
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        text = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)) if code > 0 else ""
        return text.strip() if text.isascii() and text.isprintable() else ""


def _in_words(frame: Frame, fps: float | None, pixel_format: str, request: CameraRequest) -> str:
    """Say what a camera grants, and in brackets what of it was asked for otherwise."""
    granted = [f"{frame.shape[1]}x{frame.shape[0]}"]
    other = []
    if request.size_hw is not None and frame.shape[:2] != request.size_hw:
        other.append(f"{request.size_hw[1]}x{request.size_hw[0]}")
    if fps is not None:
        granted.append(f"{fps:g} frames a second")
    if request.fps is not None and request.fps != fps:
        other.append(f"{request.fps:g} frames a second")
    if pixel_format:
        granted.append(pixel_format)
    if request.pixel_format is not None and request.pixel_format != pixel_format:
        other.append(request.pixel_format)
    return ", ".join(granted) + (f" ({', '.join(other)} was asked for)" if other else "")
