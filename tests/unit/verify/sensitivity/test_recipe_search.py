"""The search on engines: it finds the blocks that were given outliers, and goes on after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edgefsa.errors import PrecisionError
from edgefsa.verify.sensitivity import bench as bench_module
from edgefsa.verify.sensitivity import search_blocks
from edgefsa.verify.sensitivity.bench import Difference, Measurement
from edgefsa.verify.sensitivity.recipe_search import speedup_kept
from tests.unit.verify.sensitivity.conftest import Opener
from tests.unit.verify.sensitivity.small import NAMES

# Points of mIoU against the float masks: INT8 costs this random network 4, outliers in one block 80 and more.
MAX_DROP = 10.0
DAMAGED = (NAMES["a"], NAMES["c"])


def test_it_leaves_the_damaged_blocks_in_float_and_no_other(opened: Opener) -> None:
    said: list[str] = []
    found = search_blocks(opened(), max_drop=MAX_DROP, say=said.append)
    assert found.in_float == DAMAGED
    assert found.skip == ("a1/Conv", "a2/Conv", "c1/Conv", "c2/Conv")
    record = found.record
    assert record["drop_of_int8"] > 50 and record["drop"] <= MAX_DROP
    assert (record["split"], record["frames"], record["truth"]) == ("train", 6, "masks of the float network")
    assert record["data"] == "images:frames", "and no folder of this machine"
    assert len(said) == record["evaluations"] <= 12
    assert said[0].startswith("evaluation 1 of 40: +") and "with nothing in float" in said[0]


def test_a_network_that_needs_nothing_is_left_in_int8(opened: Opener) -> None:
    found = search_blocks(opened(()), max_drop=MAX_DROP)
    assert (found.in_float, found.skip, found.record["evaluations"]) == ((), (), 1)


def test_what_was_interrupted_goes_on_and_measures_nothing_twice(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, built = bench_module.trial_session, list[tuple[str, tuple[str, ...]]]()
    stop_after = 5

    @contextmanager
    def counted(settings: Any, precision: str, skip: tuple[str, ...] = ()) -> Iterator[Any]:
        if len(built) == stop_after:
            raise KeyboardInterrupt
        built.append((precision, tuple(skip)))
        with whole(settings, precision, skip) as session:
            yield session

    monkeypatch.setattr(bench_module, "trial_session", counted)
    with pytest.raises(KeyboardInterrupt), opened() as first:
        search_blocks(first, max_drop=MAX_DROP)
    before, stop_after = len(first.store), -1
    assert before
    found = search_blocks(opened(), max_drop=MAX_DROP)
    assert found.in_float == DAMAGED
    trials = [skip for precision, skip in built if precision == "int8" and skip]
    assert len(trials) == len(set(trials)), "no set of blocks was built twice"
    count = len(built)
    assert search_blocks(opened(), max_drop=MAX_DROP) == found
    assert len(built) == count, "all of it was there: nothing is built"


def test_a_goal_that_is_out_of_reach_says_what_was_nearest(opened: Opener) -> None:
    with pytest.raises(PrecisionError, match=r"after 2 evaluations INT8 still loses .* allows 10; .*--budget"):
        search_blocks(opened(), max_drop=MAX_DROP, budget=2)


def test_the_share_of_the_speed_up() -> None:
    nothing = Difference(0.0, 0.0)
    assert speedup_kept(Measurement(1.0, 6.0, 5.0, 15.0, Difference(1.0, 0.1), nothing)) == pytest.approx(0.9)
    assert speedup_kept(Measurement(1.0, 5.0, 5.0, 4.0, nothing, nothing)) is None
