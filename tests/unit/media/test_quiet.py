"""OpenCV's log."""

from __future__ import annotations

import threading

import cv2

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
