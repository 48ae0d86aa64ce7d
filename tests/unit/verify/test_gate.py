"""The gate on planted regressions, on noise alone, and on what cannot be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.verify.baseline import Evaluated, Measured, Timed, measured_of
from edgefsa.verify.frame_details import FrameDetails
from edgefsa.verify.gate import IN_NOISE, KEPT, NOT_JUDGED, WORSE, Comparison, Gate, Limits, compare
from edgefsa.verify.report import DataFacts, EngineFacts
from tests.unit.verify.reports import CLASSES, details, facts, report, times

LIMITS = Limits(max_drop=0.5, max_slowdown=0.05)


def measured(*engines: EngineFacts, **changes: Any) -> Measured:
    return measured_of(report(*engines, **changes).as_dict(), "old.json")


def with_frames(engine: EngineFacts, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> EngineFacts:
    """The same engine with other hits."""
    assert engine.details is not None
    hits = change(engine.details.hits, engine.details.unions).clip(0, engine.details.unions)
    return dataclasses.replace(engine, details=dataclasses.replace(engine.details, hits=hits))


def with_times(engine: EngineFacts, frame_ms: list[float], yardstick_ms: list[float] | None = None) -> EngineFacts:
    kept = yardstick_ms or engine.times_ms["yardstick"]
    return dataclasses.replace(engine, times_ms={"frame_to_mask": frame_ms, "yardstick": kept})


def verdicts(gate: Gate) -> dict[str, str]:
    return {item.figure: item.verdict for item in gate.comparisons}


NET = facts("net", "int8", 10.0, 0.6)


def test_the_same_report_is_kept() -> None:
    gate = compare(measured(NET), measured(NET), LIMITS)
    assert verdicts(gate) == {"mIoU %": KEPT, "frame to mask ms": KEPT} and gate.worse == [] and gate.notes == ()
    assert all(item.loss == 0 for item in gate.comparisons)


@pytest.mark.parametrize(("points", "verdict"), [(0.3, KEPT), (0.8, WORSE), (3.0, WORSE)])
def test_a_planted_drop_is_found_on_few_frames(points: float, verdict: str) -> None:
    dropped = with_frames(NET, lambda hits, unions: hits - np.int64(unions * points / 100))
    gate = compare(measured(NET), measured(dropped), LIMITS)
    (item,) = [item for item in gate.comparisons if item.figure == "mIoU %"]
    assert item.verdict == verdict and item.loss == pytest.approx(points, abs=0.06)
    assert item.low <= item.loss <= item.high
    if verdict == WORSE:
        assert gate.worse == [item] and "0.5 allowed" in item.in_words() and "net: mIoU %" in item.in_words()


def test_a_drop_on_some_frames_and_a_gain_on_others_is_noise() -> None:
    def shaken(hits: np.ndarray, unions: np.ndarray) -> np.ndarray:
        signs = np.where(np.arange(len(hits)) % 2, 0.10, -0.115)[:, None]
        return np.int64(hits + signs * unions)

    gate = compare(measured(NET), measured(with_frames(NET, shaken)), LIMITS)
    assert gate.comparisons[0].loss > 0.5 and gate.comparisons[0].verdict == IN_NOISE and gate.worse == []


@pytest.mark.parametrize(("factor", "verdict"), [(1.03, KEPT), (1.10, WORSE), (0.5, KEPT)])
def test_a_planted_slowdown_is_found(factor: float, verdict: str) -> None:
    slower = with_times(NET, times(10.0 * factor, seed=7))
    gate = compare(measured(NET), measured(slower), LIMITS)
    assert verdicts(gate)["frame to mask ms"] == verdict
    item = gate.comparisons[1]
    assert item.loss == pytest.approx(100 * (factor - 1), abs=1.0) and item.limit == 5.0


def test_a_machine_that_is_slower_as_a_whole_is_no_slowdown() -> None:
    slow_day = with_times(NET, times(13.0, seed=7), times(3.9, seed=8))
    assert verdicts(compare(measured(NET), measured(slow_day), LIMITS))["frame to mask ms"] == KEPT
    worse = with_times(NET, times(16.0, seed=7), times(3.9, seed=8))
    assert verdicts(compare(measured(NET), measured(worse), LIMITS))["frame to mask ms"] == WORSE
    # A faster machine hides nothing and excuses nothing.
    fast_day = with_times(NET, times(10.0, seed=7), times(1.5, seed=8))
    assert compare(measured(NET), measured(fast_day), LIMITS).comparisons[1].loss == pytest.approx(0, abs=1.0)


def noisy(rng: np.random.Generator, base: FrameDetails, plain: Measured) -> Measured:
    """Chance on each frame and in each round; neighbours wake up for ten rounds at a time."""
    hits = base.hits + 0.03 * rng.standard_normal(base.hits.shape) * base.unions
    frames = Evaluated(base.names, hits.astype(np.int64).clip(0, base.unions), base.unions)
    busy = np.repeat(1 + 0.15 * (rng.random(10) < 0.3), 10)
    frame_ms = 10.0 * (1 + 0.05 * rng.standard_normal(100)) * busy
    timed = Timed(1, tuple(frame_ms), tuple(3.0 * (1 + 0.05 * rng.standard_normal(100))))
    return dataclasses.replace(plain, times={"net": timed}, accuracy={"net": frames})


def test_noise_alone_raises_no_alarm() -> None:
    alarms = beyond_limit = 0
    plain = measured(NET)
    for seed in range(1000, 1100):
        rng = np.random.default_rng(seed)
        base = details(0.6, frames=(12, 30, 101)[seed % 3], seed=seed)
        gate = compare(noisy(rng, base, plain), noisy(rng, base, plain), Limits(0.1, 0.005))
        alarms += len(gate.worse)
        beyond_limit += sum(item.verdict == IN_NOISE for item in gate.comparisons)
    assert alarms == 0
    assert beyond_limit > 30, "the noise does exceed the limits"


def test_many_engines_raise_no_more_alarms_than_one() -> None:
    one = compare(measured(NET), measured(NET), LIMITS).comparisons
    others = [dataclasses.replace(NET, name=f"net-{index}", details=details(seed=index)) for index in range(9)]
    shaken = [with_frames(other, lambda hits, unions: hits - unions // 150 * (hits % 3)) for other in [NET, *others]]
    alone = compare(measured(NET), measured(shaken[0]), LIMITS).comparisons[0]
    among = compare(measured(NET, *others), measured(*shaken), LIMITS).comparisons[0]
    assert among.loss == alone.loss and among.high - among.low > alone.high - alone.low
    assert [item.figure for item in one] == ["mIoU %", "frame to mask ms"]


def test_without_a_limit_nothing_is_judged() -> None:
    slower = with_times(NET, times(30.0))
    gate = compare(measured(NET), measured(slower), Limits())
    assert set(verdicts(gate).values()) == {NOT_JUDGED} and gate.worse == []


def test_latency_of_another_machine_is_said_and_not_compared() -> None:
    other = {**report().machine, "cpu": "Another CPU"}
    slower = with_times(NET, times(30.0))
    gate = compare(measured(NET, machine=other), measured(slower), LIMITS)
    assert list(verdicts(gate)) == ["mIoU %"]
    assert gate.notes == (
        "latency is not compared: the baseline is from another machine (cpu Another CPU there, A <fast> CPU here)",
    )
    jetson = {**report().machine, "jetson": {"power_mode": "15W"}}
    assert "power mode 15W there, none here" in compare(measured(NET, machine=jetson), measured(NET), LIMITS).notes[0]
    assert "threads 1 there, none here" in compare(measured(NET, threads=1), measured(NET), LIMITS).notes[0]
    batched = dataclasses.replace(NET, batch=4)
    assert "batch 4 there, 1 now" in compare(measured(batched), measured(NET), LIMITS).notes[0]


def test_other_frames_of_the_same_data_are_independent_samples() -> None:
    fewer = DataFacts("camvid", "val", CLASSES.names, "cd" * 32)
    shifted = with_frames(NET, lambda hits, unions: hits - unions // 120)
    paired = compare(measured(NET), measured(shifted), LIMITS)
    gate = compare(measured(NET, data=fewer), measured(shifted), LIMITS)
    assert "independent samples" in gate.notes[0]
    assert paired.comparisons[0].verdict == WORSE and gate.comparisons[0].verdict == IN_NOISE
    # Frames that one of the reports could not read are other frames too.
    lost = dataclasses.replace(NET, details=details(frames=11))
    assert "independent samples" in compare(measured(lost), measured(NET), LIMITS).notes[0]


def test_engines_that_only_one_report_has_are_named() -> None:
    other = dataclasses.replace(NET, name="other")
    gate = compare(measured(NET, other), measured(NET, dataclasses.replace(NET, name="new")), LIMITS)
    assert gate.notes == ("other is in the baseline and was not measured now", "new is not in the baseline")
    assert {item.engine for item in gate.comparisons} == {"net"}


@pytest.mark.parametrize(
    ("before", "now", "limits", "words"),
    [
        ([NET], [dataclasses.replace(NET, name="new")], Limits(), "none of these engines; it has net"),
        ([facts("net", "int8", 10.0, None)], [NET], LIMITS, "no accuracy of these engines; leave out --max-drop"),
        ([NET], [NET, NET], LIMITS, "two engines have the name net"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    before: list[EngineFacts], now: list[EngineFacts], limits: Limits, words: str
) -> None:
    from edgefsa.verify.gate import check_comparable

    with pytest.raises(InputError, match=words):
        check_comparable(measured(*before), [engine.name for engine in now], report().data, limits)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DataFacts("synthetic", "val", CLASSES.names, ""), r"was measured on synthetic \(val\), not on camvid \(val\)"),
        (DataFacts("camvid", "test", CLASSES.names, ""), r"camvid \(test\), not on camvid \(val\)"),
        (DataFacts("camvid", "val", ("sky", "car", "fence"), ""), r"other classes \(sky, car, fence\)"),
    ],
)
def test_other_data_is_refused_where_accuracy_has_a_limit_and_else_said(data: DataFacts, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare(measured(NET, data=data), measured(NET), LIMITS)
    gate = compare(measured(NET, data=data), measured(NET), Limits(max_slowdown=0.05))
    assert "accuracy is not compared" in gate.notes[0] and list(verdicts(gate)) == ["frame to mask ms"]


def test_a_verdict_needs_both_the_limit_and_certainty() -> None:
    item = Comparison("net", "mIoU %", 70.0, 69.0, loss=1.0, low=0.2, high=1.8, unit="", limit=0.5)
    changes = {"verdict": WORSE, "low": IN_NOISE, "limit": KEPT}
    assert item.verdict == changes["verdict"]
    assert dataclasses.replace(item, low=-0.1).verdict == changes["low"]
    assert dataclasses.replace(item, limit=1.5).verdict == changes["limit"]
