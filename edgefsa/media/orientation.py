"""Which way up a picture is: EXIF's eight orientations, and the display matrix of videos.

EXIF 2.32, tag 0x0112; ISO/IEC 14496-12, `tkhd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError

EXIF_TAG = 0x0112
# "exif" turns a picture as its file says; "raw" takes the pixels as they are stored.
CONVENTIONS = ("exif", "raw")

_MIRRORED_LEFT_RIGHT = (2, 3, 6, 7)
_MIRRORED_UP_DOWN = (3, 4, 7, 8)
# The signs of (a, b, c, d) in x' = a x + c y, y' = b x + d y, y pointing down.
_ORIENTATION_OF_MATRIX = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}

_Pixel = TypeVar("_Pixel", bound=np.generic)


def check_convention(convention: str) -> str:
    """Return `convention`, or raise InputError where it is neither "exif" nor "raw"."""
    if convention not in CONVENTIONS:
        raise InputError(f"orientation {convention!r} is unknown; use {' or '.join(CONVENTIONS)}")
    return convention


def upright(image: npt.NDArray[_Pixel], orientation: int) -> npt.NDArray[_Pixel]:
    """Turn an image [H, W] or [H, W, C] upright by its EXIF orientation, 1 to 8; 5 to 8 swap height and width.

    1 returns the same array; the others return a contiguous copy.
    """
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in _MIRRORED_LEFT_RIGHT:
        image = image[:, ::-1]
    if orientation in _MIRRORED_UP_DOWN:
        image = image[::-1]
    return np.ascontiguousarray(image)


def turned_back(image: npt.NDArray[_Pixel], orientation: int) -> npt.NDArray[_Pixel]:
    """Undo `upright`."""
    return upright(image, {6: 8, 8: 6}.get(orientation, orientation))


def orientation_from_exif(exif: Any) -> int:
    """Read the orientation from a mapping of EXIF tags; 1 where it is missing or not one of the eight."""
    value = exif.get(EXIF_TAG, 1)
    return value if value in range(1, 9) else 1


def orientation_from_matrix(matrix: Sequence[int]) -> int:
    """Return the EXIF orientation that does what a display matrix (9 numbers, by rows) does.

    1 for a matrix that is no multiple of a quarter turn: such a video is shown as it is stored.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    return _ORIENTATION_OF_MATRIX.get((_sign(a), _sign(b), _sign(c), _sign(d)), 1)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
