"""How frames and masks are resized, as tables that a GPU can follow: which pixels make each new one, how weighed.

What is made by them is, bit by bit, what `frames.resize_frame` and `frames.resize_mask` make with OpenCV: the tables of
frames are worked out in its own steps, with their roundings, and those of masks are read off it.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefsa.media.frames import means_areas, resize_mask

_UNIT = np.float32(2048)  # a weight of 1 of the bilinear resampling


class Resampling(enum.IntEnum):
    """How pixels are weighed: as plugins/kernels/frame_preparation/frame_preparation.h counts it."""

    BILINEAR = 0
    MEAN = 1
    AREA = 2


@dataclass(frozen=True)
class Taps:
    """What makes each of `size` pixels of a row or a column, in order.

    `first` int32 [size] is the first of `count` neighbours, of which those beyond an edge repeat it; `weights` float32
    [size, count] are theirs (of BILINEAR times 2048).
    """

    first: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

    @property
    def count(self) -> int:
        """How many neighbours make a pixel."""
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class FrameTaps:
    """The resizing of frames from one size to another."""

    resampling: Resampling
    rows: Taps
    columns: Taps


@functools.lru_cache(maxsize=64)
def frame_taps(from_hw: tuple[int, int], to_hw: tuple[int, int]) -> FrameTaps:
    """Return what `resize_frame` does to uint8 [*from_hw, 3] for uint8 [*to_hw, 3]."""
    (from_height, from_width), (height, width) = from_hw, to_hw
    whole = from_height % height == 0 and from_width % width == 0
    if from_hw == to_hw or (whole and means_areas(from_hw, to_hw)):
        return FrameTaps(Resampling.MEAN, _equal(from_height, height), _equal(from_width, width))
    if means_areas(from_hw, to_hw):
        return FrameTaps(Resampling.AREA, _areas(from_height, height), _areas(from_width, width))
    return FrameTaps(Resampling.BILINEAR, _pairs(from_height, height), _clipped(_pairs(from_width, width), from_width))


@functools.lru_cache(maxsize=64)
def mask_sources(source: int, size: int) -> npt.NDArray[np.int32]:
    """Return which of `source` rows (or columns) `resize_mask` takes for each of `size`: int32 [size]."""
    low, high = (resize_mask((np.arange(source) >> bits & 255).astype(np.uint8)[None], (1, size))[0] for bits in (0, 8))
    return np.asarray(low, np.int32) + 256 * np.asarray(high, np.int32)


def _equal(source: int, size: int) -> Taps:
    count = source // size
    return Taps(np.arange(size, dtype=np.int32) * count, np.full((size, count), 1 / count, np.float32))


def _pairs(source: int, size: int) -> Taps:
    position = ((np.arange(size) + 0.5) * (1.0 / (size / source)) - 0.5).astype(np.float32)
    first = np.floor(position)
    share = position - first
    weights = np.stack([np.float32(1) - share, share], axis=1) * _UNIT
    return Taps(first.astype(np.int32), np.rint(weights))


def _clipped(taps: Taps, source: int) -> Taps:
    """Return the taps with all weight on a row's first or last pixel beyond it: OpenCV does so with rows alone."""
    first = np.clip(taps.first, 0, source - 1)
    outside = (first != taps.first) | (first == source - 1)
    return Taps(first, np.where(outside[:, None], np.array([_UNIT, 0], np.float32), taps.weights))


def _areas(source: int, size: int) -> Taps:
    scale = 1.0 / (size / source)
    start = np.arange(size) * scale
    end, cell = start + scale, np.minimum(scale, source - start)
    last = np.minimum(np.floor(end), source - 1)
    begin = np.minimum(np.ceil(start), last)
    first = np.where(begin - start > 1e-3, begin - 1, begin)
    # What is cut off at the start, whole pixels, what is cut off at the end; slivers are left out.
    index = first[:, None] + np.arange(int(np.max(last - first)) + 1)
    whole = np.where((index >= begin[:, None]) & (index < last[:, None]), 1 / cell[:, None], 0)
    before = np.where(index < begin[:, None], ((begin - start) / cell)[:, None], 0)
    rest = np.minimum(np.minimum(end - last, 1), cell) / cell
    after = np.where((index == last[:, None]) & ((end - last) > 1e-3)[:, None], rest[:, None], 0)
    return Taps(first.astype(np.int32), (before + whole + after).astype(np.float32))
