"""The tables and sentences of a report, the same in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.machine.description import cpu_in_words, gpu_in_words
from edgefsa.verify.bootstrap import RESAMPLES, Interval
from edgefsa.verify.gate import VERDICTS
from edgefsa.verify.peers import peer_letter
from edgefsa.verify.report import EngineFacts, Intervals, Report

NONE = "-"
_MIB = 2**20
_MOST_CONFUSIONS = 10
MOST_LAYERS = 12


@dataclass(frozen=True)
class Table:
    """A table of texts. The first `texts` columns are words, the others figures.

    `engines` has the place of each row's engine in the report where rows are engines; these rows begin with its name.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    engines: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ClassTable:
    """IoU by class: `numbers` are the engines' places in the report, `rows` a class's name with its IoU on each.

    An IoU is 0 to 1, or None where neither labels nor predictions hold the class.
    """

    numbers: tuple[int, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


@dataclass(frozen=True)
class Confusions:
    """What the pixels of each class were taken for: shares of the class's pixels, 0 to 1, None where it has none."""

    names: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 0 to 1 in percent, without the sign; "-" for None."""
    return NONE if share is None else f"{100 * share:.{digits}f}"


def notes(report: Report) -> list[str]:
    """Say what a reader must know to judge the figures, one sentence each."""
    machine = report.machine
    lines = [f"Measured on {cpu_in_words(machine)}, {machine['os']}; engines took turns in one run."]
    lines += [f"GPU: {gpu_in_words(gpu, machine.get('jetson'))}." for gpu in machine.get("gpus", ())]
    if report.conditions is not None and report.conditions.in_words():
        lines.append(f"Meanwhile {report.conditions.in_words()}.")
    lines += [f"Energy of {engine.name}: {engine.energy.in_words()}." for engine in report.engines if engine.energy]
    accuracies = [engine.accuracy for engine in report.engines if engine.accuracy]
    if accuracies:
        frames = max(accuracy.frames for accuracy in accuracies)
        lines.append(
            f"Accuracy on {frames} frames of {report.data}; changes are against the first engine. Intervals hold 95 % "
            f"of {RESAMPLES:,} samples of these frames (bootstrap), the same samples for all engines."
        )
        unreadable = max(len(accuracy.unreadable) for accuracy in accuracies)
        lines += [f"Files that could not be read, and are not in it: {unreadable}."] if unreadable else []
        found = dict.fromkeys(note for accuracy in accuracies for note in accuracy.notes)
        lines += [f"{note[:1].upper()}{note[1:]}." for note in found]
    if random := [engine.name for engine in report.engines if engine.weights == "random"]:
        lines.append(f"Of random weights, so that only the times mean something: {', '.join(random)}.")
    if report.measured_s:
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.measured_s.items())
        lines.append(f"Measuring took {sum(report.measured_s.values()):.0f} s: {parts}.")
    return lines


def summary_table(report: Report) -> Table:
    """One row an engine, with what is asked for first."""
    base = report.engines[0].miou_percent if report.engines else None

    def row(engine: EngineFacts, intervals: Intervals) -> list[str]:
        return [
            engine.precision,
            _points(engine.miou_percent),
            _change(engine.miou_percent, base, intervals.change),
            f"{engine.frame_to_mask_ms['median']:.2f}",
            f"{engine.fps:.1f}",
            _whole(engine.footprint.peak_rss_mib),
            percent(engine.int8_macs_share),
        ]

    return _engine_table(
        report,
        "Each engine in short",
        ("precision", "mIoU %", "change (95 % interval)", "frame to mask ms", "fps", "memory MiB", "INT8 MACs %"),
        row,
        texts=2,
    )


def accuracy_table(report: Report) -> Table:
    """The measures of accuracy of each engine, with intervals."""

    def row(engine: EngineFacts, intervals: Intervals) -> list[str]:
        details, accuracy = engine.details, engine.accuracy
        worst = details.worst[0] if details is not None and details.worst else None
        return [
            _points(engine.miou_percent),
            _interval(intervals.miou),
            _verdict(intervals.change),
            percent(None if details is None else details.mean_boundary_iou, 2),
            percent(None if accuracy is None else accuracy.pixel_accuracy, 2),
            NONE if worst is None else f"{percent(worst.miou)} ({worst.name})",
        ]

    head = ("mIoU %", "95 % interval", "against the first", "boundary IoU %", "pixel acc. %", "worst frame, mIoU %")
    return _engine_table(report, "Accuracy of each engine", head, row)


def speed_table(report: Report) -> Table:
    """Times and rates of each engine; copies are a stage where there are any."""
    names = stage_names(report.engines)

    def row(engine: EngineFacts, intervals: Intervals) -> list[str]:
        stages, frame, burst = engine.stages_ms, engine.frame_to_mask_ms, engine.throughput
        return [
            str(engine.batch),
            f"{engine.latency_ms['median']:.2f}",
            *(f"{stages[name]:.2f}" for name in names),
            *(f"{frame[name]:.2f}" for name in ("median", "p95", "p99")),
            f"{engine.fps:.1f}",
            NONE if burst is None else f"{burst['fps']:.1f} ({burst['in_flight']})",
        ]

    head = (
        *("batch", "engine alone ms", *(f"{name} ms" for name in names)),
        *("frame to mask ms", "p95 ms", "p99 ms", "fps", "engine fps (in flight)"),
    )
    caption = "Latency of each engine and its stages, medians of a batch, and frames a second"
    return _engine_table(report, caption, head, row)


def cost_table(report: Report) -> Table:
    """What each engine takes: multiplications, bytes, memory, energy where it was measured."""
    with_energy = any(engine.energy for engine in report.engines)

    def row(engine: EngineFacts, intervals: Intervals) -> list[str]:
        footprint, energy = engine.footprint, engine.energy
        return [
            NONE if engine.macs is None else f"{engine.macs / 1e9:.2f}",
            percent(engine.int8_macs_share),
            percent(engine.fp16_macs_share),
            f"{engine.bytes_on_disk / _MIB:.1f}",
            _whole(footprint.peak_rss_mib),
            f"{footprint.open_s:.2f}",
            f"{footprint.first_run_ms:.0f}",
            *([NONE if energy is None else f"{1000 * energy.joules_per_frame:.1f}"] if with_energy else []),
        ]

    head = (
        *("GMACs", "INT8 MACs %", "16-bit MACs %", "disk MiB", "peak memory MiB", "to open s", "first run ms"),
        *(["mJ a frame, above idle"] if with_energy else []),
    )
    return _engine_table(report, "Size, memory and energy of each engine, in a process of its own", head, row)


def stage_names(engines: Sequence[EngineFacts]) -> list[str]:
    """Return the stages from frame to mask that take time on some engine, in their order."""
    names = engines[0].stages_ms if engines else ()
    return [name for name in names if any(engine.stages_ms[name] for engine in engines)]


def layer_table(report: Report) -> Table:
    """What the layers of each engine run in, in words."""
    caption = "What the layers of each engine run in"
    return _engine_table(report, caption, ("layers",), lambda engine, _: [engine.layer_text], texts=2)


def saturation_table(report: Report) -> Table:
    """The tensors of each INT8 engine with the most values beyond their calibrated ranges."""
    found = [(number, row) for number, engine in enumerate(report.engines) for row in engine.saturation]
    rows = tuple(
        (
            report.engines[number].name,
            "beyond" if row.drifted else "within",
            row.tensor,
            row.block,
            row.worst_frame if row.worst_share else NONE,
            percent(row.share, 3),
            percent(row.calibrated, 3),
            f"{row.reach:.2f}" if row.share else NONE,
            percent(row.worst_share, 3),
        )
        for number, row in found
    )
    head = (
        *("engine", "ranges", "tensor", "block", "worst frame", "% of values beyond"),
        *("% at calibration", "times as far", "% on the worst frame"),
    )
    caption = "The tensors with the most values beyond the range that was calibrated, on some frames"
    return Table(caption, head, rows, texts=5, engines=tuple(number for number, _ in found))


def layer_time_table(engine: EngineFacts) -> Table:
    """The layers that take the most time of an engine, by trtexec's profile, and what is left."""
    timed = [layer for layer in engine.layer_times if layer.time_ms is not None]
    shown, rest = timed[:MOST_LAYERS], timed[MOST_LAYERS:]
    rows = [(layer.name, layer.kind, layer.precision, _ms(layer.time_ms), percent(layer.share)) for layer in shown]
    if rest:
        time_ms, share = (sum(values) for values in zip(*((x.time_ms or 0, x.share or 0) for x in rest), strict=True))
        rows.append((f"{len(rest)} more layers", NONE, NONE, _ms(time_ms), percent(share)))
    caption = f"The slowest layers of {engine.name}, by trtexec's profile"
    return Table(caption, ("layer", "kind", "runs in", "ms", "% of the time"), tuple(rows), texts=3)


def peer_table(report: Report) -> Table:
    """The user's own figures of other networks."""
    rows = tuple(
        (peer_letter(place), peer.name, peer.note, f"{peer.miou_percent:.2f}", f"{peer.frame_to_mask_ms:.2f}")
        for place, peer in enumerate(report.peers)
    )
    caption = "Peers: figures that were handed in, not measured here"
    return Table(caption, ("", "network", "note", "mIoU %", "frame to mask ms"), rows, texts=3)


def gate_table(report: Report) -> Table:
    """Each comparison with the baseline, what got worse first."""
    assert report.gate is not None
    numbers = {engine.name: number for number, engine in enumerate(report.engines)}
    ordered = sorted(report.gate.comparisons, key=lambda item: VERDICTS.index(item.verdict))
    rows = tuple(
        (
            item.engine,
            item.figure,
            item.verdict,
            f"{item.before:.2f}",
            f"{item.now:.2f}",
            f"{item.loss:+.2f}{item.unit}",
            f"{item.low:+.2f} to {item.high:+.2f}{item.unit}",
            NONE if item.limit is None else f"{item.limit:g}{item.unit}",
        )
        for item in ordered
    )
    head = ("engine", "figure", "verdict", "baseline", "now", "worse by", "interval", "allowed")
    return Table(f"Against {report.gate.baseline}", head, rows, 3, tuple(numbers[item.engine] for item in ordered))


def class_table(report: Report) -> ClassTable:
    """The IoU of each class on each engine that has an accuracy."""
    measured = [(number, engine.accuracy) for number, engine in enumerate(report.engines) if engine.accuracy]
    names = dict.fromkeys(name for _, accuracy in measured for name in accuracy.per_class_iou)
    rows = tuple((name, tuple(accuracy.per_class_iou.get(name) for _, accuracy in measured)) for name in names)
    return ClassTable(tuple(number for number, _ in measured), rows)


def confusions(engine: EngineFacts) -> Confusions:
    """The confusion matrix of an engine that has details, as shares of each true class."""
    assert engine.details is not None
    counts: npt.NDArray[Any] = engine.details.confusion
    totals = counts.sum(axis=1)
    rows = [
        tuple(float(count / total) if total else None for count in row)
        for row, total in zip(counts, totals, strict=True)
    ]
    return Confusions(engine.details.classes.names, tuple(rows))


def largest_confusions(engine: EngineFacts) -> Table:
    """The pairs of classes that an engine confuses in the most pixels."""
    assert engine.details is not None
    names, counts = engine.details.classes.names, engine.details.confusion.copy()
    np.fill_diagonal(counts, 0)
    totals, wrong = engine.details.confusion.sum(axis=1), max(int(counts.sum()), 1)
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    places = [divmod(int(place), len(names)) for place in order]
    rows = tuple(
        (names[true], names[taken], percent(counts[true, taken] / totals[true]), percent(counts[true, taken] / wrong))
        for true, taken in places
        if counts[true, taken]
    )
    head = ("class", "taken for", "% of the class", "% of all wrong pixels")
    return Table(f"What {engine.name} confuses most", head, rows, texts=2)


def _engine_table(
    report: Report,
    caption: str,
    head: Sequence[str],
    row: Callable[[EngineFacts, Intervals], list[str]],
    texts: int = 1,
) -> Table:
    rows = tuple(
        (engine.name, *row(engine, intervals))
        for engine, intervals in zip(report.engines, report.intervals, strict=True)
    )
    return Table(caption, ("engine", *head), rows, texts, tuple(range(len(rows))))


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _points(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _change(value: float | None, base: float | None, limits: Interval | None) -> str:
    if value is None or base is None:
        return NONE
    return f"{value - base:+.2f}" + (f" ({_interval(limits, signed=True)})" if limits is not None else "")


def _whole(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


def _interval(limits: Interval | None, signed: bool = False) -> str:
    if limits is None:
        return NONE
    return " to ".join(f"{100 * limit:{'+' if signed else ''}.2f}" for limit in limits)


def _verdict(change: Interval | None) -> str:
    """Say whether a change is more than what other frames of the same kind would have made of it."""
    if change is None:
        return NONE
    return "better" if change[0] > 0 else "worse" if change[1] < 0 else "within noise"
