"""Sources and sinks whose own cost is next to nothing, so that what is measured is the pipeline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

from edgefsa.media.frames import Frame
from edgefsa.segment import FrameSource, SegmentedFrame, Sink, SourceFrame


class MemorySource(FrameSource):
    """Frames that lie decoded in memory, `count` in all, over and over.

    With `rate` they come live, at that many a second, as from a camera; without it as fast as they are taken.
    `seconds` after the first one they end. `ready` is called before it, and may wait.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        count: int,
        rate: float | None = None,
        *,
        seconds: float = math.inf,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("memory")
        self._frames, self.total = frames, count
        self._seconds, self._ready = seconds, ready
        self.live, self.fps = rate is not None, rate or 30.0

    def __iter__(self) -> Iterator[SourceFrame]:
        self._ready()
        begun_s = time.monotonic()
        for index in range(self.total or 0):
            if time.monotonic() - begun_s > self._seconds:
                return
            if self.live and (early_s := begun_s + index / self.fps - time.monotonic()) > 0:
                time.sleep(early_s)
            yield SourceFrame(self._frames[index % len(self._frames)], f"{index}", index, index / self.fps)


class Null(Sink):
    """Takes frames and does nothing with them."""

    name = "null"

    def write(self, frame: SegmentedFrame) -> None:
        """Take one frame."""
