"""Histograms of magnitudes that grow as values come, and the ranges that four methods read from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError

BINS = 2048
LEVELS = 128  # magnitudes that a symmetric INT8 tells apart: 0 to 127
PERCENTILE = 99.99

Floats = npt.NDArray[np.float64]


class Histogram:
    """Counts of |x| in equal bins from 0; the range doubles, by joining bins in pairs, until a value fits.

    Memory stays at BINS counts however much is added, and the result does not depend on the frames' order
    except through where the first range lay.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.largest = 0.0

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """Count the magnitudes of `values`, any shape."""
        magnitudes = np.abs(values.ravel())
        largest = float(magnitudes.max(initial=0.0))
        self.largest = max(self.largest, largest)
        if self.limit == 0.0:
            if largest == 0.0:
                self.counts[0] += magnitudes.size
                return
            self.limit = largest
        while self.limit < largest:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([pairs, np.zeros(BINS - len(pairs), np.int64)])
            self.limit *= 2
        bins = np.minimum((magnitudes * (BINS / self.limit)).astype(np.int64), BINS - 1)
        self.counts += np.bincount(bins, minlength=BINS)

    def share_above(self, amax: float) -> float:
        """Return the share of values, 0 to 1, whose magnitude exceeds `amax`, interpolated within its bin."""
        total = int(self.counts.sum())
        if total == 0 or amax >= self.largest:
            return 0.0
        place = amax * (BINS / self.limit)
        index = int(place)
        above = float(self.counts[index + 1 :].sum()) + float(self.counts[index]) * (index + 1 - place)
        return above / total

    @property
    def edges(self) -> Floats:
        """The upper edge of each bin."""
        return self.limit * np.arange(1, BINS + 1, dtype=np.float64) / BINS


def minmax(histogram: Histogram) -> float:
    """Return the largest magnitude seen."""
    return histogram.largest


def percentile(histogram: Histogram, percent: float = PERCENTILE) -> float:
    """Return the magnitude that `percent` of the values stay below, interpolated within its bin."""
    reached = np.cumsum(histogram.counts)
    wanted = reached[-1] * percent / 100
    index = int(np.searchsorted(reached, wanted))
    before = reached[index - 1] if index else 0
    share = (wanted - before) / max(int(histogram.counts[index]), 1)
    return min(histogram.limit * (index + float(share)) / BINS, histogram.largest)


def entropy(histogram: Histogram) -> float:
    """Return the range whose quantised distribution is nearest to the clipped one by Kullback-Leibler divergence.

    The method of S. Migacz, "8-bit Inference with TensorRT" (GTC 2017). The first bin counts as much as its
    neighbour: the zeros behind a ReLU are exact in INT8 at any range and would drown all else.
    """
    counts = histogram.counts.astype(np.float64)
    counts[0] = counts[1]
    used = int(np.flatnonzero(counts)[-1]) + 1
    candidates = range(min(LEVELS, used), used + 1, 8)
    divergences = [_divergence(counts, stop) for stop in candidates]
    best = candidates[int(np.argmin(divergences))]
    return min(histogram.limit * best / BINS, histogram.largest)


def _divergence(counts: Floats, stop: int) -> float:
    """Return KL(p || q): p the first `stop` bins with the rest clipped into the last, q the same in LEVELS steps."""
    clipped = counts[:stop].copy()
    clipped[-1] += counts[stop:].sum()
    group = np.arange(stop) * LEVELS // stop
    totals = np.bincount(group, counts[:stop], LEVELS)
    filled = np.bincount(group, counts[:stop] > 0, LEVELS)
    spread = np.where(counts[:stop] > 0, (totals / np.maximum(filled, 1))[group], 0)
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1.0)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))))


def mse(histogram: Histogram) -> float:
    """Return the range with the least squared error of rounding and clipping to symmetric INT8."""
    centres = histogram.edges - histogram.limit / BINS / 2
    candidates = histogram.largest * np.linspace(0.02, 1, 197)
    errors = []
    for amax in candidates:
        step = amax / (LEVELS - 1)
        restored = step * np.clip(np.rint(centres / step), 0, LEVELS - 1)
        errors.append(float(np.sum(histogram.counts * np.square(restored - centres))))
    return float(candidates[int(np.argmin(errors))])


METHODS: dict[str, Callable[[Histogram], float]] = {
    "minmax": minmax,
    "percentile": percentile,
    "percentile-99.9": partial(percentile, percent=99.9),
    "percentile-99.999": partial(percentile, percent=99.999),
    "entropy": entropy,
    "mse": mse,
}

# Of all methods the one that costs the shipped models least where it costs most (docs/decisions/0037).
DEFAULT_METHOD = "mse"


def amax_of(histogram: Histogram, method: str) -> float:
    """Return the range that `method` reads from a histogram; 1 for a tensor that was zero throughout.

    Such a tensor needs a scale all the same, and its zeros are exact at any.
    """
    return METHODS[method](histogram) if histogram.largest > 0 else 1.0


def check_method(method: str) -> None:
    """Raise InputError for a calibration method that there is not."""
    if method not in METHODS:
        raise InputError(f"calibration method {method!r} is unknown; choose one of {', '.join(METHODS)}")
