"""Threads that give way to others."""

from __future__ import annotations

import contextlib
import os
import threading

_LOWEST = 19


def give_way() -> None:
    """Lower the priority of the calling thread to the lowest, where the system has priorities of threads.

    For threads that hardly ever hold the interpreter's lock: one that is kept from the CPU while it has it keeps all
    others waiting. The live view's threads lost the engine more this way than they gained.
    """
    with contextlib.suppress(OSError, AttributeError):  # Linux alone
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
