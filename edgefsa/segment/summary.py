"""A run in figures, as `edgefsa run --json` ends with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgefsa.machine.memory import peak_rss_mib
from edgefsa.segment.pipeline import PipelineReport
from edgefsa.segment.statistics import TimesSummary


def run_summary(report: PipelineReport) -> dict[str, Any]:
    """Return a run's figures as plain values.

    Keys: "fps" (from the first mask to the last), "frames" (with a mask), "captured", "dropped", "seconds",
    "camera_to_mask_ms" {median, p95, p99} (None where no source is live), "stages" {name: the same} in milliseconds,
    "sinks" {name: {median, p95, p99, skipped}}, "reconnects", "canary" (None without one), "max_rss_mb" (of 2**20
    bytes; None where the system does not say it), "interrupted", "notes" (the source's).
    """
    figures, peak_mib = report.statistics, peak_rss_mib()
    stages = {name: _times(summary) for name, summary in figures.stages.items() if summary.count}
    return {
        "fps": round(report.fps, 2),
        "frames": figures.frames,
        "captured": figures.captured,
        "dropped": figures.dropped,
        "seconds": round(figures.seconds, 3),
        "camera_to_mask_ms": stages.pop("camera_to_mask", None),
        "stages": stages,
        "sinks": _sinks(figures.sinks, figures.skipped),
        "reconnects": figures.reconnects,
        "canary": None if report.canary is None else asdict(report.canary),
        "max_rss_mb": None if peak_mib is None else round(peak_mib, 1),
        "interrupted": report.interrupted,
        "notes": report.notes,
    }


def _times(summary: TimesSummary) -> dict[str, float]:
    return {name: round(getattr(summary, name), 3) for name in ("median", "p95", "p99")}


def _sinks(times: Mapping[str, TimesSummary], skipped: Mapping[str, int]) -> dict[str, Any]:
    return {name: {**_times(summary), "skipped": skipped.get(name, 0)} for name, summary in times.items()}
