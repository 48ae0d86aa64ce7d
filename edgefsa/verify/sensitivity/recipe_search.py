"""The search for the blocks to leave in float, on engines of a target, and the record that goes into the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgefsa.data.readers import name_without_folders
from edgefsa.errors import PrecisionError
from edgefsa.verify.sensitivity.bench import Measurement, TrialBench

Progress = Callable[[int, int], None]
DEFAULT_BUDGET = 40


@dataclass(frozen=True)
class Searched:
    """What a search found: the blocks left in float, the patterns of their nodes, and the record for the manifest.

    The record has plain values: what was asked for, on which frames, what was reached, and the speed that is left.
    """

    in_float: tuple[str, ...]
    skip: tuple[str, ...]
    record: dict[str, Any]


def search_blocks(
    bench: TrialBench,
    *,
    max_drop: float,
    budget: int = DEFAULT_BUDGET,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Searched:
    """Find the fewest blocks to leave in float for INT8 to lose at most `max_drop` points of mIoU on the bench's data.

    At most `budget` engines are measured; `say` gets a line for each. Raises PrecisionError where the goal is not
    reached, with the nearest that was.
    """
    from edgefsa.quantize.search import Trial, search

    everything = frozenset(bench.names)
    whole = bench.measure(everything)
    count = 0

    def evaluate(in_float: frozenset[str]) -> Trial:
        nonlocal count
        known = bench.knows(in_float)
        found = bench.measure(in_float)
        count += 1
        drop = _drop(whole, found)
        named = ", ".join(name for name in bench.names if name in in_float) or "nothing"
        say(
            f"evaluation {count} of {budget}: {drop:+.2f} points lost, {found.ms:.2f} ms "
            f"(INT8 {found.int8_ms:.2f}, float {found.float_ms:.2f}) with {named} in float"
            f"{' (measured before)' if known else ''}"
        )
        if progress is not None:
            progress(count, budget)
        return Trial(drop, found.over_int8.ms, found.over_int8.noise_ms)

    full = bench.measure(())
    goal_is_kept = _drop(whole, full) <= max_drop
    suspects = bench.names if goal_is_kept else sorted(bench.names, key=lambda name: bench.snr_db(everything - {name}))
    found = search(bench.names, suspects, evaluate, max_drop=max_drop, budget=budget)
    if not found.reached:
        raise PrecisionError(
            f"after {found.evaluations} evaluations INT8 still loses {found.trial.drop:.2f} points of mIoU, and "
            f"--max-drop allows {max_drop:g}; nearest with {', '.join(found.in_float) or 'nothing'} in float: allow "
            "more with --max-drop, or give a larger --budget (what was measured is kept)"
        )
    measured = bench.measure(found.in_float)
    record = _record(bench, whole, full, measured, found.in_float)
    asked = {"max_drop": max_drop, "budget": budget, "evaluations": found.evaluations}
    return Searched(found.in_float, bench.skip_of(found.in_float), {**asked, **record})


def _drop(whole: Measurement, found: Measurement) -> float:
    return 100 * (whole.miou - found.miou)


def speedup_kept(found: Measurement) -> float | None:
    """Return which share of full INT8's gain over FP32 an engine keeps; None where INT8 gains nothing."""
    gain = found.float_ms - found.int8_ms
    return 1 - found.over_int8.ms / gain if gain > 0 else None


def _record(
    bench: TrialBench, whole: Measurement, full: Measurement, found: Measurement, in_float: tuple[str, ...]
) -> dict[str, Any]:
    kept = speedup_kept(found)
    return {
        "in_float": list(in_float),
        "blocks": len(bench.names),
        "drop": round(_drop(whole, found), 4),
        "drop_of_int8": round(_drop(whole, full), 4),
        "float_miou": round(100 * whole.miou, 4),
        "truth": bench.truth,
        "data": name_without_folders(bench.dataset.name),
        "split": bench.dataset.split,
        "frames": len(bench.dataset),
        "target": bench.settings.target.name,
        "ms": round(found.ms, 4),
        "int8_ms": round(found.int8_ms, 4),
        "float_ms": round(found.float_ms, 4),
        **({} if kept is None else {"speedup_kept": round(kept, 4)}),
    }
