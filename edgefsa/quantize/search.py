"""The search for the fewest blocks to leave in float: greedy, by the loss that a block avoids per millisecond it costs.

What a set of blocks costs is measured by a function that the caller gives, so nothing here knows of engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgefsa.errors import InputError

# How many blocks a step measures before it takes the best of them.
SHORTLIST = 3
_SMALLEST_MS = 1e-3


@dataclass(frozen=True)
class Trial:
    """An engine with some blocks in float, measured.

    `drop` is the accuracy lost against the float network, in points; `extra_ms` how much slower it is than the engine
    with all blocks in INT8 (negative where it is faster), known to within `noise_ms`.
    """

    drop: float
    extra_ms: float
    noise_ms: float


@dataclass(frozen=True)
class Found:
    """The end of a search: the blocks to leave in float, in the order of the network, and what that was measured to be.

    `reached` says whether the drop is within the one asked for, `evaluations` how many engines were measured.
    """

    in_float: tuple[str, ...]
    trial: Trial
    reached: bool
    evaluations: int


def search(
    blocks: Sequence[str],
    suspects: Sequence[str],
    evaluate: Callable[[frozenset[str]], Trial],
    *,
    max_drop: float,
    budget: int,
) -> Found:
    """Search the fewest of `blocks` to leave in float so that the drop is at most `max_drop` points.

    `suspects` are the same names, the one first that seems to lose most: each step measures the first SHORTLIST that
    are still in INT8, and leaves in float the one that avoids the most loss per millisecond, or of those that reach the
    goal the one that costs the least time. In the end each block is put back without which the goal is kept. At most
    `budget` sets are measured, each once. The result depends on nothing but what `evaluate` returns.
    """
    if budget < 1:
        raise InputError(f"a budget of {budget} evaluations measures nothing; give 1 or more")
    run = _Run(evaluate, budget)
    chosen, trial = frozenset[str](), run.must(frozenset())
    while trial.drop > max_drop and len(chosen) < len(blocks):
        step = _step(run, chosen, trial, suspects, max_drop)
        if step is None:
            break
        chosen, trial = step
    if trial.drop <= max_drop:
        chosen, trial = _pruned(run, chosen, trial, max_drop)
    in_float = tuple(name for name in blocks if name in chosen)
    return Found(in_float, trial, trial.drop <= max_drop, len(run.known))


class _Run:
    """The sets measured so far, and how many more may be."""

    def __init__(self, evaluate: Callable[[frozenset[str]], Trial], budget: int) -> None:
        self._evaluate, self._budget = evaluate, budget
        self.known: dict[frozenset[str], Trial] = {}

    def must(self, chosen: frozenset[str]) -> Trial:
        if chosen not in self.known:
            self.known[chosen] = self._evaluate(chosen)
        return self.known[chosen]

    def may(self, chosen: frozenset[str]) -> Trial | None:
        """Return the trial of a set, or None where it is not known and the budget is spent."""
        spent = chosen not in self.known and len(self.known) >= self._budget
        return None if spent else self.must(chosen)


def _step(
    run: _Run, chosen: frozenset[str], trial: Trial, suspects: Sequence[str], max_drop: float
) -> tuple[frozenset[str], Trial] | None:
    """Return the set with the best further block, or None where the budget allows to measure none."""
    wider = [chosen | {name} for name in suspects if name not in chosen][:SHORTLIST]
    tried = [(item, found) for item in wider if (found := run.may(item)) is not None]
    within = [pair for pair in tried if pair[1].drop <= max_drop]
    if within:
        return min(within, key=lambda pair: pair[1].extra_ms)
    least_ms = max([_SMALLEST_MS, *(found.noise_ms for _, found in tried)])
    return max(tried, key=lambda pair: _merit(trial, pair[1], least_ms), default=None)


def _merit(before: Trial, after: Trial, least_ms: float) -> float:
    """Return the points of loss avoided per millisecond; what costs less than can be measured counts `least_ms`."""
    avoided, cost = before.drop - after.drop, after.extra_ms - before.extra_ms
    return avoided / max(cost, least_ms) if avoided > 0 else avoided


def _pruned(run: _Run, chosen: frozenset[str], trial: Trial, max_drop: float) -> tuple[frozenset[str], Trial]:
    """Put blocks back into INT8 while the goal is kept; first the one without which the engine is the fastest."""
    while len(chosen) > 1:
        tried = [(item, found) for name in sorted(chosen) if (found := run.may(item := chosen - {name})) is not None]
        within = [pair for pair in tried if pair[1].drop <= max_drop]
        if not within:
            break
        chosen, trial = min(within, key=lambda pair: pair[1].extra_ms)
    return chosen, trial
