"""Cosine and Fourier bases of the frequency layers, in float64 NumPy so that one rounding is all they get."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError
from edgefsa.models.options import check_whole

Array = npt.NDArray[np.float64]
Basis = Literal["orthonormal", "official"]
Band = tuple[int, int, int, int]


def band_from(k: int | tuple[int, ...] | list[int]) -> Band:
    """Return (row from, row to, column from, column to) of the kept DCT frequencies.

    `k` is one number (the lowest k x k) or those four; an end of -1 keeps all frequencies up to the last.
    Raises InputError where it is neither, or keeps no frequency.
    """
    band = tuple(k) if isinstance(k, (tuple, list)) else (0, k, 0, k)
    if len(band) != 4:
        raise InputError(f"k={k} is neither one number nor four; give (row from, row to, column from, column to)")
    for number in band:
        check_whole("k", number, -1)
    for start, stop in (band[:2], band[2:]):
        if start < 0 or (stop != -1 and stop <= start):
            raise InputError(f"k={k} keeps no frequency; each `from` is at least 0 and less than its `to`")
    return band[0], band[1], band[2], band[3]


def shortest_k(k: int | tuple[int, ...] | list[int]) -> int | Band:
    """Return the one spelling of `k` that models record: n where the lowest n x n are kept, else four numbers."""
    band = band_from(k)
    return band[1] if band == (0, band[1], 0, band[1]) else band


@lru_cache(maxsize=64)
def dct_bases(height: int, width: int, band: Band, basis: Basis) -> tuple[Array, Array]:
    """Return the rows of the DCT-II of both sides: float64 [kh, height] and [kw, width].

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


@dataclass(frozen=True)
class DiscBases:
    """Real Fourier bases of the few frequencies that a spectral mask treats apart, and how it couples them.

    basis_h float64 [H, mh] and basis_w [W, mw] have orthonormal columns. `inside` and `edge` [T, T], T = mh mw in
    row-major order, are the projections onto the modes inside the circle and exactly on it.
    """

    basis_h: Array
    basis_w: Array
    inside: Array
    edge: Array


@lru_cache(maxsize=64)
def disc_bases(height: int, width: int, radius: int, base_size: int | None = None) -> DiscBases:
    """Return the bases of SPANet's circular mask (_CircleFilter in spanet.py) for a feature of height x width.

    The circle of `radius` lies around the DC coefficient of the centred spectrum. With `base_size` it is the
    mask of base_size x base_size, padded or cropped as in SPANet's detection code, whose centre is one off the
    DC coefficient where the difference is odd. What such a mask makes imaginary is dropped, as there.
    """
    row = _CircleAxis.of(height, radius, base_size)
    column = _CircleAxis.of(width, radius, base_size)
    distance = row.offset[:, None] ** 2 + column.offset[None, :] ** 2
    kept = row.covered[:, None] & column.covered[None, :]
    basis_h, basis_w = _real_fourier(height, row.frequency), _real_fourier(width, column.frequency)
    # Each complex mode seen from the real basis; the real part of U^H m U is the mask's real operator there.
    modes_h = _complex_fourier(height, row.frequency).conj().T @ basis_h
    modes_w = _complex_fourier(width, column.frequency).conj().T @ basis_w
    modes = np.kron(modes_h, modes_w)

    def coupling(mask: npt.NDArray[np.bool_]) -> Array:
        return np.asarray((modes.conj().T @ (mask.flatten()[:, None] * modes)).real)

    return DiscBases(
        basis_h, basis_w, coupling(kept & (distance < radius**2)), coupling(kept & (distance == radius**2))
    )


@dataclass(frozen=True)
class _CircleAxis:
    """The signed frequencies of one axis that the circle reaches, with their negatives.

    `offset` is the distance of each from the circle's centre, `covered` whether the base mask holds it.
    """

    frequency: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    covered: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, size: int, radius: int, base_size: int | None) -> _CircleAxis:
        base = size if base_size is None else base_size
        difference = size - base
        before = difference // 2 + difference % 2
        position = np.arange(size)
        frequency = position - size // 2
        offset = position - (before + base // 2)
        covered = (position >= before) & (position < before + base)
        reached = np.abs(offset) <= radius
        reached |= np.isin(np.abs(frequency), np.abs(frequency[reached]))
        return cls(frequency[reached], offset[reached], covered[reached])


def _complex_fourier(size: int, frequency: npt.NDArray[np.int64]) -> npt.NDArray[np.complex128]:
    phase = 2j * np.pi * np.arange(size)[:, None] * frequency[None, :] / size
    return np.asarray(np.exp(phase) / np.sqrt(size))


def _real_fourier(size: int, frequency: npt.NDArray[np.int64]) -> Array:
    columns = []
    for magnitude in np.unique(np.abs(frequency)):
        phase = 2 * np.pi * magnitude * np.arange(size) / size
        if magnitude == 0 or 2 * magnitude == size:
            columns.append(np.cos(phase) / np.sqrt(size))
        else:
            columns += [np.cos(phase) * np.sqrt(2 / size), np.sin(phase) * np.sqrt(2 / size)]
    return np.stack(columns, 1)
