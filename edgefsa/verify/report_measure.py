"""Measuring for a report: each engine is timed, opened in a process of its own, and evaluated once."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from edgefsa.data.readers import Dataset
from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.tensorrt.layer_times import LayerTime
from edgefsa.errors import UnreadableError
from edgefsa.machine.description import machine_description
from edgefsa.machine.telemetry import Energy, Window, open_telemetry
from edgefsa.media.frames import Frame
from edgefsa.segment import Segmenter
from edgefsa.segment.run import Saturation
from edgefsa.verify.accuracy import AccuracyReport, evaluate
from edgefsa.verify.energy import INTERVAL_S
from edgefsa.verify.footprint import Footprint, bytes_on_disk, footprint_of, macs_of
from edgefsa.verify.frame_details import FrameDetails, FrameObserver
from edgefsa.verify.latency import bench_engines
from edgefsa.verify.peers import Peer
from edgefsa.verify.report import DataFacts, EngineFacts, LayerRun, Report
from edgefsa.verify.saturation import calibrated_tensors_of, saturation_on

Progress = Callable[[str, int, int], None]

# Frames that are shown of each engine, fewer where there are many engines.
_WORST, _WORST_OF_ALL = 3, 12
# Frames that run through an INT8 engine's graph for what lies beyond its ranges, and tensors that are shown of each.
_FRAMES_WATCHED, _TENSORS_SHOWN = 16, 4


def report_on_engines(
    paths: Sequence[str | Path],
    dataset: Dataset | None = None,
    *,
    title: str = "edgefsa engines",
    rounds: int = 100,
    threads: int | None = None,
    in_flight: int = 1,
    peers: Sequence[Peer] = (),
    layer_times: Mapping[str, Sequence[LayerTime]] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure engines and, where a data set is given, their accuracy on it.

    `rounds`, `threads` and `in_flight` are those of `bench_engines`; `layer_times` are what trtexec measured of an
    engine's layers, by the engine's name. `progress` is called with what is being done
    ("latency", "memory", or the engine's name), done and total.
    """
    measured_s: dict[str, float] = {}

    def counted(step: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(step, done, total) if progress is not None else None

    with _timed("latency", measured_s), open_telemetry(INTERVAL_S) as telemetry:
        rows = bench_engines(
            paths,
            rounds=rounds,
            threads=threads,
            in_flight=in_flight,
            keep_times=True,
            progress=counted("latency"),
            telemetry=telemetry,
        )
    footprints = []
    with _timed("memory", measured_s):
        for done, path in enumerate(paths):
            footprints.append(footprint_of(path, threads))
            counted("memory")(done + 1, len(paths))
    worst = max(1, min(_WORST, _WORST_OF_ALL // len(paths)))
    engines = []
    with _timed("accuracy", measured_s):
        for row, footprint in zip(rows, footprints, strict=True):
            with Segmenter(row["engine"], threads=threads) as segmenter:
                found = _evaluated(segmenter, dataset, worst, counted(engine_name(row["engine"])))
                facts = _facts(segmenter, row, footprint, *found, _saturation(segmenter, dataset))
                engines.append(replace(facts, layer_times=tuple((layer_times or {}).get(facts.name, ()))))
    return Report(
        title,
        date=datetime.date.today().isoformat(),
        machine=machine_description(),
        engines=tuple(engines),
        data=data_facts(dataset),
        threads=threads,
        measured_s=measured_s,
        peers=tuple(peers),
        conditions=Window(**rows[0]["conditions"]),
    )


def engine_name(path: str | Path) -> str:
    """Return the name by which reports know an engine: that of its directory."""
    return Path(path).resolve().name


def data_facts(dataset: Dataset | None) -> DataFacts | None:
    """Return what identifies the frames of a data set; None for none."""
    if dataset is None:
        return None
    kind = dataset.name.partition(":")[0]
    return DataFacts(kind, dataset.split, dataset.class_set.names, dataset.fingerprint())


def layer_runs(layers: Sequence[LayerPrecision]) -> tuple[LayerRun, ...]:
    """Return the layers of a network with those joined that follow each other and are alike."""
    grouped = groupby(layers, key=lambda layer: (layer.precision, layer.multiplies))
    return tuple(LayerRun(*kind, count=len(list(alike))) for kind, alike in grouped)


@contextmanager
def _timed(name: str, measured_s: dict[str, float]) -> Iterator[None]:
    begun = time.monotonic()
    yield
    measured_s[name] = time.monotonic() - begun


def _evaluated(
    segmenter: Segmenter, dataset: Dataset | None, worst: int, progress: Callable[[int, int], None]
) -> tuple[AccuracyReport | None, FrameDetails | None]:
    if dataset is None:
        return None, None
    observer = FrameObserver(dataset.class_set, worst)
    accuracy = evaluate(segmenter, dataset, progress, observer)
    return accuracy, observer.details()


def _saturation(segmenter: Segmenter, dataset: Dataset | None) -> tuple[Saturation, ...]:
    """Return the most saturated tensors of an INT8 engine on some frames; none where they cannot be looked into."""
    session = segmenter.session
    watched = calibrated_tensors_of(session.manifest)
    if dataset is None or not watched or importlib.util.find_spec("onnxruntime") is None:
        return ()
    step = -(-len(dataset) // _FRAMES_WATCHED)
    return tuple(saturation_on(session.directory, _readable(dataset[::step])).rows()[:_TENSORS_SHOWN])


def _readable(dataset: Dataset) -> Iterator[tuple[str, Frame]]:
    for index, name in enumerate(dataset.sample_names):
        with contextlib.suppress(UnreadableError):  # the evaluation names it
            yield name, dataset.frame(index)


def _facts(
    segmenter: Segmenter,
    row: dict[str, Any],
    footprint: Footprint,
    accuracy: AccuracyReport | None,
    details: FrameDetails | None,
    saturation: tuple[Saturation, ...],
) -> EngineFacts:
    session = segmenter.session
    manifest, layers = session.manifest, session.layer_precisions()
    return EngineFacts(
        name=engine_name(row["engine"]),
        target=row["target"],
        precision=row["precision"],
        size_hw=session.size_hw,
        batch=row["batch"],
        weights=str(segmenter.model.get("weights", {}).get("kind", "unknown")),
        layers=dict(Counter(layer.precision for layer in layers)),
        layer_map=layer_runs(layers),
        evidence=manifest.proof["evidence"],
        int8_macs_share=manifest.int8_macs_share,
        fp16_macs_share=manifest.fp16_macs_share,
        macs=macs_of(row["engine"]),
        latency_ms=row["latency_ms"],
        frame_to_mask_ms=row["frame_to_mask_ms"],
        stages_ms=row["stages_ms"],
        times_ms=row["times_ms"],
        fps=row["fps"],
        throughput=row["throughput"],
        bytes_on_disk=bytes_on_disk(row["engine"]),
        footprint=footprint,
        energy=Energy(**row["energy"]) if row["energy"] else None,
        accuracy=accuracy,
        details=details,
        saturation=saturation,
    )
