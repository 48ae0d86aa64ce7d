"""What `edgefsa parity` prints for people."""

from __future__ import annotations

from edgefsa import console
from edgefsa.verify.parity import Fault, ParityReport, StageParity

_HEAD = ("stage", "against", "relative L2", "cosine", "max", "same class", "at borders", "bound", "")

_NODES_NAMED = 8


def parity_text(report: ParityReport) -> str:
    """Return the table of stages, of IoU where there were labels, and what was found."""
    parts = [console.table(_HEAD, [_row(stage) for stage in report.stages])]
    last = report.stages[-1]
    if last.to_first is not None and last.against != report.first:
        figures = last.to_first.distance.in_words()
        parts.append(f"{last.stage} against {report.first}: {figures}")
    parts += _iou(report)
    parts.append("every stage keeps to its bound" if report.fault is None else _fault(report.fault))
    return "\n\n".join(parts)


def _row(stage: StageParity) -> list[str]:
    verdict = "BEYOND" if stage.faults else "ok"
    if stage.to_previous is None or stage.bound is None:
        tensors = stage.tensors
        same = "-" if tensors is None else f"{tensors.compared - tensors.different} of {tensors.compared} weights"
        return [stage.stage, stage.against, "-", "-", "-", same, "-", "all", verdict]
    near = stage.to_previous
    return [
        stage.stage,
        stage.against,
        "masks only" if near.relative_l2 is None else f"{near.relative_l2:.1e}",
        "-" if near.cosine is None else f"{near.cosine:.6f}",
        "-" if near.max_abs is None else f"{near.max_abs:.2g}",
        _percent(near.agreement),
        _percent(near.at_borders),
        f"{stage.bound.relative_l2:.1e}, {_percent(stage.bound.agreement)}",
        verdict,
    ]


def _iou(report: ParityReport) -> list[str]:
    last = report.stages[-1]
    if last.iou is None or last.iou_change is None:
        return []
    rows = []
    for name, iou in last.iou.items():
        change = last.iou_change[name]
        rows.append([name, _percent(iou, "", 2), "-" if change is None else f"{100 * change:+.2f}"])
    known = [iou for iou in last.iou.values() if iou is not None]
    changes = [change for change in last.iou_change.values() if change is not None]
    mean = [_percent(sum(known) / max(len(known), 1), "", 2), f"{100 * sum(changes) / max(len(changes), 1):+.2f}"]
    return [console.table(["class", f"IoU % of {last.stage}", f"against {report.first}"], [*rows, ["mean", *mean]])]


def _fault(fault: Fault) -> str:
    lines = [fault.in_words()]
    said = "is off by" in fault.why
    if fault.error is not None and fault.error_before is not None and not said:
        lines.append(f"  the block's end is off by {fault.error:.2g}, what it reads by {fault.error_before:.2g}")
    if fault.nodes:
        named = ", ".join(fault.nodes[:_NODES_NAMED])
        lines.append(f"  nodes: {named}{' ...' if len(fault.nodes) > _NODES_NAMED else ''}")
    lines += [f"  looks like {hint}" for hint in fault.hints]
    lines += [f"  ({fault.note})"] if fault.note else []
    return "\n".join(lines)


def _percent(share: float | None, sign: str = " %", digits: int = 2) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}{sign}"
