"""OpenCV and FFmpeg kept from printing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import cv2


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from printing what our own error says in one line; several threads may ask for it."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's AV_LOG_QUIET; read at its first use
    _opencv_log.silence()
    try:
        yield
    finally:
        _opencv_log.release()


class _OpencvLog:
    """OpenCV's log level, which is one for the process: silent until the last who asked for it is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._level = 0

    def silence(self) -> None:
        with self._lock:
            if self._users == 0:
                self._level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                cv2.utils.logging.setLogLevel(self._level)


_opencv_log = _OpencvLog()
