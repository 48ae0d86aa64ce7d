"""A report against an earlier one: what got worse by more than is allowed, and by more than noise makes of it.

A figure is worse where its loss exceeds the limit and, beside that, the interval of the loss holds no loss of zero. The
interval of accuracy is bootstrapped over frames, in pairs where both reports saw the same frames; that of latency over
blocks of rounds. All comparisons together raise a false alarm once in a thousand gates at most, as far as rounds and
frames represent the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.errors import InputError
from edgefsa.verify.baseline import Evaluated, Measured, Timed, machine_difference, measured_of, read_baseline
from edgefsa.verify.bootstrap import Values, block_count, interval_of_few, resampled_medians, resampled_miou
from edgefsa.verify.report import DataFacts, Report

VERDICTS = WORSE, IN_NOISE, KEPT, NOT_JUDGED = "worse", "within noise", "kept", "not judged"
_MIOU, _LATENCY = "mIoU %", "frame to mask ms"
_FALSE_ALARMS = 0.001
_RESAMPLES = 2_000


@dataclass(frozen=True)
class Limits:
    """How much worse an engine may get: mIoU in points of a hundred, latency as a share (0.05 is 5 %); None: any."""

    max_drop: float | None = None
    max_slowdown: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One figure of one engine, before and now. `loss` is positive where it got worse: points of mIoU, % of latency.

    `low` and `high` are the interval of the loss, `limit` what is allowed.
    """

    engine: str
    figure: str
    before: float
    now: float
    loss: float
    low: float
    high: float
    unit: str
    limit: float | None

    @property
    def verdict(self) -> str:
        """One of WORSE, IN_NOISE (beyond the limit, but no more than noise), KEPT and NOT_JUDGED."""
        if self.limit is None:
            return NOT_JUDGED
        if self.loss <= self.limit:
            return KEPT
        return WORSE if self.low > 0 else IN_NOISE

    def in_words(self) -> str:
        """Say it in one line."""
        return (
            f"{self.engine}: {self.figure} {self.before:.2f} before, {self.now:.2f} now, worse by {self.loss:.2f}"
            f"{self.unit} ({self.low:+.2f} to {self.high:+.2f}), {self.limit:g}{self.unit} allowed"
        )


@dataclass(frozen=True)
class Gate:
    """All comparisons with a baseline, which `baseline` names; `notes` say what could not be compared."""

    baseline: str
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> list[Comparison]:
        """The figures that got worse."""
        return [item for item in self.comparisons if item.verdict == WORSE]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        comparisons = [{**asdict(item), "verdict": item.verdict} for item in self.comparisons]
        return {"baseline": self.baseline, "comparisons": comparisons, "notes": list(self.notes)}


def prepared_baseline(
    path: str | Path | None, engines: Sequence[str], data: DataFacts | None, limits: Limits
) -> Measured | None:
    """Read a baseline and check that it can be compared, before measuring; None without `path`.

    Raises InputError also for limits that have no baseline to hold to.
    """
    if path is None:
        if limits != Limits():
            raise InputError("--max-drop and --max-slowdown compare with a baseline; add --baseline report.json")
        return None
    baseline = read_baseline(path)
    check_comparable(baseline, engines, data, limits)
    return baseline


def check_comparable(baseline: Measured, engines: Sequence[str], data: DataFacts | None, limits: Limits) -> None:
    """Raise InputError where a limit could not be judged: no common engine, other data, or no accuracy.

    To be called before measuring; `engines` are the names of those that will be measured, on `data`.
    """
    if repeated := next((name for name in engines if list(engines).count(name) > 1), None):
        raise InputError(f"two engines have the name {repeated}, by which a baseline knows them; rename one directory")
    if not set(engines) & set(baseline.times):
        raise InputError(
            f"the baseline {baseline.place} has none of these engines; it has {', '.join(baseline.times) or 'none'}"
        )
    if limits.max_drop is None:
        return
    if not set(engines) & set(baseline.accuracy):
        raise InputError(f"the baseline {baseline.place} has no accuracy of these engines; leave out --max-drop")
    if why := _other_data(baseline.data, data):
        raise InputError(f"the baseline {baseline.place} {why}; use the same data, or leave out --max-drop")


def judged(report: Report, baseline: Measured, limits: Limits) -> Report:
    """Return a report with its comparison with a baseline; raises what `check_comparable` raises."""
    return replace(report, gate=compare(baseline, measured_of(report.as_dict(), "of this run"), limits))


