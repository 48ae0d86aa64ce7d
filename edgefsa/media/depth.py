"""Pictures of more than 8 bits a value: how many of the 16 bits are used, and the way to 8.

Cameras of 10, 12 or 14 bits store their values in 16-bit files without saying so: read as 16 bits, the brightest
pixel would be 3 of 255.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError

BITS = (8, 10, 12, 14, 16)


def check_bits(bits: int | None) -> int | None:
    """Return `bits`, or raise InputError where it is neither None nor 8 to 16."""
    if bits is not None and not 8 <= bits <= 16:
        raise InputError(f"{bits} bits a value cannot be read; give 8 to 16, for instance 12")
    return bits


def bits_for(largest: int) -> int:
    """Return the fewest bits of 8, 10, 12, 14 and 16 that hold the value `largest` (0 to 65535)."""
    return next(bits for bits in BITS if largest < 1 << bits)


def eight_bits(values: npt.NDArray[np.uint16], bits: int) -> npt.NDArray[np.uint8]:
    """Scale uint16 values of 0 to 2^bits - 1 to 0 to 255, rounded; larger ones become 255."""
    return np.take(_table(bits), values)


@functools.cache
def _table(bits: int) -> npt.NDArray[np.uint8]:
    largest = (1 << bits) - 1
    return np.rint(np.minimum(np.arange(1 << 16), largest) * (255.0 / largest)).astype(np.uint8)
