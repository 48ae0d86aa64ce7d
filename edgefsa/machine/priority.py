"""Threads that give way to others."""

from __future__ import annotations

import contextlib
import os
import threading

VIEW, BACKGROUND = 10, 19


def give_way(nice: int) -> None:
    """Lower the priority of the calling thread to `nice` (0 to 19), where the system has priorities of threads."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
