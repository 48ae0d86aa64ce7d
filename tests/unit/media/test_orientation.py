"""EXIF's eight orientations and the display matrices of videos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefsa.media.orientation import orientation_from_exif, orientation_from_matrix, upright

STORED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
# What a viewer shows of STORED: EXIF 2.32 names the side of the scene where row 0 and column 0 lie.
SHOWN = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


@pytest.mark.parametrize("orientation", SHOWN)
def test_each_orientation_is_turned_upright(orientation: int) -> None:
    assert upright(STORED, orientation).tolist() == SHOWN[orientation]
    colours = upright(STORED[..., None].repeat(3, 2), orientation)
    assert colours[..., 2].tolist() == SHOWN[orientation]
    assert colours.flags["C_CONTIGUOUS"]


def test_a_value_that_is_no_orientation_turns_nothing() -> None:
    assert [orientation_from_exif({0x0112: value}) for value in (0, 9, None, "x", 8)] == [1, 1, 1, 1, 8]
    assert orientation_from_exif({}) == 1


@pytest.mark.parametrize("orientation", SHOWN)
def test_a_display_matrix_does_what_its_orientation_does(orientation: int) -> None:
    # Where the matrix puts the corners of the stored picture says how it is shown, by OpenCV's own warp.
    corners = {1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1)}
    corners |= {5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0)}
    a, b, c, d = corners[orientation]
    height, width = STORED.shape
    shift_x = (width - 1) * (a < 0) + (height - 1) * (c < 0)
    shift_y = (width - 1) * (b < 0) + (height - 1) * (d < 0)
    shown_hw = np.array(SHOWN[orientation]).shape
    matrix = np.float32([[a, c, shift_x], [b, d, shift_y]])
    warped = cv2.warpAffine(STORED, matrix, shown_hw[::-1], flags=cv2.INTER_NEAREST)
    assert warped.tolist() == SHOWN[orientation]
    one = 1 << 16
    assert orientation_from_matrix([a * one, b * one, 0, c * one, d * one, 0, 7, 7, 1 << 30]) == orientation


def test_a_slanted_matrix_turns_nothing() -> None:
    assert orientation_from_matrix([3, 2, 0, -2, 3, 0, 0, 0, 1]) == 1
