"""The first stage: a thread that reads the source into a short queue, or, live, into one slot for the newest frame."""

from __future__ import annotations

import threading
from collections import deque

from edgefsa.segment.run import Run
from edgefsa.segment.sources import FrameSource, SourceFrame

_READ_AHEAD = 6
_POLL_S = 0.1
_CLOSE_TIMEOUT_S = 5.0


class Capture:
    """Reads an open source in a thread of its own, by `with`; `next` returns what it has read.

    From files every frame is kept, in order: the thread waits while the queue is full. Of a live source only the newest
    frame is kept; what it replaces is counted as dropped.
    """

    def __init__(self, source: FrameSource, run: Run, limit: int | None, batch: int) -> None:
        self._source, self._run, self._batch = source, run, batch
        self._read_ahead = max(_READ_AHEAD, 2 * batch)
        self._limit = None if source.live else limit  # dropped frames do not count towards the limit
        self._read = 0
        self._frames: deque[SourceFrame] = deque()
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read_all, name="edgefsa-capture", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._source.interrupt()
        # A camera that hangs in its driver must not keep the program from ending: it is released after that read.
        self._thread.join(_CLOSE_TIMEOUT_S)
        self._run.statistics.count_captured(-len(self._frames))  # read ahead and never asked for

    def next(self, limit: int | None = None, *, wait: bool) -> list[SourceFrame]:
        """Return a batch of frames (at most `limit`), what there is at the end, or none once the run is stopped.

        Without `wait` none are returned either where a batch is not there yet.
        """
        with self._changed:
            while wait and not self._ready() and not self._run.stopped:
                self._changed.wait(_POLL_S)
            if self._run.stopped or not self._ready():
                return []
            count = min(self._batch, len(self._frames), self._batch if limit is None else limit)
            taken = [self._frames.popleft() for _ in range(count)]
            if len(self._frames) <= self._read_ahead // 2:  # several at a time: each waking takes from the engine
                self._changed.notify_all()
            return taken

    @property
    def error(self) -> BaseException | None:
        """What ended the source before its end; it counts after the frames that came before it."""
        return self._error

    @property
    def exhausted(self) -> bool:
        """Whether the source has ended and all its frames are taken."""
        with self._changed:
            return self._ended and not self._frames

    def _ready(self) -> bool:
        return len(self._frames) >= self._batch or self._ended

    def _read_all(self) -> None:
        try:
            for frame in self._source:
                if not self._put(frame):
                    break
        except BaseException as error:  # raised in the thread of the engine
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: SourceFrame) -> bool:
        """Queue a frame; return whether more are wanted."""
        statistics = self._run.statistics
        with self._changed:
            if self._run.stopped:  # nobody asks for it, so that it is not dropped either
                return False
            if self._source.live:
                if self._run.paused:
                    return not self._closed
                statistics.count_dropped(len(self._frames))
                self._frames.clear()
            while len(self._frames) >= self._read_ahead and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._read += 1
            statistics.count_captured()
            self._frames.append(frame)
            self._changed.notify_all()
            return self._read != self._limit
