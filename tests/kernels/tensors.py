"""Tensors as kernels take them: the numbers of types.h, and the two formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FLOAT, HALF, INT8 = 0, 1, 2  # DataType
LINEAR, HWC8 = 0, 1  # Format


def to_format(x: Array, form: int) -> Array:
    """Lay [N, C, H, W] out in a format; what pads the channels to a multiple of 8 is NaN, which must not matter."""
    if form == LINEAR:
        return np.ascontiguousarray(x)
    batch, channels, height, width = x.shape
    stored = np.full((batch, height, width, -(-channels // 8) * 8), np.nan, x.dtype)
    stored[..., :channels] = x.transpose(0, 2, 3, 1)
    return stored


def from_format(stored: Array, form: int, channels: int) -> Array:
    """Return [N, C, H, W] of a tensor in a format, after a check that its padding is zero."""
    if form == LINEAR:
        return stored
    np.testing.assert_array_equal(stored[..., channels:], 0)
    return np.ascontiguousarray(stored[..., :channels].transpose(0, 3, 1, 2))


def relative_l2(got: Array, expected: Array) -> float:
    """The L2 norm of the difference over that of what is expected."""
    difference = got.astype(np.float64) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(expected))
