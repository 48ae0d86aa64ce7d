"""The last stage: each sink in a thread of its own behind a short queue, so that none is in the engine's way."""

from __future__ import annotations

import threading
import time
from collections import deque

from edgefsa.segment.run import Run, SegmentedFrame
from edgefsa.segment.sinks import Sink

_QUEUE = 4
_POLL_S = 0.05


class Delivery:
    """Hands frames to one sink.

    A sink that wants every frame holds a run over files back while its queue is full; in a live run, the oldest frame
    in the queue makes room. A sink that only shows takes the newest frame. What a sink had no time for is counted.
    """

    def __init__(self, sink: Sink, run: Run) -> None:
        self._sink, self._run = sink, run
        self._waits = sink.every_frame and not run.live
        self._room = _QUEUE if sink.every_frame else 1
        self._frames: deque[SegmentedFrame] = deque()
        self._changed = threading.Condition()
        self._ended = self._busy = self._started = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the sink: in a thread of its own, or here where it belongs to the main thread."""
        if self._sink.in_main_thread:
            self._sink.start(self._run)
            self._started = True
            return
        self._thread = threading.Thread(target=self._work, name=f"edgefsa-sink-{self._sink.name}", daemon=True)
        self._thread.start()

    def put(self, frame: SegmentedFrame) -> None:
        """Queue a frame, which may wait for room."""
        with self._changed:
            while self._waits and len(self._frames) >= self._room and self._run.error is None:
                self._changed.wait(_POLL_S)
            while len(self._frames) >= self._room:
                self._frames.popleft()
                self._run.statistics.count_skipped(self._sink.name)
            self._frames.append(frame)
            self._changed.notify_all()

    def end(self) -> None:
        """Announce that no frame will follow."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def started(self) -> bool:
        """Whether the sink is ready for frames, or has failed."""
        return self._started or self._run.error is not None

    @property
    def done(self) -> bool:
        """Whether the sink has taken all frames, or will take no more."""
        if self._thread is not None:
            return not self._thread.is_alive()
        with self._changed:
            return self._run.error is not None or (self._ended and not self._frames and not self._busy)

    def poll(self) -> None:
        """Let a sink of the main thread take a frame, if there is one, and look at its keys."""
        if self._thread is None:
            self._take_one(0.0)
            self._sink.poll()

    def _work(self) -> None:
        try:
            self._sink.start(self._run)
            self._started = True
            while self._run.error is None and self._take_one(_POLL_S):
                self._sink.poll()
        except BaseException as error:  # raised in the thread of the caller
            self._run.fail(error)

    def _take_one(self, timeout_s: float) -> bool:
        """Write a frame where one comes in time; return whether others may follow."""
        with self._changed:
            if not self._frames and not self._ended and timeout_s:
                self._changed.wait(timeout_s)
            if not self._frames:
                return not self._ended
            frame, self._busy = self._frames.popleft(), True
            self._changed.notify_all()
        start_ns = time.perf_counter_ns()
        try:
            self._sink.write(frame)
        finally:
            self._busy = False
        self._run.statistics.add_write(self._sink.name, (time.perf_counter_ns() - start_ns) / 1e6)
        return True
