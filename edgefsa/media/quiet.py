"""OpenCV and FFmpeg kept from printing."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import cv2

_SILENT = 0


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
                self._level = _set_log_level(_SILENT)
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                _set_log_level(self._level)


def _set_log_level(level: int) -> int:
    """Set OpenCV's log level and return the one before."""
    # Where the systems' own OpenCV (JetPack's, Debian's: 4.5 to 4.8) has it, and where newer ones do.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    previous: int = set_level(level)
    return previous


_opencv_log = _OpencvLog()
