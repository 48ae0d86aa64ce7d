"""Intervals against an independent bootstrap in loops, and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from edgefsa.verify import bootstrap
from edgefsa.verify.bootstrap import _student, interval, interval_of_few, resampled_medians, resampled_miou


def frames(count: int, classes: int, seed: int, quality: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Pixels by frame and class, in which classes are missing from many frames."""
    random = np.random.default_rng(seed)
    unions = random.integers(1, 2000, (count, classes)) * (random.random((count, classes)) < 0.6)
    return (unions * np.clip(quality + 0.1 * random.standard_normal(unions.shape), 0, 1)).astype(np.int64), unions


def plain_bootstrap(hits: np.ndarray, unions: np.ndarray, samples: int, seed: int) -> list[float]:
    random, found = np.random.default_rng(seed), []
    for _ in range(samples):
        drawn = [int(random.integers(len(hits))) for _ in range(len(hits))]
        ious = []
        for index in range(hits.shape[1]):
            union = sum(int(unions[frame, index]) for frame in drawn)
            if union:
                ious.append(sum(int(hits[frame, index]) for frame in drawn) / union)
        found.append(sum(ious) / len(ious))
    return found


@pytest.mark.parametrize(("count", "classes"), [(12, 3), (40, 5)])
def test_intervals_equal_those_of_a_plain_bootstrap(count: int, classes: int) -> None:
    hits, unions = frames(count, classes, seed=1)
    low, high = interval(resampled_miou(hits, unions))
    plain = sorted(plain_bootstrap(hits, unions, 3000, seed=99))
    width = high - low
    assert low == pytest.approx(plain[int(0.025 * 3000)], abs=0.06 * width)
    assert high == pytest.approx(plain[int(0.975 * 3000)], abs=0.06 * width)
    hit, union = hits.sum(axis=0), unions.sum(axis=0)
    assert low < float(np.mean(hit / union)) < high


def test_differences_are_paired() -> None:
    hits, unions = frames(30, 4, seed=3)
    worse = np.maximum(hits - unions // 100, 0)
    lone = resampled_miou(hits, unions) - resampled_miou(worse, unions, seed=1)
    paired = resampled_miou(hits, unions) - resampled_miou(worse, unions)
    assert np.ptp(interval(paired)) < 0.2 * np.ptp(interval(lone)), "what both engines find hard cancels"
    assert interval(paired)[0] > 0 > interval(lone)[0]
    assert np.all(resampled_miou(hits, unions) == resampled_miou(hits, unions)), "seeded"


def test_memory_for_many_frames_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    hits, unions = frames(50, 3, seed=5)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 1000)
    parts = list(bootstrap._frame_weights(50, 130, seed=0))
    assert max(part.size for part in parts) <= 1000 and sum(len(part) for part in parts) == 130
    assert all((part.sum(axis=1) == 50).all() for part in parts)
    assert resampled_miou(hits, unions, resamples=130).shape == (130,)


def test_an_interval_of_medians_holds_the_true_median_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        times = np.random.default_rng(seed).gamma(3.0, 2.0, 100)
        low, high = interval(resampled_medians([times], resamples=1000, seed=seed, block=1)[0])
        covered += low <= 5.3481 <= high  # the median of this distribution
    assert covered >= 0.90 * 200


def test_blocks_widen_the_interval_where_rounds_hang_together() -> None:
    slow_waves = 10 + np.repeat(np.random.default_rng(2).standard_normal(10), 10)
    alone = np.ptp(interval(resampled_medians([slow_waves], block=1)[0]))
    blocks = np.ptp(interval(resampled_medians([slow_waves], block=10)[0]))
    assert blocks > 1.5 * alone


def test_series_are_drawn_at_the_same_rounds() -> None:
    times = np.random.default_rng(4).random(60)
    one, two = resampled_medians([times, 3 * times], resamples=50)
    assert two == pytest.approx(3 * one)
    assert resampled_medians([[5.0]], resamples=3).tolist() == [[5.0] * 3]


def test_few_items_widen_an_interval_as_students_t_does() -> None:
    # Quantiles of t from the tables of textbooks.
    for confidence, freedom, quantile in ((0.95, 9, 2.262), (0.99, 11, 3.106), (0.999, 9, 4.781), (0.999, 100, 3.390)):
        assert _student(confidence, freedom) == pytest.approx(quantile, rel=0.01)
    values = np.linspace(-1.96, 1.96, 1000) / 0.95
    wide, narrow = (np.ptp(interval_of_few(values, 0.0, items, 0.95)) for items in (5, 1000))
    assert wide > 1.4 * narrow and narrow == pytest.approx(2 * 1.96, rel=0.01)
    assert interval_of_few(np.array([2.0]), 2.0, 1, 0.95) == (0.0, 2.0), "one item says nothing of the direction"
