"""The rows of figures: what a run says, in words that fit on a picture."""

from __future__ import annotations

from typing import Any

import pytest

from edgefsa.machine.telemetry import Sample
from edgefsa.segment import figures
from edgefsa.segment.figures import LiveFigures, figure_rows
from edgefsa.segment.run import CanaryFigures
from tests.unit.segment.sinks.frames import run_of


class Thermometer:
    """Telemetry that always has the same sample."""

    def __init__(self, sample: Sample | None) -> None:
        self._sample = sample

    def latest(self) -> Sample | None:
        return self._sample


def test_a_live_run_says_rate_latency_engine_and_what_was_dropped() -> None:
    run = run_of(live=True)
    for _ in range(3):
        run.statistics.add_frame({"camera_to_mask": 12.5, "frame_to_mask": 9.0})
    run.statistics.count_dropped(7)
    rows = dict(figure_rows(run))
    assert list(rows) == ["fps", "latency", "p95", "engine", "dropped"]
    assert float(rows["fps"]) > 0
    assert float(rows["latency"].removesuffix(" ms")) == pytest.approx(12.5, rel=0.01)
    assert (rows["engine"], rows["dropped"]) == ("fake fp32", "7")


def test_files_have_the_time_from_frame_to_mask_and_drop_nothing() -> None:
    run = run_of(live=False)
    run.statistics.add_frame({"frame_to_mask": 140.0})
    rows = dict(figure_rows(run))
    assert "dropped" not in rows
    assert float(rows["latency"].removesuffix(" ms")) == pytest.approx(140, rel=0.01)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (None, {}),
        (Sample(0.0, power_w=14.87), {"power": "14.9 W"}),
        (Sample(0.0, power_w=7.0, temperature_c=61.4), {"temperature": "61 °C", "power": "7.0 W"}),
    ],
)
def test_agreement_temperature_and_power_show_where_they_are_known(
    sample: Sample | None, expected: dict[str, str]
) -> None:
    run: Any = run_of(live=True)
    run.telemetry = Thermometer(sample)
    run.canary = CanaryFigures(frames=10, last=1.0, mean=0.99914, lowest=0.99, below=0, bound=0.98)
    run.pause()
    assert figure_rows(run)[5:] == [("agreement", "99.91 %"), *expected.items(), ("", "paused")]


def test_figures_change_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(figures.time, "monotonic", lambda: clock[0])
    run = run_of(live=True)
    live = LiveFigures(run)
    dropped = []
    for _ in range(10):
        run.statistics.count_dropped()
        dropped.append(dict(live.rows())["dropped"])
        clock[0] += 0.125
    assert dropped == ["1"] * 4 + ["5"] * 4 + ["9"] * 2
