"""Threads that give way, asked of the system itself."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from edgefsa.machine.priority import give_way


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has priorities of threads")
def test_the_calling_thread_alone_gives_way() -> None:
    found: list[int] = []

    def work() -> None:
        give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
