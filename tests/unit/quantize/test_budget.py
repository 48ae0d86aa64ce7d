"""How many frames a calibration takes, and which."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgefsa.errors import UnreadableError
from edgefsa.quantize.budget import FEWEST_FRAMES, CalibrationFrames, spread_order


def test_all_frames_are_those_that_are_spread_evenly() -> None:
    assert sorted(spread_order(128, 367)) == np.linspace(0, 366, 128).astype(int).tolist()
    assert sorted(spread_order(5, 5)) == [0, 1, 2, 3, 4]
    assert spread_order(1, 9) == [0]


@pytest.mark.parametrize("taken", [64, 32, 16])
def test_any_half_is_spread_evenly(taken: int) -> None:
    steps = np.diff(sorted(spread_order(128, 1280)[:taken]))
    assert steps.max() - steps.min() <= 1 and abs(steps.mean() - 1280 / taken) <= 1


class Numbered:
    """A set of `count` frames that `read` makes of their numbers."""

    def __init__(self, read: Callable[[int], np.ndarray], count: int) -> None:
        self.frame, self._count = read, count

    def __len__(self) -> int:
        return self._count


class Clock:
    """Each frame takes `seconds`, the first batch ten times as long."""

    def __init__(self, seconds: float, batch: int = 1) -> None:
        self.now, self.read_indices, self._seconds, self._batch = 0.0, [], seconds, batch

    def read(self, index: int) -> np.ndarray:
        self.now += self._seconds * (10 if len(self.read_indices) < self._batch else 1)
        self.read_indices.append(index)
        return np.full((2, 2, 3), index % 256, np.uint8)

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("seconds", "taken"), [(0.1, 128), (0.46, 128), (0.5, 64), (1.5, 32), (3.0, 16), (60.0, FEWEST_FRAMES)]
)
def test_frames_are_halved_until_they_fit(seconds: float, taken: int, batch: int) -> None:
    clock, said = Clock(seconds, batch), []
    frames = CalibrationFrames([Numbered(clock.read, 500)], 128, seconds=60, batch=batch, say=said.append, clock=clock)
    assert frames.total == 128
    assert len(list(frames)) == frames.total == taken
    assert clock.read_indices == spread_order(128, 500)[:taken]
    assert [f"{taken} frames in place of 128" in line for line in said] == [True] * (taken < 128)


def test_without_a_limit_every_frame_is_taken() -> None:
    clock = Clock(100.0)
    assert len(list(CalibrationFrames([Numbered(clock.read, 40)], 30, clock=clock))) == 30


def test_damaged_frames_are_left_out_and_named() -> None:
    said: list[str] = []

    def read(index: int) -> np.ndarray:
        if index % 2:
            raise UnreadableError(f"{index}.png is cut short")
        return np.full((2, 2, 3), index, np.uint8)

    frames = list(CalibrationFrames([Numbered(read, 6)], 6, say=said.append))
    assert sorted(int(frame[0, 0, 0]) for frame in frames) == [0, 2, 4]
    assert sorted(said) == [f"note: left out of the calibration: {index}.png is cut short" for index in (1, 3, 5)]


def test_sets_have_the_same_share_and_take_turns() -> None:
    sets = [Numbered(lambda index, place=place: np.full((1, 1, 3), place, np.uint8), 40) for place in range(3)]
    taken = [int(frame[0, 0, 0]) for frame in CalibrationFrames(sets, 10)]
    assert taken == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    few = Numbered(lambda index: np.full((1, 1, 3), 100 + index, np.uint8), 2)
    frames = CalibrationFrames([sets[0], few], 10)
    values = sorted(int(frame[0, 0, 0]) for frame in frames)
    assert values == [0] * 5 + [100, 101] and frames.total == 7, "no frame is taken twice"
