"""The figures of a run while it goes on: how many frames, how fast, and how long each stage took.

Memory does not grow with the length of a run: times are counted in bins that are 1 % wide.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

# The stages of a frame: waiting for the engine (live), fitting to its size, copies to a GPU and back (where there is
# one), the engine's run, the mask's way back; then all from fitting on together, and all from the capture on (live).
STAGES = ("queue", "prepare", "copy", "engine", "mask", "frame_to_mask", "camera_to_mask")
WARMUP_FRAMES = 5
_FPS_WINDOW_S = 5.0
_LOWEST_MS, _RATIO, _BINS = 1e-3, 1.01, 2100  # to 10^6 ms
_BINS_PER_E = 1 / math.log(_RATIO)


@dataclass(frozen=True)
class TimesSummary:
    """Times of `count` frames in milliseconds, to half a percent; all 0 where there are none."""

    median: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    count: int = 0


class Times:
    """Counts times in bins of equal ratio. The first WARMUP_FRAMES are left out where others came after them."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._total_ms = 0.0
        self._warmup: list[float] = []

    def add(self, time_ms: float) -> None:
        """Count a time in milliseconds."""
        if len(self._warmup) < WARMUP_FRAMES:
            self._warmup.append(time_ms)
        else:
            self._counts[_bin_of(time_ms)] += 1
            self._total_ms += time_ms

    @property
    def total_ms(self) -> float:
        """The sum of the times that `histogram` counts, in milliseconds."""
        return self._total_ms if self._counts.any() else sum(self._warmup)

    def summary(self) -> TimesSummary:
        """Return median and percentiles."""
        counts = self._all()
        total = int(counts.sum())
        if total == 0:
            return TimesSummary()
        ends = np.cumsum(counts)
        median, p95, p99 = (
            _LOWEST_MS * _RATIO ** (int(np.searchsorted(ends, math.ceil(share * total))) + 0.5)
            for share in (0.5, 0.95, 0.99)
        )
        return TimesSummary(median, p95, p99, total)

    def histogram(self, edges_ms: Sequence[float]) -> list[int]:
        """Return how many times lie below each edge (rising, in milliseconds) and not below the one before it.

        A further value at the end counts those from the last edge on.
        """
        ends = np.concatenate(([0], np.cumsum(self._all())))
        below = [int(ends[_bin_of(edge)]) for edge in edges_ms]
        return [*np.diff([0, *below, int(ends[-1])]).tolist()]

    def _all(self) -> npt.NDArray[np.int64]:
        if self._counts.any():
            return self._counts
        counts = np.zeros(_BINS, np.int64)
        for time_ms in self._warmup:
            counts[_bin_of(time_ms)] += 1
        return counts


@dataclass(frozen=True)
class Snapshot:
    """A run's figures at one moment.

    `captured` = `frames` (that have a mask) + `dropped` (live frames that a newer one replaced) + those under way;
    `fps` is that of the last seconds, `stages` has the times of STAGES, `sinks` of each sink's writing, `skipped` how
    many frames each sink had no time for. `seconds` go from the start of the run.
    """

    seconds: float
    captured: int
    frames: int
    dropped: int
    fps: float
    stages: Mapping[str, TimesSummary]
    sinks: Mapping[str, TimesSummary] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    reconnects: int = 0


class Statistics:
    """Counts and times of one run, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start_s = time.monotonic()
        self._captured = self._frames = self._dropped = self._reconnects = 0
        self._masks_s: deque[float] = deque()
        self._first_s = self._last_s = 0.0
        self._stages = {name: Times() for name in STAGES}
        self._sinks: dict[str, Times] = {}
        self._skipped: dict[str, int] = {}

    def count_captured(self, frames: int = 1) -> None:
        """Count frames that the source gave; a negative number takes back those that nobody asked for."""
        with self._lock:
            self._captured += frames

    def count_dropped(self, frames: int = 1) -> None:
        """Count live frames that a newer one replaced."""
        with self._lock:
            self._dropped += frames

    def count_left_out(self, frames: int) -> None:
        """Count live frames that the source itself left out to keep up."""
        with self._lock:
            self._captured += frames
            self._dropped += frames

    def count_reconnect(self) -> None:
        """Count a source that was lost and came back."""
        with self._lock:
            self._reconnects += 1

    def count_skipped(self, sink: str, frames: int = 1) -> None:
        """Count frames that a sink had no time for."""
        with self._lock:
            self._skipped[sink] = self._skipped.get(sink, 0) + frames

    def add_frame(self, times_ms: Mapping[str, float]) -> None:
        """Count a frame that has its mask, with the times of its stages."""
        now_s = time.monotonic()
        with self._lock:
            self._frames += 1
            self._first_s = self._first_s or now_s
            self._last_s = now_s
            self._masks_s.append(now_s)
            self._forget(now_s)
            for name, time_ms in times_ms.items():
                self._stages[name].add(time_ms)

    def add_write(self, sink: str, time_ms: float) -> None:
        """Count what a sink took for a frame."""
        with self._lock:
            self._sinks.setdefault(sink, Times()).add(time_ms)

    def histogram(self, stage: str, edges_ms: Sequence[float]) -> list[int]:
        """Return the histogram of a stage of STAGES; see `Times.histogram`."""
        with self._lock:
            return self._stages[stage].histogram(edges_ms)

    def total_ms(self, stage: str) -> float:
        """Return the sum of the times that the histogram of a stage counts, in milliseconds."""
        with self._lock:
            return self._stages[stage].total_ms

    @property
    def frames(self) -> int:
        """How many frames have a mask."""
        return self._frames

    def mean_fps(self) -> float:
        """Return frames a second from the first mask to the last; 0 with less than two."""
        with self._lock:
            seconds = self._last_s - self._first_s
            return (self._frames - 1) / seconds if self._frames > 1 and seconds > 0 else 0.0

    def snapshot(self) -> Snapshot:
        """Return the figures of this moment."""
        now_s = time.monotonic()
        with self._lock:
            self._forget(now_s)
            window_s = min(_FPS_WINDOW_S, max(now_s - self._first_s, 1e-9))
            return Snapshot(
                seconds=now_s - self._start_s,
                captured=self._captured,
                frames=self._frames,
                dropped=self._dropped,
                fps=len(self._masks_s) / window_s if len(self._masks_s) > 1 else 0.0,
                stages={name: times.summary() for name, times in self._stages.items()},
                sinks={name: times.summary() for name, times in self._sinks.items()},
                skipped=dict(self._skipped),
                reconnects=self._reconnects,
            )

    def _forget(self, now_s: float) -> None:
        while self._masks_s and self._masks_s[0] < now_s - _FPS_WINDOW_S:
            self._masks_s.popleft()


def _bin_of(time_ms: float) -> int:
    if time_ms <= _LOWEST_MS:
        return 0
    return min(int(math.log(time_ms / _LOWEST_MS) * _BINS_PER_E), _BINS - 1)