def compare(baseline: Measured, now: Measured, limits: Limits) -> Gate:
    """Compare the engines that both have, by name. Raises what `check_comparable` raises."""
    check_comparable(baseline, list(now.times), now.data, limits)
    common = [name for name in now.times if name in baseline.times]
    notes = [f"{name} is in the baseline and was not measured now" for name in baseline.times if name not in common]
    notes += [f"{name} is not in the baseline" for name in now.times if name not in common]
    confidence = 1.0 - _FALSE_ALARMS / len(common)
    comparisons = []
    if why := _other_data(baseline.data, now.data):
        notes.append(f"accuracy is not compared: the baseline {why}")
    else:
        measured = [name for name in common if name in baseline.accuracy and name in now.accuracy]
        paired = all(_same_frames(baseline, now, name) for name in measured)
        if not paired:
            notes.append("the baseline saw other frames of this data: accuracy is compared as of independent samples")
        for name in measured:
            found = _accuracy(baseline.accuracy[name], now.accuracy[name], paired, confidence)
            comparisons.append(Comparison(name, _MIOU, *found, "", limits.max_drop))
    if difference := machine_difference(baseline.machine, now.machine):
        notes.append(f"latency is not compared: the baseline is from another machine ({difference})")
    else:
        limit = None if limits.max_slowdown is None else 100.0 * limits.max_slowdown
        for name in common:
            before, after = baseline.times[name], now.times[name]
            if before.batch != after.batch:
                notes.append(f"latency of {name} is not compared: batch {before.batch} there, {after.batch} now")
                continue
            comparisons.append(Comparison(name, _LATENCY, *_latency(before, after, confidence), " %", limit))
    return Gate(f"{baseline.place} of {baseline.date}", tuple(comparisons), tuple(notes))


def _other_data(before: DataFacts | None, now: DataFacts | None) -> str | None:
    if before is None or now is None:
        return None if before is now else "has accuracy and this report has not" if before else "has no accuracy"
    if before.classes != now.classes:
        return f"has other classes ({', '.join(before.classes)})"
    if (before.kind, before.split) != (now.kind, now.split):
        return f"was measured on {before}, not on {now}"
    return None


def _same_frames(before: Measured, now: Measured, name: str) -> bool:
    assert before.data is not None and now.data is not None
    same_files = before.data.fingerprint == now.data.fingerprint
    return same_files and before.accuracy[name].frames == now.accuracy[name].frames


def _accuracy(
    before: Evaluated, now: Evaluated, paired: bool, confidence: float
) -> tuple[float, float, float, float, float]:
    """Return mIoU before and now, the loss, and its interval, all in points of a hundred."""
    drawn = [
        100.0 * resampled_miou(each.hits, each.unions, resamples=_RESAMPLES, seed=0 if paired else seed)
        for seed, each in enumerate((before, now))
    ]
    first, second = (_miou_percent(each) for each in (before, now))
    items, loss = min(len(before.frames), len(now.frames)), first - second
    return first, second, loss, *interval_of_few(drawn[0] - drawn[1], loss, items, confidence)


def _miou_percent(found: Evaluated) -> float:
    hits, unions = found.hits.sum(axis=0), found.unions.sum(axis=0)
    return 100.0 * float(np.mean(hits[unions > 0] / unions[unions > 0]))


def _latency(before: Timed, now: Timed, confidence: float) -> tuple[float, float, float, float, float]:
    """Return the median before and now (ms), the slowdown and its interval (%).

    Where the yardstick says that the machine as a whole became slower, that much is not the engine's. The interval is
    that of the logarithm, in which twice as slow and half as slow lie apart alike.
    """
    drawn = [
        resampled_medians([each.frame_to_mask_ms, each.yardstick_ms], resamples=_RESAMPLES, seed=seed)
        for seed, each in enumerate((before, now))
    ]
    first, second = (float(np.median(each.frame_to_mask_ms)) for each in (before, now))
    pace = float(np.median(now.yardstick_ms) / np.median(before.yardstick_ms))
    slowdown = math.log(second / first / max(1.0, pace))
    paces: Values = np.maximum(1.0, drawn[1][1] / drawn[0][1])
    slowdowns: Values = np.log(drawn[1][0] / drawn[0][0] / paces)
    blocks = min(block_count(len(each.frame_to_mask_ms)) for each in (before, now))
    low, high = interval_of_few(slowdowns, slowdown, blocks, confidence)
    return first, second, _percent_of_log(slowdown), _percent_of_log(low), _percent_of_log(high)


def _percent_of_log(value: float) -> float:
    return 100.0 * math.expm1(value)
