"""Reports of a run to systemd, where systemd started it: ready, alive, ending."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from edgefsa.machine.notify import notify, watchdog_interval_s
from edgefsa.segment.sinks.base import Sink

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame
    from edgefsa.segment.statistics import Snapshot

_STATUS_EVERY_S = 10.0


class ManagerSink(Sink):
    """Reports to systemd: ready once engine and source are open, then figures, and the watchdog's sign of life.

    The sign is left out, so that systemd starts the run anew, while frames come in and no mask comes out: the engine
    hangs. A source that gives nothing is no reason: it is opened again by itself.
    """

    name = "systemd"
    every_frame = False

    def __init__(self) -> None:
        super().__init__()
        self._run: Run | None = None
        self._interval_s = watchdog_interval_s() or _STATUS_EVERY_S
        self._due_s = 0.0
        self._captured = self._frames = 0

    def start(self, run: Run) -> None:
        """Report that the engine and the source are open."""
        self._run = run
        self._due_s = time.monotonic() + self._interval_s
        notify("READY=1\nSTATUS=no mask yet")

    def write(self, frame: SegmentedFrame) -> None:
        """Take a frame; what counts are the run's figures."""

    def poll(self) -> None:
        """Send the sign of life and the figures where they are due."""
        if self._run is None or time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + self._interval_s
        found = self._run.statistics.snapshot()
        if self._run.paused or found.frames > self._frames or found.captured == self._captured:
            notify("WATCHDOG=1")
        self._captured, self._frames = found.captured, found.frames
        notify(f"STATUS={_in_words(found)}")

    def __exit__(self, *error: Any) -> None:
        notify("STOPPING=1")


def _in_words(found: Snapshot) -> str:
    slowest = found.stages["camera_to_mask"].p95 or found.stages["frame_to_mask"].p95
    lost = f", {found.reconnects} reconnects" if found.reconnects else ""
    return f"{found.frames} masks, {found.fps:.1f} a second, p95 {math.ceil(slowest)} ms, {found.dropped} dropped{lost}"
