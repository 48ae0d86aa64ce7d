"""Figures of a run against NumPy's on the same times."""

from __future__ import annotations

import numpy as np
import pytest

from edgefsa.segment.statistics import STAGES, WARMUP_FRAMES, Statistics, Times, TimesSummary


def times_of(values: np.ndarray) -> Times:
    times = Times()
    for value in values:
        times.add(float(value))
    return times


@pytest.mark.parametrize("scale", [0.01, 3.0, 400.0])
def test_percentiles_are_numpys_to_one_percent(scale: float) -> None:
    values = np.random.default_rng(3).lognormal(0.0, 0.7, 20_000) * scale
    summary = times_of(np.concatenate((np.full(WARMUP_FRAMES, 1e5), values))).summary()
    assert summary.count == 20_000, "the warm-up is left out"
    expected = np.percentile(values, [50, 95, 99], method="inverted_cdf")
    assert np.allclose([summary.median, summary.p95, summary.p99], expected, rtol=0.01)


def test_a_run_as_short_as_its_warm_up_has_figures_too() -> None:
    short = times_of(np.array([7.0, 8.0, 9.0]))
    assert short.summary().median == pytest.approx(8.0, rel=0.01)
    assert short.total_ms == pytest.approx(24.0)
    assert Times().summary() == TimesSummary()


def test_the_histogram_counts_what_numpy_counts() -> None:
    values = np.random.default_rng(4).uniform(0.0, 60.0, 5000)
    edges = [5.0, 10.0, 20.0, 50.0]
    times = times_of(np.concatenate((np.ones(WARMUP_FRAMES), values)))
    expected = np.histogram(values, [0.0, *edges, np.inf])[0]
    found = times.histogram(edges)
    assert times.total_ms == pytest.approx(values.sum())
    assert sum(found) == 5000 and np.abs(np.array(found) - expected).max() <= 0.02 * 5000


def test_extreme_times_are_counted() -> None:
    times = times_of(np.array([1.0] * WARMUP_FRAMES + [0.0, -1e-9, 1e12]))
    assert times.summary().count == 3


def test_counts_and_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = 100.0
    monkeypatch.setattr("edgefsa.segment.statistics.time.monotonic", lambda: clock_s)
    statistics = Statistics()
    for _ in range(600):  # 12 s at 50 a second
        clock_s += 0.02
        statistics.count_captured(2)
        statistics.count_dropped()
        statistics.add_frame({"engine": 4.0, "frame_to_mask": 5.0})
    statistics.count_captured(-3)
    statistics.count_reconnect()
    statistics.count_skipped("window", 2)
    statistics.add_write("window", 1.5)
    figures = statistics.snapshot()
    assert (figures.captured, figures.frames, figures.dropped, figures.reconnects) == (1197, 600, 600, 1)
    assert figures.fps == pytest.approx(50, rel=0.02) and statistics.mean_fps() == pytest.approx(50)
    assert figures.seconds == pytest.approx(12)
    assert set(figures.stages) == set(STAGES)
    assert figures.stages["engine"].median == pytest.approx(4.0, rel=0.01)
    assert figures.skipped == {"window": 2} and figures.sinks["window"].count == 1
    clock_s += 60
    assert statistics.snapshot().fps == 0.0, "nothing came for a minute"
