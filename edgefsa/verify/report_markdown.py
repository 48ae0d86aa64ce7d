"""The Markdown form of a report."""

from __future__ import annotations

import re

from edgefsa.verify import report_tables as tables
from edgefsa.verify.report import Report
from edgefsa.verify.report_tables import Table, percent


def markdown_text(report: Report) -> str:
    """Render a report as Markdown; names in it are no markup."""
    parts = [f"# {_cell(report.title)}", "\n".join(f"- {_cell(note)}" for note in tables.notes(report))]
    parts.append(_table(tables.summary_table(report)))
    if report.gate is not None:
        parts += ["## Against the baseline", _table(tables.gate_table(report))]
        parts += ["\n".join(f"- {_cell(note)}" for note in report.gate.notes)] if report.gate.notes else []
    if report.peers:
        parts += ["## Peers", _table(tables.peer_table(report))]
    if any(engine.accuracy for engine in report.engines):
        parts += ["## Accuracy", _table(tables.accuracy_table(report))]
        parts += ["## IoU by class (%)", _classes(report)]
        parts += [
            _table(tables.largest_confusions(engine)) for engine in report.engines[:1] if engine.details is not None
        ]
    parts += ["## Speed", _table(tables.speed_table(report)), "## Size and memory", _table(tables.cost_table(report))]
    if any(engine.saturation for engine in report.engines):
        parts += ["## Calibrated ranges", _table(tables.saturation_table(report))]
    parts += ["## What the layers run in", _table(tables.layer_table(report))]
    timed = [engine for engine in report.engines if any(layer.time_ms for layer in engine.layer_times)]
    parts += ["## Where the time goes", *(_table(tables.layer_time_table(engine)) for engine in timed)] if timed else []
    parts.append(report.date)
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    lines = [table.caption + ":", "", _row(table.head)]
    lines.append("|" + "---|" * table.texts + "---:|" * (len(table.head) - table.texts))
    return "\n".join([*map(_cell, lines[:1]), *lines[1:], *map(_row, table.rows)])


def _classes(report: Report) -> str:
    found = tables.class_table(report)
    lines = [_row(["class", *(report.engines[number].name for number in found.numbers)])]
    lines.append("|---|" + "---:|" * len(found.numbers))
    return "\n".join([*lines, *(_row([name, *map(percent, shares)]) for name, shares in found.rows)])


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Write a text so that it is neither markup nor the end of a cell."""
    return re.sub(r"([\\`\[\]<>|])", r"\\\1", " ".join(text.split()))
