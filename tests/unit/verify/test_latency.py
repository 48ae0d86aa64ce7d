"""The timer: what it runs, in which order, and what it makes of the times. No test here depends on real time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgefsa.commands.bench import _bench_text
from edgefsa.errors import InputError
from edgefsa.machine.telemetry import Window
from edgefsa.verify.latency import LatencyStats, bench_engines, measure, times_of
from tests.unit.segment.fakes import FakeSession, moving_square


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A clock that only the test moves, in nanoseconds."""
    now = [0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now[0])
    yield now


def test_contestants_take_turns_and_warm_up_is_left_out(clock: list[int]) -> None:
    order: list[str] = []
    told: list[tuple[int, int]] = []

    def contestant(name: str, costs_ms: int) -> Any:
        def run() -> None:
            order.append(name)
            # The first two rounds are slow, as a cold cache is.
            clock[0] += 1_000_000 * (costs_ms + (1000 if len(order) <= 6 else 0))

        return run

    contestants = {name: contestant(name, cost) for name, cost in (("a", 1), ("b", 2), ("c", 7))}
    stats = measure(contestants, rounds=6, warmup=2, progress=lambda done, total: told.append((done, total)))
    assert {name: (stat.min, stat.mean, stat.p99, stat.count) for name, stat in stats.items()} == {
        "a": (1.0, 1.0, 1.0, 6),
        "b": (2.0, 2.0, 2.0, 6),
        "c": (7.0, 7.0, 7.0, 6),
    }
    rounds = [order[first : first + 3] for first in range(0, 24, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 3, "who ran before varies"
    assert told[-1] == (8, 8)


def test_seconds_bring_more_rounds_and_never_fewer(clock: list[int]) -> None:
    def run() -> None:
        clock[0] += 100_000_000

    assert measure({"a": run}, rounds=3, warmup=2, seconds=1.0)["a"].count == 10
    assert measure({"a": run}, rounds=30, warmup=2, seconds=1.0)["a"].count == 30


def test_times_of_a_round_stand_at_the_same_index(clock: list[int]) -> None:
    count = {"a": 0, "b": 0}

    def contestant(name: str) -> Any:
        def run() -> None:
            count[name] += 1
            clock[0] += 1_000_000 * count[name]

        return run

    times = times_of({name: contestant(name) for name in count}, rounds=3, warmup=2)
    assert times == {"a": [3.0, 4.0, 5.0], "b": [3.0, 4.0, 5.0]}


def test_statistics_equal_a_sorted_list() -> None:
    times = np.random.default_rng(0).gamma(2.0, 3.0, 101).tolist()
    stats, ordered = LatencyStats.of(times), sorted(times)
    # With 101 values the percentiles fall on values: the p-th is at index p.
    assert (stats.min, stats.median, stats.p95, stats.p99) == tuple(pytest.approx(ordered[i]) for i in (0, 50, 95, 99))
    assert stats.mean == pytest.approx(sum(times) / 101)
    assert stats.count == 101


@pytest.mark.parametrize(("rounds", "warmup"), [(0, 1), (-1, 0), (5, -1)])
def test_impossible_rounds_are_named(rounds: int, warmup: int) -> None:
    with pytest.raises(InputError, match=f"{rounds} rounds"):
        measure({"a": lambda: None}, rounds=rounds, warmup=warmup)


def test_engine_time_and_frame_to_mask_time_are_apart(monkeypatch: pytest.MonkeyPatch, clock: list[int]) -> None:
    class TimedSession(FakeSession):
        def __init__(self, costs_ms: int, batch: int) -> None:
            super().__init__(batch=batch)
            self.costs_ms = costs_ms

        def run(self, frames: np.ndarray) -> np.ndarray:
            clock[0] += self.costs_ms * 1_000_000
            return super().run(frames)

    sessions = {"fast": TimedSession(2, 1), "slow": TimedSession(9, 2)}
    opened: list[Any] = []
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **options: opened.append(options) or sessions[path]
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    monkeypatch.setattr(
        "edgefsa.media.fit.resize_mask",
        lambda mask, size_hw: clock.__setitem__(0, clock[0] + 500_000) or np.zeros(size_hw, np.uint8),
    )
    rows = bench_engines(["fast", "slow"], rounds=4, warmup=1, frame=moving_square(0, (96, 128)), threads=3)
    assert [row["engine"] for row in rows] == ["fast", "slow"]
    assert [row["latency_ms"]["median"] for row in rows] == [2.0, 9.0]
    # A batch of two has two masks to resize, and gives two frames in its time.
    assert [row["frame_to_mask_ms"]["median"] for row in rows] == [2.5, 10.0]
    assert [row["batch"] for row in rows] == [1, 2]
    assert [row["fps"] for row in rows] == pytest.approx([1000 / 2.5, 2000 / 10.0])
    assert [row["engine_fps"] for row in rows] == pytest.approx([1000 / 2.0, 2000 / 9.0])
    assert all(len(session.runs) == 10 for session in sessions.values()), "each run is one run of the engine"
    assert set(rows[0]["latency_ms"]) >= {"min", "median", "p95", "p99"}
    # The fake session is done when it is submitted, and says 1 ms for the run.
    assert [row["stages_ms"] for row in rows] == [
        {"prepare": 0.0, "copy": 0.0, "engine": 1.0, "mask": 0.5},
        {"prepare": 0.0, "copy": 0.0, "engine": 1.0, "mask": 1.0},
    ]
    assert all("times_ms" not in row for row in rows)
    assert (rows[0]["target"], rows[0]["precision"]) == ("fake", "fp32")
    assert all(options["threads"] == 3 for options in opened)
    assert all(session.entered == 0 for session in sessions.values())
    json.dumps(rows)


def test_times_of_all_rounds_are_kept_with_a_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **options: FakeSession()
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    rows = bench_engines(["one", "two"], rounds=4, warmup=1, frame=moving_square(0), keep_times=True)
    for row in rows:
        times = row["times_ms"]
        assert set(times) == {"engine", "frame_to_mask", "yardstick"}
        assert all(len(series) == 4 and min(series) > 0 for series in times.values())
        assert LatencyStats.of(times["engine"]).median == row["latency_ms"]["median"]
        assert LatencyStats.of(times["frame_to_mask"]).p95 == row["frame_to_mask_ms"]["p95"]
    assert rows[0]["times_ms"]["yardstick"] == rows[1]["times_ms"]["yardstick"]


def test_throughput_is_that_of_bursts_with_runs_in_flight(monkeypatch: pytest.MonkeyPatch, clock: list[int]) -> None:
    class Overlapping(FakeSession):
        """Each run takes 2 ms of its own after 1 ms that overlaps with what is under way."""

        most, under_way = 0, 0

        def submit(self, frames: np.ndarray) -> Any:
            clock[0] += (2 if self.under_way else 3) * 1_000_000
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            return super().submit(frames)

        def run(self, frames: np.ndarray) -> np.ndarray:
            clock[0] += 1_000_000
            return super().run(frames)

        def collect(self, ticket: Any) -> np.ndarray:
            self.under_way -= 1
            return super().collect(ticket)

    session = Overlapping(batch=2)
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **options: session
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    (row,) = bench_engines(["e"], rounds=3, warmup=1, frame=moving_square(0), in_flight=3)
    assert session.most == 3
    assert row["throughput"] == {"in_flight": 3, "fps": pytest.approx(1000 * 2 * 32 / (32 * 3 + 1))}
    (row,) = bench_engines(["e"], rounds=1, warmup=0, frame=moving_square(0))
    assert row["throughput"] is None
    with pytest.raises(InputError, match="0 runs in flight"):
        bench_engines(["e"], in_flight=0)


def test_no_engine_is_named() -> None:
    with pytest.raises(InputError, match="no engine"):
        bench_engines([])


def test_notes_and_layers_go_into_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession()
    session.notes.append("runs without a CUDA graph")
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **options: session
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)
    (row,) = bench_engines(["e"], rounds=1, warmup=0, frame=moving_square(0), layers=True)
    assert row["notes"] == ["runs without a CUDA graph"]
    assert row["layers_ms"] == {"conv": 0.5, "mask": 0.25}
    nothing = asdict(Window(1.0, 0, *[None] * (len(fields(Window)) - 2)))
    text = _bench_text([{**row, "conditions": nothing}])
    assert "e: runs without a CUDA graph" in text and text.rindex("conv") < text.rindex("mask ")
    assert "66.7" in text
