"""Cameras, by OpenCV: frames with the time of their capture."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np

from edgefsa.errors import SourceError
from edgefsa.media.frames import Frame
from edgefsa.media.guard import ReadGuard
from edgefsa.media.quiet import quiet_opencv
from edgefsa.media.video import DEFAULT_FPS, TimedFrame

_PLAUSIBLE_FPS = (1.0, 240.0)


class Camera:
    """The frames of a camera by its number, until it is stopped or unplugged.

    `fps` is the rate that the camera names; a frame's time is that of the clock at its capture. `close` may be called
    from any thread. Raises SourceError where the camera gives no frame.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        with quiet_opencv():
            self._capture = cv2.VideoCapture(number)
            self._guard = ReadGuard(self._capture.release)
            self._first = self._read()
        if self._first is None:
            self.close()
            raise SourceError(f"camera {number} gives no frames; is it connected, free, and are you allowed to use it?")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else DEFAULT_FPS

    def __iter__(self) -> Iterator[TimedFrame]:
        # The first frame has waited since the camera was opened: time starts with the next one.
        self._first, start_s = None, time.monotonic()
        while (frame := self._read()) is not None:
            yield TimedFrame(frame, time.monotonic() - start_s)

    def close(self) -> None:
        """Release the camera, at the end of a read that is under way."""
        self._guard.close()

    def _read(self) -> Frame | None:
        with self._guard.reading() as is_open:
            if not is_open:
                return None
            try:
                found, frame = self._capture.read()
            except cv2.error:
                return None
            return np.asarray(frame, np.uint8) if found else None
