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
        """Return frames a second, latency, engine, and dropped frames of a live run."""
        now_s = time.monotonic()
        if now_s >= self._until_s:
            self._rows, self._until_s = figure_rows(self._run), now_s + _REFRESH_S
        return self._rows


def figure_rows(run: Run) -> list[tuple[str, str]]:
    """Return the rows of this moment; the latency is camera to mask, or frame to mask where the run is not live."""
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
    if run.paused:
        rows.append(("", "paused"))
    return rows


def _milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"
