"""Which frames a calibration runs, and how many of them where a frame takes long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

import numpy as np

from edgefsa.errors import UnreadableError
from edgefsa.media.frames import Frame, FrameSet

# Ranges of 16 spread frames cost the shipped models no accuracy that can be measured (docs/decisions/0014), and a
# minute is about as long as the other stages of a build take on a large network.
FEWEST_FRAMES = 16
SECONDS = 60.0


class CalibrationFrames:
    """Up to `frames` frames, the same share of each of `sets` and spread evenly over it; files damaged are left out.

    Where the first batches show that they would take longer than `seconds`, the number of frames is halved until it
    fits, though not below FEWEST_FRAMES; any number taken is shared and spread evenly. `total` is how many are to come
    in all. `say` gets a line for what is left out.
    """

    def __init__(
        self,
        sets: Sequence[FrameSet],
        frames: int,
        *,
        seconds: float = math.inf,
        batch: int = 1,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._order = _shared_order(frames, [len(item) for item in sets])
        self.total = len(self._order)
        self._sets, self._say, self._clock = sets, say, clock
        self._seconds = seconds
        # The first batch warms up; the second one is timed from one frame's request to the next.
        self._warm, self._timed = batch, 2 * batch

    def __iter__(self) -> Iterator[Frame]:
        begun, given = 0.0, 0
        for place, index in self._order:
            if given == self._warm:
                begun = self._clock()
            if given == self._timed:
                self._fit((self._clock() - begun) / (self._timed - self._warm))
            if given >= self.total:
                return
            try:
                frame = self._sets[place].frame(index)
            except UnreadableError as error:
                self._say(f"note: left out of the calibration: {error}")
                continue
            given += 1
            yield frame

    def _fit(self, seconds: float) -> None:
        """Halve the number of frames until it fits the time, at `seconds` a frame."""
        wanted = self.total
        while self.total * seconds > self._seconds and self.total // 2 >= FEWEST_FRAMES:
            self.total //= 2
        if self.total < wanted:
            self._say(
                f"note: a frame takes {seconds:.1f} s: calibrating on {self.total} frames in place of {wanted}; "
                f"`edgefsa calibrate --frames {wanted}` takes them all"
            )


def _shared_order(frames: int, counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return which frame of which set comes when: the sets take turns, and none repeats a frame."""
    shares = [min(count, -((place - frames) // len(counts))) for place, count in enumerate(counts)]
    orders = [
        [(place, index) for index in spread_order(share, count)]
        for place, (share, count) in enumerate(zip(shares, counts, strict=True))
    ]
    return [item for turn in zip_longest(*orders) for item in turn if item is not None]


def spread_order(frames: int, count: int) -> list[int]:
    """Return `frames` numbers from 0 to `count` - 1, spread evenly, so that the first half is spread evenly, and so on.

    The order is that of the reversed binary digits (van der Corput's sequence).
    """
    digits = max(frames - 1, 1).bit_length()
    places = sorted(range(frames), key=lambda place: f"{place:0{digits}b}"[::-1])
    picks = np.linspace(0, count - 1, frames).astype(int)
    return [int(picks[place]) for place in places]
