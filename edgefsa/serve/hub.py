"""The newest frame and the newest figures, for any number of viewers, none of which another one waits for.

There is no queue: a viewer asks for what is newer than what it has. A frame is encoded when the first viewer asks for
it, once, in a thread of its own; without viewers nothing is encoded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from edgefsa.segment.run import SegmentedFrame

Form = Callable[[SegmentedFrame], bytes]


class View:
    """A frame that is shown. `encoded` returns it in one of the forms of an Encoder, each made once."""

    def __init__(self, frame: SegmentedFrame, pool: ThreadPoolExecutor) -> None:
        self.frame = frame
        self._pool = pool
        self._made: dict[Form, asyncio.Future[bytes]] = {}

    async def encoded(self, form: Form) -> bytes:
        """Return the frame in that form."""
        if form not in self._made:
            self._made[form] = asyncio.get_running_loop().run_in_executor(self._pool, form, self.frame)
        return await asyncio.shield(self._made[form])  # a viewer that goes takes it from no other


class Hub:
    """Holds the newest frame and figures; all but `publish` belongs to the server's thread.

    Viewers see at most `max_fps` frames a second, spread evenly.
    """

    def __init__(self, max_fps: float) -> None:
        self._pool = ThreadPoolExecutor(1, "edgefsa-serve-encode")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interval_s = 1 / max_fps
        self._frame: SegmentedFrame | None = None
        self._frame_s = 0.0
        self._newest: View | None = None
        self._view: View | None = None  # what viewers see
        self._view_s = float("-inf")
        self._figures = ""
        self._changed = asyncio.Event()
        self._waiting = 0
        self._due: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Note the event loop that viewers wait in."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Drop what is still to be encoded."""
        self._loop = None
        self._pool.shutdown(wait=True, cancel_futures=True)

    def publish(self, frame: SegmentedFrame) -> None:
        """Show a frame from now on; from any thread, and at next to no cost where nobody waits."""
        self._frame, self._frame_s = frame, time.monotonic()
        loop = self._loop
        if self._waiting and loop is not None:
            loop.call_soon_threadsafe(self._arrived)

    @property
    def frame_age_s(self) -> float | None:
        """How long ago the newest frame came; None before the first."""
        return None if self._frame is None else time.monotonic() - self._frame_s

    def latest(self) -> View | None:
        """Return the newest frame, whatever the rate of views; None before the first."""
        frame = self._frame
        if frame is not None and (self._newest is None or self._newest.frame is not frame):
            self._newest = View(frame, self._pool)
        return self._newest

    def set_figures(self, figures: str) -> None:
        """Show these figures from now on."""
        self._figures = figures
        self._wake()

    async def next(self, view: View | None, figures: str | None) -> tuple[View | None, str]:
        """Wait for a frame or figures other than these; return both as they are then. None waits for neither."""
        self._waiting += 1  # before looking, so that no frame slips in between unseen
        try:
            self._arrived()
            while self._view is view and figures in (None, self._figures):
                await self._changed.wait()
        finally:
            self._waiting -= 1
        return self._view, self._figures

    def _arrived(self) -> None:
        if self._due is None and self.latest() is not self._view:
            wait_s = self._view_s + self._interval_s - time.monotonic()
            if wait_s <= 0:
                self._show()
            else:
                self._due = asyncio.get_running_loop().call_later(wait_s, self._show)

    def _show(self) -> None:
        self._due, self._view, self._view_s = None, self.latest(), time.monotonic()
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
