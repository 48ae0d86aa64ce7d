"""Cosine and Fourier bases of the frequency layers, in float64 NumPy so that one rounding is all they get."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError

Array = npt.NDArray[np.float64]
Basis = Literal["orthonormal", "official"]
Band = tuple[int, int, int, int]


def band_from(k: int | tuple[int, ...] | list[int]) -> Band:
    """Give (row from, row to, column from, column to) of the kept DCT frequencies.

    `k` is one number (the lowest k x k) or those four; an end of -1 keeps all frequencies up to the last.
    """
    band = (0, k, 0, k) if isinstance(k, int) else tuple(k)
    if len(band) != 4:
        raise InputError(f"k={k} is neither one number nor four (row from, row to, column from, column to)")
    for start, stop in (band[:2], band[2:]):
        if start < 0 or (stop != -1 and stop <= start):
            raise InputError(f"k={k} keeps no frequency; each `from` is at least 0 and less than its `to`")
    return band[0], band[1], band[2], band[3]


@lru_cache(maxsize=64)
def dct_bases(height: int, width: int, band: Band, basis: Basis) -> tuple[Array, Array]:
    """Give the rows of the DCT-II of both sides: float64 [kh, height] and [kw, width].

    Row u of an orthonormal basis of n samples is a_u cos(pi u (2 i + 1) / (2 n)) with a_0 = sqrt(1 / n) and
    a_u = sqrt(2 / n). `basis="official"` repeats FsaNet's released code (getP in fsa_head1d.py), whose column
    basis has a_u = sqrt(2 / height) instead, so that it is orthogonal but not orthonormal unless height = width.
    A band that ends above the last frequency is cut there.
    """
    row_from, row_to, column_from, column_to = band
    amplitude_width = height if basis == "official" else width
    rows = _dct_rows(height, row_from, row_to, height)
    columns = _dct_rows(width, column_from, column_to, amplitude_width)
    return rows, columns


def _dct_rows(size: int, start: int, stop: int, amplitude_size: int) -> Array:
    stop = size if stop == -1 else min(stop, size)
    if start >= stop:
        raise InputError(f"a feature side of {size} has no DCT frequency {start}; lower k or enlarge the input")
    frequency = np.arange(start, stop)[:, None]
    sample = np.arange(size)[None, :]
    rows = np.sqrt(2 / amplitude_size) * np.cos(np.pi * frequency * (2 * sample + 1) / (2 * size))
    rows[frequency[:, 0] == 0] = 1 / np.sqrt(size)
    return np.asarray(rows, np.float64)
