"""How sure a figure is: bootstrap over frames for accuracy, over blocks of rounds for latency. All draws are seeded.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, percentile intervals. Samples that are drawn with one
seed from as many items hold the same items, so that the difference of two results is that of a paired comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 10_000
# Rounds that follow each other share what disturbed them: they are drawn together.
BLOCK_ROUNDS = 10
_AT_ONCE = 2**22  # drawn numbers that are held in memory


def resampled_miou(hits: Counts, unions: Counts, *, resamples: int = RESAMPLES, seed: int = 0) -> Values:
    """Return the mean IoU (0 to 1) of `resamples` samples of the frames, drawn with replacement; float64.

    `hits` and `unions` are pixels by frame and class, int64 [F, K]. In each sample they are summed over its frames
    before the division, and classes without a pixel in it are left out.
    """
    sums = [(weights @ hits, weights @ unions) for weights in _frame_weights(len(hits), resamples, seed)]
    hit, union = (np.concatenate(parts) for parts in zip(*sums, strict=True))
    present = union > 0
    ious = np.divide(hit, union, out=np.zeros_like(hit), where=present)
    return np.asarray(ious.sum(axis=1) / np.maximum(present.sum(axis=1), 1), np.float64)


def _frame_weights(frames: int, resamples: int, seed: int) -> Iterator[Values]:
    """Yield how often each sample holds each frame, float64 [N, F], in parts that fit the memory."""
    random = np.random.default_rng(seed)
    per_part = max(1, _AT_ONCE // frames)
    for first in range(0, resamples, per_part):
        size = min(per_part, resamples - first)
        yield random.multinomial(frames, np.full(frames, 1.0 / frames), size).astype(np.float64)


def resampled_medians(
    series: Sequence[Sequence[float]], *, resamples: int = RESAMPLES, seed: int = 0, block: int = BLOCK_ROUNDS
) -> Values:
    """Return the medians of series of as many rounds, for samples of blocks of rounds; float64 [len(series), N].

    All series are sampled at the same rounds, as what ran in turns belongs together.
    """
    values = np.asarray(series, np.float64)
    rounds = values.shape[1]
    block = rounds // block_count(rounds, block)
    starts = np.random.default_rng(seed).integers(0, rounds - block + 1, (resamples, -(-rounds // block)))
    drawn = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :rounds]
    return np.stack([np.median(row[drawn], axis=1) for row in values])


def block_count(rounds: int, block: int = BLOCK_ROUNDS) -> int:
    """Return how many blocks of `block` rounds there are, of fewer rounds where there would be less than four."""
    return max(rounds // block, min(rounds, 4))


def interval(values: Values) -> Interval:
    """Return the limits between which the middle 95 % of resampled values lies."""
    low, high = np.percentile(values, [50.0 * (1.0 - CONFIDENCE), 50.0 * (1.0 + CONFIDENCE)])
    return float(low), float(high)


def interval_of_few(values: Values, point: float, items: int, confidence: float) -> Interval:
    """Return an interval of any confidence (0 to 1) around `point`, wide enough for few `items` that were resampled.

    The limits of `interval` are moved away from the point as Student's t of `items` - 1 degrees of freedom exceeds the
    normal distribution; with one item nothing is certain, not even the direction.
    """
    if items < 2:
        return min(point, 0.0), max(point, 0.0)
    reach = _student(confidence, items - 1) * math.sqrt(items / (items - 1))
    factor = reach / NormalDist().inv_cdf(0.5 * (1.0 + CONFIDENCE))
    low, high = interval(values)
    return point - factor * max(point - low, 0.0), point + factor * max(high - point, 0.0)


def _student(confidence: float, freedom: int) -> float:
    """Return how far from 0 the middle `confidence` of Student's t reaches (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(0.5 * (1.0 + confidence))
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
