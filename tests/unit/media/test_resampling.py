"""The tables of resizing, followed in NumPy, against OpenCV: bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.media.frames import resize_frame, resize_mask
from edgefsa.media.resampling import FrameTaps, Resampling, frame_taps, mask_sources

Array = npt.NDArray[Any]
Size = tuple[int, int]
SIZES: list[tuple[Size, Size, Resampling]] = [
    ((48, 64), (48, 64), Resampling.MEAN),
    ((90, 120), (45, 60), Resampling.MEAN),
    ((90, 120), (30, 24), Resampling.MEAN),
    ((108, 192), (51, 91), Resampling.AREA),
    ((99, 101), (7, 40), Resampling.AREA),
    ((45, 77), (1, 1), Resampling.MEAN),
    ((48, 64), (36, 48), Resampling.BILINEAR),
    ((120, 90), (40, 64), Resampling.BILINEAR),
    ((37, 53), (64, 100), Resampling.BILINEAR),
    ((2, 2), (7, 9), Resampling.BILINEAR),
    ((1, 5), (4, 3), Resampling.BILINEAR),
]


def gathered(frame: Array, taps: FrameTaps, axis: int) -> Array:
    """Return each new row's (or column's) neighbours along a new axis in front of it."""
    one = taps.rows if axis == 0 else taps.columns
    index = np.clip(one.first[:, None] + np.arange(one.count), 0, frame.shape[axis] - 1)
    return np.moveaxis(np.take(frame, index, axis), axis + 1, 0)


def followed(frame: Array, taps: FrameTaps) -> Array:
    """Resize as the README of the kernel says."""
    rows, columns = taps.rows.weights.T[:, :, None, None], taps.columns.weights.T[:, None, :, None]
    if taps.resampling is Resampling.MEAN:
        sums = gathered(gathered(frame.astype(int), taps, 0).sum(0), taps, 1).sum(0)
        if taps.rows.count == taps.columns.count == 2:
            return (sums + 2) >> 2
        return np.rint(sums.astype(np.float32) * np.float32(1 / (taps.rows.count * taps.columns.count)))
    if taps.resampling is Resampling.BILINEAR:
        across = (gathered(frame.astype(int), taps, 1) * columns.astype(int)).sum(0)
        down = ((gathered(across, taps, 0) >> 4) * rows.astype(int)) >> 16
        return (down.sum(0) + 2) >> 2
    parts = np.zeros(1, np.float32)
    for pixels, weight in zip(gathered(frame.astype(np.float32), taps, 1), columns, strict=True):
        parts = parts + pixels * weight
    sums = np.zeros(1, np.float32)
    for pixels, weight in zip(gathered(parts, taps, 0), rows, strict=True):
        sums = sums + pixels * weight
    return np.rint(sums)


@pytest.mark.parametrize(("from_hw", "to_hw", "resampling"), SIZES)
def test_frames_are_resized_as_opencv_does(from_hw: Size, to_hw: Size, resampling: Resampling) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*from_hw, 3), dtype=np.uint8)
    taps = frame_taps(from_hw, to_hw)
    assert taps.resampling is resampling
    assert (len(taps.rows.first), len(taps.columns.first)) == to_hw
    np.testing.assert_array_equal(followed(frame, taps), resize_frame(frame, to_hw))


@pytest.mark.parametrize(
    ("from_hw", "to_hw"), [((512, 1024), (720, 1280)), ((36, 48), (108, 192)), ((300, 7), (13, 9))]
)
def test_masks_are_resized_as_opencv_does(from_hw: Size, to_hw: Size) -> None:
    mask = np.random.default_rng(0).integers(0, 19, from_hw, dtype=np.uint8)
    rows, columns = (mask_sources(source, size) for source, size in zip(from_hw, to_hw, strict=True))
    np.testing.assert_array_equal(mask[rows][:, columns], resize_mask(mask, to_hw))
