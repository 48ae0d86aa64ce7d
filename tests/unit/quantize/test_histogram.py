from __future__ import annotations

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.quantize.histogram import (
    BINS,
    LEVELS,
    METHODS,
    Histogram,
    amax_of,
    check_method,
    entropy,
    minmax,
    mse,
    percentile,
)


def histogram_of(*parts: np.ndarray) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part.astype(np.float32))
    return histogram


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).laplace(0, 1, 200_000)


def test_every_value_is_counted_once_and_memory_does_not_grow(values: np.ndarray):
    histogram = histogram_of(values[:1000] * 0.01, values, values * 50)
    assert histogram.counts.shape == (BINS,) and histogram.counts.sum() == 1000 + 2 * len(values)
    assert histogram.largest == pytest.approx(np.abs(values).max() * 50)
    assert histogram.largest <= histogram.limit < 2 * histogram.largest


def test_doubling_joins_bins_exactly(values: np.ndarray):
    small, large = values[np.abs(values) < 1], np.array([3.9])
    grown = histogram_of(np.array([1.0]), small, large)
    direct = histogram_of(np.array([4.0]), small)
    assert grown.limit == 4.0
    np.testing.assert_array_equal(np.cumsum(grown.counts)[: BINS // 4 - 1], np.cumsum(direct.counts)[: BINS // 4 - 1])


@pytest.mark.parametrize("percent", [50, 90, 99, 99.99])
def test_percentile_is_that_of_the_values(values: np.ndarray, percent: float):
    parts = np.array_split(values, 7)
    expected = np.percentile(np.abs(values), percent)
    histogram = histogram_of(*parts)
    assert percentile(histogram, percent) == pytest.approx(expected, abs=1.5 * histogram.limit / BINS)


def test_minmax_is_exact(values: np.ndarray):
    assert minmax(histogram_of(*np.array_split(values, 3))) == np.abs(values).astype(np.float32).max()


def squared_error(values: np.ndarray, amax: float) -> float:
    step = amax / 127
    return float(np.square(step * np.clip(np.rint(values / step), -127, 127) - values).mean())


def test_mse_is_as_good_as_the_best_of_many_ranges(values: np.ndarray):
    chosen = mse(histogram_of(values))
    best = min(squared_error(values, amax) for amax in np.linspace(1, np.abs(values).max(), 300))
    assert squared_error(values, chosen) < 1.03 * best
    assert chosen < 0.9 * np.abs(values).max()


def test_entropy_clips_an_outlier_and_keeps_the_bulk():
    bulk = np.random.default_rng(1).uniform(-1, 1, 100_000)
    assert 0.95 < entropy(histogram_of(bulk, np.array([8.0]))) < 1.2
    assert entropy(histogram_of(bulk)) == pytest.approx(1, abs=0.05)


def test_entropy_is_not_drowned_by_the_zeros_of_a_relu(values: np.ndarray):
    positive = np.abs(values)
    alone, with_zeros = histogram_of(positive), histogram_of(positive, np.zeros(10 * len(values)))
    assert entropy(with_zeros) == pytest.approx(entropy(alone), rel=0.1)


@pytest.mark.parametrize("method", list(METHODS))
def test_methods_give_a_range_within_what_was_seen(method: str, values: np.ndarray):
    amax = METHODS[method](histogram_of(values))
    assert 1 < amax <= np.abs(values).max() * (1 + 1e-6)
    assert METHODS[method](histogram_of(np.array([0.25, -0.25]))) == pytest.approx(0.25, rel=1 / LEVELS)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_tensor_of_zeros_still_gets_a_range(method: str):
    assert amax_of(histogram_of(np.zeros(10)), method) == 1
    assert amax_of(histogram_of(np.zeros(10), np.full(10, 3.0)), method) == pytest.approx(3, rel=1 / LEVELS)


def test_unknown_methods_are_refused():
    with pytest.raises(InputError, match=r"'median' is unknown; choose one of minmax, percentile, .*, entropy, mse"):
        check_method("median")
