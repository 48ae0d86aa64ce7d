"""A report on engines: what each costs in accuracy, what it gains in speed, and what it runs in.

`report_on_engines` measures; `Report.write` renders the same facts three times: report.json for scripts,
report.md for a repository, report.html (one file, no script, nothing loaded from elsewhere) for people. Drawing needs
the extra `report`.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgefsa.artifacts import atomic_file, write_json
from edgefsa.data.readers import Dataset
from edgefsa.engines.precision import EVIDENCE
from edgefsa.machine.description import cpu_in_words, gpu_in_words, machine_description
from edgefsa.machine.telemetry import Energy, Window, open_telemetry
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import AccuracyReport, evaluate
from edgefsa.verify.energy import INTERVAL_S
from edgefsa.verify.latency import bench_engines

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EngineFacts:
    """One engine's row: latencies are dicts of LatencyStats (ms), `fps` is of frames to masks.

    `layers` counts layers by what they run in, and `evidence` says how sure that is, a key of EVIDENCE. The shares are
    of the multiply-accumulates that run in INT8 and in 16-bit floats, 0 to 1. `energy` is None where no power could be
    read.
    """

    name: str
    target: str
    precision: str
    size_hw: tuple[int, int]
    weights: str
    layers: dict[str, int]
    evidence: str
    int8_macs_share: float
    fp16_macs_share: float
    latency_ms: dict[str, float]
    frame_to_mask_ms: dict[str, float]
    fps: float
    accuracy: AccuracyReport | None
    energy: Energy | None = None

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
class ClassTable:
    """IoU by class: `numbers` are the engines' places in the report, `rows` a class's name with its IoU on each.

    An IoU is 0 to 1, or None where neither labels nor predictions hold the class.
    """

    numbers: tuple[int, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


@dataclass(frozen=True)
class Report:
    """The facts of several engines, on one machine and one data set. Changes are against the first engine.

    `conditions` is what the machine was like while the latencies were measured; None where that was not sampled.
    """

    title: str
    date: str
    data: str
    machine: dict[str, Any]
    engines: tuple[EngineFacts, ...]
    conditions: Window | None = None

    table_head: ClassVar[tuple[str, ...]] = (
        "engine",
        "precision",
        "MACs in INT8 %",
        "mIoU %",
        "change",
        "pixel acc. %",
        "engine ms",
        "frame to mask ms",
        "p95 ms",
        "fps",
    )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def table(self) -> list[list[str]]:
        """The cells under `table_head`, one row an engine."""
        baseline = self.engines[0].miou_percent if self.engines else None
        return [_row(engine, baseline) for engine in self.engines]

    def notes(self) -> list[str]:
        """What a reader must know to judge the figures, one sentence each."""
        lines = [f"Measured on {cpu_in_words(self.machine)}, {self.machine['os']}; engines took turns in one run."]
        lines += [f"GPU: {gpu_in_words(gpu, self.machine.get('jetson'))}." for gpu in self.machine.get("gpus", ())]
        if self.conditions is not None and self.conditions.in_words():
            lines.append(f"Meanwhile {self.conditions.in_words()}.")
        lines += [f"Energy of {engine.name}: {engine.energy.in_words()}." for engine in self.engines if engine.energy]
        if any(engine.accuracy for engine in self.engines):
            frames = max(engine.accuracy.frames for engine in self.engines if engine.accuracy)
            lines.append(f"Accuracy on {frames} frames of {self.data}; changes are against the first engine.")
            unreadable = max(len(engine.accuracy.unreadable) for engine in self.engines if engine.accuracy)
            lines += [f"Files that could not be read, and are not in it: {unreadable}."] if unreadable else []
        if random := [engine.name for engine in self.engines if engine.weights == "random"]:
            lines.append(f"Of random weights, so that only the times mean something: {', '.join(random)}.")
        return lines

    def class_table(self) -> ClassTable:
        """The IoU of each class on each engine that has an accuracy."""
        measured = [(number, engine.accuracy) for number, engine in enumerate(self.engines) if engine.accuracy]
        names = dict.fromkeys(name for _, accuracy in measured for name in accuracy.per_class_iou)
        rows = tuple((name, tuple(accuracy.per_class_iou.get(name) for _, accuracy in measured)) for name in names)
        return ClassTable(tuple(number for number, _ in measured), rows)

    def markdown(self) -> str:
        """The report as Markdown."""
        head = ["| " + " | ".join(self.table_head) + " |", "|---|---" + "|---:" * (len(self.table_head) - 2) + "|"]
        rows = ["| " + " | ".join(map(_cell, cells)) + " |" for cells in self.table()]
        layers = [f"- {_cell(engine.name)}: {engine.layer_text}" for engine in self.engines]
        parts = [f"# {self.title}", "\n".join(f"- {note}" for note in self.notes()), "\n".join(head + rows)]
        parts += ["## IoU by class (%)", self._classes_markdown()] if any(e.accuracy for e in self.engines) else []
        parts += ["## What the layers run in", "\n".join(layers), f"{self.date}"]
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """The report as one HTML page; needs jinja2 and matplotlib."""
        from edgefsa.verify.report_page import html_page

        return html_page(self)

    def write(self, folder: str | Path) -> list[Path]:
        """Write report.json, report.md and report.html into `folder`, each whole or not at all."""
        folder = Path(folder)
        paths = [write_json(folder / "report.json", self.as_dict())]
        for name, text in (("report.md", self.markdown()), ("report.html", self.html())):
            with atomic_file(folder / name) as partial:
                partial.write_text(text, encoding="utf-8")
            paths.append(folder / name)
        return paths

    def _classes_markdown(self) -> str:
        found = self.class_table()
        names = [_cell(self.engines[number].name) for number in found.numbers]
        lines = ["| class | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
        for name, shares in found.rows:
            lines.append("| " + " | ".join([_cell(name), *map(percent, shares)]) + " |")
        return "\n".join(lines)


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 0 to 1 in percent, without the sign; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def _cell(text: str) -> str:
    """Write a name into Markdown so that it is neither markup nor the end of a cell."""
    return re.sub(r"([\\`\[\]<>|])", r"\\\1", " ".join(text.split()))


def report_on_engines(
    paths: Sequence[str | Path],
    dataset: Dataset | None = None,
    *,
    title: str = "edgefsa engines",
    rounds: int = 100,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure engines and, where a data set is given, their accuracy on it.

    `progress` is called with what is being done ("latency", or the engine's name), done and total.
    """

    def counted(step: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(step, done, total)

    with open_telemetry(INTERVAL_S) as telemetry:
        rows = bench_engines(paths, rounds=rounds, threads=threads, progress=counted("latency"), telemetry=telemetry)
    engines = []
    for row in rows:
        with Segmenter(row["engine"], threads=threads) as segmenter:
            name = Path(row["engine"]).name
            accuracy = None if dataset is None else evaluate(segmenter, dataset, counted(name))
            engines.append(_facts(name, segmenter, row, accuracy))
    data = "" if dataset is None else f"{dataset.name.partition(':')[0]} ({dataset.split})"
    conditions = Window(**rows[0]["conditions"])
    date = datetime.date.today().isoformat()
    return Report(title, date, data, machine_description(), tuple(engines), conditions)


def _facts(name: str, segmenter: Segmenter, row: dict[str, Any], accuracy: AccuracyReport | None) -> EngineFacts:
    session = segmenter.session
    manifest = session.manifest
    return EngineFacts(
        name=name,
        target=row["target"],
        precision=row["precision"],
        size_hw=session.size_hw,
        weights=str(segmenter.model.get("weights", {}).get("kind", "unknown")),
        layers=dict(Counter(layer.precision for layer in session.layer_precisions())),
        evidence=manifest.proof["evidence"],
        int8_macs_share=manifest.int8_macs_share,
        fp16_macs_share=manifest.fp16_macs_share,
        latency_ms=row["latency_ms"],
        frame_to_mask_ms=row["frame_to_mask_ms"],
        fps=row["fps"],
        accuracy=accuracy,
        energy=Energy(**row["energy"]) if row["energy"] else None,
    )


def _row(engine: EngineFacts, baseline: float | None) -> list[str]:
    miou = engine.miou_percent
    return [
        engine.name,
        engine.precision,
        percent(engine.int8_macs_share),
        "-" if miou is None else f"{miou:.2f}",
        "-" if miou is None or baseline is None else f"{miou - baseline:+.2f}",
        "-" if engine.accuracy is None else percent(engine.accuracy.pixel_accuracy, 2),
        f"{engine.latency_ms['median']:.2f}",
        f"{engine.frame_to_mask_ms['median']:.2f}",
        f"{engine.frame_to_mask_ms['p95']:.2f}",
        f"{engine.fps:.1f}",
    ]
