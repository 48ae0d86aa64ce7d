"""The run's figures for Prometheus, read when it asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edgefsa.serve.viewers import Crowd

if TYPE_CHECKING:
    from edgefsa.segment.run import Run
    from edgefsa.segment.statistics import Snapshot

_EDGES_MS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 33.0, 50.0, 75.0, 100.0, 150.0, 200.0, 500.0, 1000.0)


class Metrics(Collector):
    """Collects what is measured of a run, in a registry of its own; times are in seconds, as Prometheus wants them."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, run: Run, crowd: Crowd) -> None:
        self._run, self._crowd = run, crowd
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of this moment."""
        snapshot = self._run.statistics.snapshot()
        yield from _counts(snapshot)
        yield GaugeMetricFamily("edgefsa_fps", "Masks a second, over the last seconds", snapshot.fps)
        yield GaugeMetricFamily("edgefsa_viewers", "Viewers in browsers and of MJPEG", self._crowd.count)
        yield GaugeMetricFamily("edgefsa_paused", "1 while the run is paused", self._run.paused)
        yield self._engines()
        yield from self._times(snapshot)
        yield from self._machine()
        yield from self._canary()

    def _engines(self) -> Metric:
        family = GaugeMetricFamily(
            "edgefsa_engine", "1 for the engine in use", labels=["engine", "model", "target", "precision"]
        )
        for name, engine in self._run.engines.items():
            in_use = float(name == self._run.engine.name)
            family.add_metric([name, engine.model, engine.target, engine.precision], in_use)
        return family

    def _times(self, snapshot: Snapshot) -> Iterator[Metric]:
        histograms = HistogramMetricFamily(
            "edgefsa_stage_seconds", "Time of a frame in each stage, without warm-up", labels=["stage"]
        )
        quantiles = GaugeMetricFamily(
            "edgefsa_stage_quantile_seconds", "Quantiles of edgefsa_stage_seconds", labels=["stage", "quantile"]
        )
        for stage, times in snapshot.stages.items():
            if not times.count:
                continue
            below, buckets = 0, []
            counts = self._run.statistics.histogram(stage, _EDGES_MS)
            for edge, count in zip((*(f"{edge / 1e3:g}" for edge in _EDGES_MS), "+Inf"), counts, strict=True):
                below += count
                buckets.append((edge, float(below)))
            histograms.add_metric([stage], buckets, self._run.statistics.total_ms(stage) / 1e3)
            for quantile, value_ms in (("0.5", times.median), ("0.95", times.p95), ("0.99", times.p99)):
                quantiles.add_metric([stage, quantile], value_ms / 1e3)
        yield histograms
        yield quantiles

    def _machine(self) -> Iterator[Metric]:
        sample = self._run.telemetry.latest() if self._run.telemetry is not None else None
        if sample is not None and sample.power_w is not None:
            yield GaugeMetricFamily("edgefsa_power_watts", f"Power of {sample.power_of}", sample.power_w)
        if sample is not None and sample.temperature_c is not None:
            yield GaugeMetricFamily("edgefsa_temperature_celsius", "The hottest sensor", sample.temperature_c)

    def _canary(self) -> Iterator[Metric]:
        canary = self._run.canary
        if canary is None:
            return
        agreement = GaugeMetricFamily(
            "edgefsa_canary_agreement", "Share of pixels on which engine and ONNX graph agree", labels=["of"]
        )
        for of, share in (("last", canary.last), ("mean", canary.mean), ("lowest", canary.lowest)):
            agreement.add_metric([of], share)
        yield agreement
        yield CounterMetricFamily("edgefsa_canary_frames", "Frames that the canary compared", canary.frames)
        if canary.saturation is not None:
            saturated = GaugeMetricFamily(
                "edgefsa_canary_saturated",
                "Share of values beyond the calibrated range, of the most saturated tensor",
                labels=["tensor"],
            )
            saturated.add_metric([canary.saturation.tensor], canary.saturation.share)
            yield saturated
        yield CounterMetricFamily("edgefsa_canary_frames_below", "Frames that fell below the bound", canary.below)


def _counts(snapshot: Snapshot) -> Iterator[Metric]:
    counts = {
        "edgefsa_frames_captured": ("Frames that the source gave", snapshot.captured),
        "edgefsa_frames": ("Frames that have a mask", snapshot.frames),
        "edgefsa_frames_dropped": ("Live frames that a newer one replaced", snapshot.dropped),
        "edgefsa_reconnects": ("Times that the source was lost and came back", snapshot.reconnects),
    }
    for name, (meaning, count) in counts.items():
        yield CounterMetricFamily(name, meaning, count)
    skipped = CounterMetricFamily("edgefsa_frames_skipped", "Frames that a sink had no time for", labels=["sink"])
    for sink, count in snapshot.skipped.items():
        skipped.add_metric([sink], count)
    yield skipped
