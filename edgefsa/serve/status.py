"""What the page shows beside the picture: what does not change, and the figures of a moment."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgefsa import __version__

if TYPE_CHECKING:
    from edgefsa.segment.run import Run

# The bars of the page's histograms: four to an octave, from 0.25 ms to 2 s.
EDGES_MS = tuple(round(0.25 * 2 ** (step / 4), 3) for step in range(53))


def hello(run: Run) -> dict[str, Any]:
    """Return what stays as it is: the source, the engines with their classes, the edges of histograms."""
    return {
        "type": "hello",
        "version": __version__,
        "source": run.source_name,
        "live": run.live,
        "engines": [asdict(engine) for engine in run.engines.values()],
        "edges_ms": EDGES_MS,
    }


def figures(run: Run, unsaid: str) -> dict[str, Any]:
    """Return the figures of this moment; None stands where nothing measures one.

    The note `unsaid`, which may hold a token, is left out.
    """
    snapshot = run.statistics.snapshot()
    sample = run.telemetry.latest() if run.telemetry is not None else None
    measured = {name: times for name, times in snapshot.stages.items() if times.count}
    return {
        "type": "figures",
        "engine": run.engine.name,
        "paused": run.paused,
        "fps": snapshot.fps,
        "frames": snapshot.frames,
        "dropped": snapshot.dropped,
        "reconnects": snapshot.reconnects,
        "seconds": snapshot.seconds,
        "times_ms": {name: asdict(times) for name, times in measured.items()},
        "histograms": {name: run.statistics.histogram(name, EDGES_MS) for name in measured},
        "power_w": sample.power_w if sample is not None else None,
        "temperature_c": sample.temperature_c if sample is not None else None,
        "throttled": sample.throttled if sample is not None else None,
        "canary": asdict(run.canary) if run.canary is not None else None,
        "notes": [note for note in list(run.notes) if note != unsaid],
    }
