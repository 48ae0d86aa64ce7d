"""Frames and masks of other sizes."""

from __future__ import annotations

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.media import frames


def test_resize_mask_never_blends_classes() -> None:
    mask = np.array([[0, 10], [10, 0]], np.uint8)
    for size_hw in ((7, 5), (64, 99), (1, 1)):
        resized = frames.resize_mask(mask, size_hw)
        assert resized.shape == size_hw
        assert set(np.unique(resized)) <= {0, 10}
    # Pixel centres: pixel y of n comes from floor((y + 0.5) * 2 / n).
    rows, columns = ((np.arange(n) + 0.5) * 2 / n for n in (8, 6))
    expected = mask[rows.astype(int)][:, columns.astype(int)]
    assert np.array_equal(frames.resize_mask(mask, (8, 6)), expected)


def test_resize_frame_is_bilinear_and_averages_when_much_smaller() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:, 1::2] = 200
    assert np.all(frames.resize_frame(frame, (2, 2)) == 100)
    wide = frames.resize_frame(frame, (4, 8))
    # Output column 1 lies at input 0.25 between columns 0 (0) and 1 (200).
    assert wide[0, 1, 0] == 50
    assert frames.resize_frame(frame, (4, 4)) is frame


@pytest.mark.parametrize("size_hw", [(0, 4), (4, 0), (-1, 4)])
def test_resize_refuses_sizes_without_pixels(size_hw: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        frames.resize_frame(np.zeros((4, 4, 3), np.uint8), size_hw)
    with pytest.raises(InputError, match="at least 1"):
        frames.resize_mask(np.zeros((4, 0), np.uint8), (2, 2))
