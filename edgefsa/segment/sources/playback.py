"""Sources played in another way: again and again, at a camera's rate, mirrored, with frames left out."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from edgefsa.media.frames import Frame
from edgefsa.segment.sources.base import FrameSource, SourceFrame
from edgefsa.segment.sources.options import SourceOptions

# What is late by more than this in sum cannot be read at the rate that was asked for.
_LATE_S = 1.0
_FLIP_CODES = {"h": 1, "v": 0, "180": -1}


def played(source: FrameSource, options: SourceOptions) -> FrameSource:
    """Return a source that plays `source` by `options`; the same one where they ask for nothing."""
    plain = not options.loop and options.rate is None and options.flip is None and options.skip == 0
    return source if plain else Playback(source, options)


class Playback(FrameSource):
    """A source that loops, keeps a rate, leaves frames out and mirrors them, in this order; see SourceOptions.

    At a rate the source is live. Its frames are then captured at their turn, as a camera's would be: reading one in
    advance is not in their time. Frames left out keep their index and their name from the others.
    """

    def __init__(self, source: FrameSource, options: SourceOptions) -> None:
        super().__init__(source.name)
        self._source, self._options = source, options
        self._interrupted = threading.Event()
        self.notes, self.failures = source.notes, source.failures
        source.on_note = lambda note: self.on_note(note)
        source.on_reconnect = lambda: self.on_reconnect()
        source.on_drop = lambda frames: self.on_drop(frames)
        step = options.skip + 1
        fps = options.rate or source.fps
        self.fps = None if fps is None else fps / step
        self.total = None if options.loop or source.total is None else math.ceil(source.total / step)
        self.live = source.live or options.rate is not None
        if options.rate is not None:
            source.keep_rate()

    def __iter__(self) -> Iterator[SourceFrame]:
        options = self._options
        frames = self._looped() if options.loop else iter(self._source)
        if options.rate is not None:
            frames = self._paced(frames, options.rate)
        for frame in itertools.islice(frames, None, None, options.skip + 1):
            yield frame if options.flip is None else replace(frame, frame=flipped(frame.frame, options.flip))

    def note(self, text: str) -> None:
        """Record what a user should know, in one line."""
        self._source.note(text)

    def keep_rate(self) -> None:
        """Make ready to be read at a rate."""
        self._source.keep_rate()

    def interrupt(self) -> None:
        """Ask a read that is under way in another thread to end soon, and no other to begin."""
        self._interrupted.set()
        self._source.interrupt()

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()

    def _looped(self) -> Iterator[SourceFrame]:
        """Yield the frames round after round, while indices and times go on rising and names stay apart."""
        count, begin_s = 0, 0.0
        interval_s = 1 / self._source.fps if self._source.fps else 1.0
        for round_number in itertools.count():
            begin, end_s = count, begin_s
            for frame in self._source:
                if self._interrupted.is_set():
                    return
                end_s = begin_s + frame.time_s
                name = frame.name if round_number == 0 else f"{frame.name}_{round_number + 1}"
                yield replace(frame, name=name, index=count, time_s=end_s)
                count += 1
            if count == begin:
                return
            begin_s = end_s + interval_s

    def _paced(self, frames: Iterator[SourceFrame], rate: float) -> Iterator[SourceFrame]:
        """Yield each frame at its turn; those that could not be read in time push the later ones back."""
        first_ns, due_s, late_s = 0, 0.0, 0.0
        asked_s = time.perf_counter()
        for frame in frames:
            now_s = time.perf_counter()
            if not first_ns:
                due_s = now_s
            if self._interrupted.wait(max(0.0, due_s - now_s)):
                return
            if now_s > due_s:
                late_s += now_s - max(due_s, asked_s)  # what the reading, not the taker, is to blame for
                due_s = now_s
                if late_s > _LATE_S:
                    self.note_once(f"{self.name} cannot be read at {rate:g} frames a second here; it plays slower")
            captured_ns = time.perf_counter_ns()
            first_ns = first_ns or captured_ns
            yield replace(frame, time_s=(captured_ns - first_ns) / 1e9, captured_ns=captured_ns)
            due_s += 1 / rate
            asked_s = time.perf_counter()


def flipped(frame: Frame, flip: str) -> Frame:
    """Mirror uint8 [H, W, 3]: "h" left and right, "v" top and bottom, "180" both."""
    return np.asarray(cv2.flip(frame, _FLIP_CODES[flip]), np.uint8)
