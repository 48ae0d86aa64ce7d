"""What an engine's frames cost in energy: its own run of some seconds, above the idle machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgefsa.machine.telemetry import Energy, Telemetry, Window, energy_per_frame

# At a sample every half second, which is as often as a Jetson's monitors are worth asking, a window has 20 samples.
INTERVAL_S = 0.5
IDLE_S, SETTLE_S, BUSY_S = 5.0, 1.0, 10.0


def idle_window(telemetry: Telemetry | None) -> Window | None:
    """Wait for IDLE_S seconds and return what the machine was like; None, at once, where no power can be read."""
    if telemetry is None or not telemetry.measures_power:
        return None
    begun = time.monotonic()
    time.sleep(IDLE_S)
    return telemetry.window(begun)


def energy_of(
    run: Callable[[], object], frames: int, telemetry: Telemetry | None, idle: Window | None
) -> Energy | None:
    """Call `run`, which makes `frames` frames, over and over for BUSY_S seconds; return the energy of each frame.

    The first SETTLE_S seconds do not count. None where no power can be read.
    """
    if telemetry is None or idle is None:
        return None
    _run_for(run, SETTLE_S)
    begun = time.monotonic()
    count = _run_for(run, BUSY_S)
    return energy_per_frame(telemetry.window(begun), idle, count * frames)


def _run_for(run: Callable[[], object], seconds: float) -> int:
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        run()
        count += 1
    return count
