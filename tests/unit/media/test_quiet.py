"""OpenCV's log."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import cv2
import pytest

from edgefsa.media.quiet import quiet_opencv


def test_opencv_is_quiet_until_the_last_thread_is_done() -> None:
    log = cv2.utils.logging
    before, inner_done = log.getLogLevel(), threading.Event()
    assert before != log.LOG_LEVEL_SILENT
    entered = threading.Event()

    def outlast() -> None:
        with quiet_opencv():
            entered.set()
            assert inner_done.wait(20)

    thread = threading.Thread(target=outlast)
    with quiet_opencv():
        thread.start()
        assert entered.wait(20)
        assert log.getLogLevel() == log.LOG_LEVEL_SILENT
    assert log.getLogLevel() == log.LOG_LEVEL_SILENT
    inner_done.set()
    thread.join(20)
    assert log.getLogLevel() == before


def test_an_opencv_of_a_system_has_its_log_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [3]

    def set_log_level(level: int) -> int:
        levels.append(level)
        return levels[-2]

    monkeypatch.setattr(cv2, "setLogLevel", set_log_level, raising=False)
    monkeypatch.setattr(cv2, "utils", SimpleNamespace())  # OpenCV 4.6 has no cv2.utils.logging
    with quiet_opencv():
        assert levels == [3, 0]
    assert levels == [3, 0, 3]
