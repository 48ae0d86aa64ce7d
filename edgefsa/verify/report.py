"""A report on engines: what each costs in accuracy, what it gains in speed, what it takes, and what it runs in.

`report_on_engines` (in report_measure) measures; `Report.write` renders the same facts three times: report.json for
scripts and as a baseline, report.md for a repository, report.html (one file, no script, nothing loaded from elsewhere)
for people. Drawing needs the extra `report`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import atomic_file
from edgefsa.engines.precision import EVIDENCE
from edgefsa.engines.tensorrt.layer_times import LayerTime
from edgefsa.machine.telemetry import Energy, Window
from edgefsa.segment.run import Saturation
from edgefsa.verify.accuracy import AccuracyReport
from edgefsa.verify.bootstrap import Interval, interval, resampled_miou
from edgefsa.verify.footprint import Footprint
from edgefsa.verify.frame_details import FrameDetails
from edgefsa.verify.peers import Peer

if TYPE_CHECKING:
    from edgefsa.verify.gate import Gate

FORMAT = 1
# No text in JSON holds a line's end, so that what begins with one is a list.
_NUMBERS = re.compile(r"\[\n\s*([-+\d.,e\s]+?)\n\s*\]")


@dataclass(frozen=True)
class DataFacts:
    """The frames that accuracy was measured on: kind of data set, split, class names, and a SHA-256 of the frames."""

    kind: str
    split: str
    classes: tuple[str, ...]
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.split})"


@dataclass(frozen=True)
class LayerRun:
    """Layers that follow each other: how many, what they run in, and whether they multiply (convolve, or products)."""

    precision: str
    multiplies: bool
    count: int


@dataclass(frozen=True)
class EngineFacts:
    """What was measured of one engine. Latencies are dicts of LatencyStats (ms), `fps` is of frames to masks.

    `stages_ms`, `times_ms` and `throughput` are those of `bench_engines`. `layers` counts layers by what they run in,
    `layer_map` has them in the order of the network, and `evidence` says how sure that is, a key of EVIDENCE. The
    shares are of the multiply-accumulates that run in INT8 and in 16-bit floats, 0 to 1; `macs` are those of a frame.
    `energy` is None where no power could be read. `saturation` is that of an INT8 engine's most saturated tensors.
    `layer_times` are trtexec's, the slowest layer first.
    """

    name: str
    target: str
    precision: str
    size_hw: tuple[int, int]
    batch: int
    weights: str
    layers: dict[str, int]
    layer_map: tuple[LayerRun, ...]
    evidence: str
    int8_macs_share: float
    fp16_macs_share: float
    macs: int | None
    latency_ms: dict[str, float]
    frame_to_mask_ms: dict[str, float]
    stages_ms: dict[str, float]
    times_ms: dict[str, list[float]]
    fps: float
    throughput: dict[str, Any] | None
    bytes_on_disk: int
    footprint: Footprint
    energy: Energy | None = None
    accuracy: AccuracyReport | None = None
    details: FrameDetails | None = None
    saturation: tuple[Saturation, ...] = ()
    layer_times: tuple[LayerTime, ...] = ()

    @property
    def miou_percent(self) -> float | None:
        """The mean IoU in percent, or None where no accuracy was measured."""
        return None if self.accuracy is None else 100.0 * self.accuracy.miou

    @property
    def layer_text(self) -> str:
        """The layer counts in words, the most frequent first, and how sure they are."""
        ordered = sorted(self.layers.items(), key=lambda item: -item[1])
        counts = ", ".join(f"{count} {precision}" for precision, count in ordered) or "no layer is known"
        return f"{counts}: {EVIDENCE[self.evidence]}"


@dataclass(frozen=True)
class Intervals:
    """The 95 % intervals of an engine's mIoU and of its change against the first engine, 0 to 1."""

    miou: Interval | None = None
    change: Interval | None = None


@dataclass(frozen=True)
class Report:
    """The facts of several engines, on one machine and one data set. Changes are against the first engine.

    `measured_s` says how many seconds each part of the measuring took, `threads` how many CPU threads a run was given
    (None: all); `gate` compares with a baseline; `conditions` is what the machine was like while the latencies were
    measured, None where that was not sampled.
    """

    title: str
    date: str
    machine: dict[str, Any]
    engines: tuple[EngineFacts, ...]
    data: DataFacts | None = None
    threads: int | None = None
    measured_s: dict[str, float] = field(default_factory=dict)
    peers: tuple[Peer, ...] = ()
    gate: Gate | None = None
    conditions: Window | None = None

    @cached_property
    def intervals(self) -> tuple[Intervals, ...]:
        """Each engine's intervals, bootstrapped over the frames; the same frames are drawn for all, so paired."""
        drawn = [
            resampled_miou(engine.details.hits, engine.details.unions) if engine.details is not None else None
            for engine in self.engines
        ]
        first = drawn[0] if drawn else None
        names = [engine.details.names if engine.details is not None else () for engine in self.engines]
        return tuple(
            Intervals()
            if values is None
            else Intervals(
                interval(values),
                interval(values - first) if number and first is not None and names[number] == names[0] else None,
            )
            for number, values in enumerate(drawn)
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; pictures are left out."""
        return {
            "format": FORMAT,
            "title": self.title,
            "date": self.date,
            "machine": self.machine,
            "threads": self.threads,
            "data": None if self.data is None else asdict(self.data),
            "conditions": None if self.conditions is None else self.conditions.as_dict(),
            "measured_s": {name: round(seconds, 2) for name, seconds in self.measured_s.items()},
            "engines": [_engine_dict(engine, self.intervals[number]) for number, engine in enumerate(self.engines)],
            "peers": [asdict(peer) for peer in self.peers],
            "gate": None if self.gate is None else self.gate.as_dict(),
        }

    def markdown(self) -> str:
        """The report as Markdown."""
        from edgefsa.verify.report_markdown import markdown_text

        return markdown_text(self)

    def html(self) -> str:
        """The report as one HTML page; needs jinja2 and matplotlib."""
        from edgefsa.verify.report_page import html_page

        return html_page(self)

    def write(self, folder: str | Path) -> list[Path]:
        """Write report.json, report.md and report.html into `folder`, each whole or not at all."""
        texts = {
            "report.json": _json_text(self.as_dict()),
            "report.md": self.markdown(),
            "report.html": self.html(),
        }
        for name, text in texts.items():
            with atomic_file(Path(folder) / name) as partial:
                partial.write_text(text, encoding="utf-8")
        return [Path(folder) / name for name in texts]


def _engine_dict(engine: EngineFacts, intervals: Intervals) -> dict[str, Any]:
    details = engine.details
    plain = asdict(replace(engine, details=None))
    plain["times_ms"] = {name: [round(ms, 4) for ms in times] for name, times in engine.times_ms.items()}
    plain["intervals"] = asdict(intervals)
    del plain["details"]
    if details is not None:
        plain["boundary_iou"] = {"mean": details.mean_boundary_iou, "per_class": list(details.boundary_iou)}
        plain["confusion"] = details.confusion.tolist()
        plain["frames"] = {
            "names": list(details.names),
            "hits": details.hits.tolist(),
            "unions": details.unions.tolist(),
        }
        plain["worst_frames"] = [{"name": frame.name, "miou": frame.miou} for frame in details.worst]
    return plain


def _json_text(value: Mapping[str, Any]) -> str:
    """Write indented JSON with each list of numbers on one line."""

    def joined(found: re.Match[str]) -> str:
        return "[" + re.sub(r"\s+", " ", found[1]) + "]"

    return _NUMBERS.sub(joined, json.dumps(value, indent=1)) + "\n"
