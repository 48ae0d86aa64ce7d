"""The thread that samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from edgefsa.errors import InputError
from edgefsa.machine.telemetry import Telemetry, open_telemetry
from edgefsa.machine.telemetry.sample import Reading


class Counting:
    """A reader whose temperature counts its readings; it fails from reading `until` on."""

    measures_power = True

    def __init__(self, name: str = "counting", until: int = 10**9) -> None:
        self.name, self.until, self.count, self.closed = name, until, 0, False

    def read(self) -> Reading:
        self.count += 1
        if self.count >= self.until:
            raise RuntimeError("the service has gone")
        return Reading(rails_w={self.name: 2.0}, temperature_c=float(self.count))

    def close(self) -> None:
        self.closed = True


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be so in time"
        time.sleep(0.005)


def test_samples_come_until_it_is_left() -> None:
    reader = Counting()
    telemetry = Telemetry(lambda: [reader], 0.01)
    assert telemetry.latest() is None and not telemetry.measures_power and reader.count == 0
    with telemetry:
        begun = time.monotonic()
        assert telemetry.measures_power
        until(lambda: reader.count >= 5)
        window = telemetry.window(begun)
        latest = telemetry.latest()
    assert latest is not None and latest.power_w == 2.0 and latest.source == "counting"
    assert window.samples >= 3 and window.power_w == pytest.approx(2.0)
    assert reader.closed
    count = reader.count
    time.sleep(0.05)
    assert reader.count == count and not any(t.name == "edgefsa-telemetry" for t in threading.enumerate())


def test_a_window_in_the_past_has_only_its_samples() -> None:
    reader = Counting()
    with Telemetry(lambda: [reader], 0.01) as telemetry:
        until(lambda: reader.count >= 4)
        middle = time.monotonic()
        until(lambda: reader.count >= 8)
        before, after = telemetry.window(0.0, middle), telemetry.window(middle)
    assert before.temperature_c is not None and after.temperature_c is not None
    assert before.temperature_c < after.temperature_c


def test_a_reader_that_fails_is_left_out_and_the_others_go_on() -> None:
    good, bad = Counting("good"), Counting("bad", until=3)
    with Telemetry(lambda: [bad, good], 0.01) as telemetry:
        until(lambda: good.count >= 8)
        latest = telemetry.latest()
    assert latest is not None and latest.source == "good" and latest.power_w == 2.0
    assert bad.count == 3 and bad.closed and good.closed


def test_what_is_watched_may_fail() -> None:
    reader = Counting()
    with pytest.raises(ZeroDivisionError), Telemetry(lambda: [reader], 0.01):
        raise ZeroDivisionError
    assert reader.closed


@pytest.mark.parametrize("interval_s", [0.0, -1.0, 0.01, float("nan")])
def test_too_short_an_interval(interval_s: float) -> None:
    with pytest.raises(InputError, match="too often; give"):
        open_telemetry(interval_s)


def test_this_machine() -> None:
    """Whatever it can say, it says it without an error, and the memory in use agrees with the kernel's."""
    with open_telemetry(0.05) as telemetry:
        until(lambda: telemetry.latest() is not None)
        sample = telemetry.latest()
    assert sample is not None and "sysfs" in sample.source
    assert sample.memory_used_mb is None or sample.memory_used_mb > 0
    assert sample.power_w is None or sample.power_of
