"""A run's figures as rows of text, for the panel on a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefsa.segment.run import Run

_REFRESH_S = 0.5  # figures that change with every frame cannot be read


class LiveFigures:
    """Rows (label, value) of what a run does now; they change twice a second."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows: Sequence[tuple[str, str]] = ()
        self._until_s = 0.0

    def rows(self) -> Sequence[tuple[str, str]]:
        """Return the rows of `figure_rows`, at most half a second old."""
        now_s = time.monotonic()
        if now_s >= self._until_s:
            self._rows, self._until_s = figure_rows(self._run), now_s + _REFRESH_S
        return self._rows


def figure_rows(run: Run) -> list[tuple[str, str]]:
    """Return what the run does at this moment; what is not known (dropped, agreement, temperature, power) has no row.

    The latency is camera to mask, or frame to mask where the run is not live.
    """
    figures, engine = run.statistics.snapshot(), run.engine
    latency = figures.stages["camera_to_mask" if run.live else "frame_to_mask"]
    rows = [
        ("fps", f"{figures.fps:.1f}"),
        ("latency", _milliseconds(latency.median)),
        ("p95", _milliseconds(latency.p95)),
        ("engine", f"{engine.target} {engine.precision}"),
    ]
    if run.live:
        rows.append(("dropped", str(figures.dropped)))
    if run.canary is not None:
        rows.append(("agreement", f"{100 * run.canary.mean:.2f} %"))
    sample = run.telemetry.latest() if run.telemetry is not None else None
    if sample is not None and sample.temperature_c is not None:
        rows.append(("temperature", f"{sample.temperature_c:.0f} °C"))
    if sample is not None and sample.power_w is not None:
        rows.append(("power", f"{sample.power_w:.1f} W"))
    if run.paused:
        rows.append(("", "paused"))
    return rows


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
