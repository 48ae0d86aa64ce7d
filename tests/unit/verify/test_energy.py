"""The energy of an engine's frames, on a machine whose power a reader plays."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from edgefsa.machine.telemetry import Telemetry
from edgefsa.machine.telemetry.sample import Reading
from edgefsa.verify import energy
from edgefsa.verify.energy import energy_of, idle_window
from edgefsa.verify.latency import bench_engines
from tests.unit.segment.fakes import FakeSession, moving_square

IDLE_W, BUSY_W = 5.0, 25.0


class Meter:
    """Says 25 W while something runs, and 5 W else."""

    name, measures_power = "meter", True

    def __init__(self) -> None:
        self.running = threading.Event()

    def read(self) -> Reading:
        return Reading(rails_w={"VDD_IN": BUSY_W if self.running.is_set() else IDLE_W}, throttled=self.running.is_set())

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Meter, Telemetry]]:
    for name, seconds in (("IDLE_S", 0.2), ("SETTLE_S", 0.05), ("BUSY_S", 0.3)):
        monkeypatch.setattr(energy, name, seconds)
    reader = Meter()
    with Telemetry(lambda: [reader], 0.01) as telemetry:
        yield reader, telemetry


def test_the_idle_baseline_is_taken_off(meter: tuple[Meter, Telemetry]) -> None:
    """A frame's energy is (25 - 5) W over the time of a frame; the time is the machine's own, so it is compared."""
    reader, telemetry = meter
    idle = idle_window(telemetry)
    assert idle is not None and idle.power_w == pytest.approx(IDLE_W)

    def run() -> None:
        reader.running.set()
        time.sleep(0.01)

    found = energy_of(run, 3, telemetry, idle)
    assert found is not None
    assert found.frames % 3 == 0 and found.frames > 0
    assert found.power_w == pytest.approx(BUSY_W) and found.idle_power_w == pytest.approx(IDLE_W)
    assert found.joules_per_frame == pytest.approx((BUSY_W - IDLE_W) * found.window_s / found.frames)
    assert found.throttled and found.power_of == "VDD_IN"


def test_where_no_power_can_be_read_nothing_is_waited_for() -> None:
    calls: list[int] = []
    with Telemetry(lambda: [], 0.05) as telemetry:
        begun = time.monotonic()
        assert idle_window(telemetry) is None and idle_window(None) is None
        assert energy_of(lambda: calls.append(1), 1, telemetry, None) is None
        assert time.monotonic() - begun < energy.IDLE_S
    assert not calls


def fake_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("edgefsa.engines")
    module.open_engine = lambda path, **options: FakeSession()
    monkeypatch.setitem(sys.modules, "edgefsa.engines", module)


def test_bench_gives_conditions_and_energy(meter: tuple[Meter, Telemetry], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_engines(monkeypatch)
    frame = moving_square(0, (96, 128))
    rows = bench_engines(["a", "b"], rounds=3, warmup=1, frame=frame, telemetry=meter[1])
    assert all(row["energy"]["power_of"] == "VDD_IN" and row["energy"]["frames"] > 0 for row in rows)
    assert rows[0]["conditions"] == rows[1]["conditions"] and rows[0]["conditions"]["source"] in ("meter", "")
    assert json.loads(json.dumps(rows)) == rows
    (without,) = bench_engines(["a"], rounds=1, warmup=0, frame=frame)
    assert without["energy"] is None and without["conditions"] is None
