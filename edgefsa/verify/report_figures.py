"""The drawings of a report, each as SVG: engines go by their numbers, which the tables around them explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from edgefsa.verify.figures import axes_of_size, colour, style, svg_of
from edgefsa.verify.peers import peer_letter
from edgefsa.verify.report_tables import MOST_LAYERS, stage_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edgefsa.verify.peers import Peer
    from edgefsa.verify.report import EngineFacts, Report

_WIDTH = 10.5
_GREY = "#7a8794"
_LONGEST_NAME = 44
# Points of 1/72 inch. A number is tried above its point first, clear of the line, then around it, then further away.
_POINT_SIZE, _LABEL_SIZE = 9.0, (14.0, 10.0)
_PLACES = [
    (13.0 * far * across, 11.0 * far * up)
    for far in (1, 2, 3)
    for across, up in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
]
_STAGES = {
    "prepare": ("fit the frame", "#a8901f"),
    "copy": ("copies", "#c14b55"),
    "engine": ("engine", "#2f7fc1"),
    "mask": ("mask to frame", "#b87aa6"),
}
_PRECISION_COLOURS = {"int8": "#009e73", "f16": "#56a6d9", "bf16": "#56a6d9", "f32": "#d9762b", "other": _GREY}


def accuracy_latency_svg(engines: Sequence[EngineFacts], peers: Sequence[Peer] = ()) -> str:
    """Draw mIoU (%) over the median frame-to-mask time (ms): a point with the number of each engine that has both.

    A line joins the engines that no other beats in both; peers are hollow, with letters.
    """
    numbered = [(number, engine) for number, engine in enumerate(engines, start=1) if engine.miou_percent is not None]
    points = [
        (str(number), engine.frame_to_mask_ms["median"], engine.miou_percent or 0.0) for number, engine in numbered
    ]
    lettered = [(peer_letter(place), peer.frame_to_mask_ms, peer.miou_percent) for place, peer in enumerate(peers)]
    with style():
        figure, axes = axes_of_size(_WIDTH, 3.8)
        best = front([(time_ms, miou) for _, time_ms, miou in points])
        axes.step(*zip(*best, strict=True), where="post", color=_GREY, linewidth=1, linestyle="--", zorder=1)
        for name, time_ms, miou in points:
            axes.plot(time_ms, miou, "o", color=colour(int(name) - 1), markersize=8, gid=f"point-{name}")
        for name, time_ms, miou in lettered:
            axes.plot(time_ms, miou, "D", color=_GREY, markerfacecolor="none", markersize=7, gid=f"peer-{name}")
        longest = max(time_ms for _, time_ms, _ in [*points, *lettered])
        axes.set(xlabel="frame to mask, median ms", ylabel="mIoU, %", xlim=(0, 1.12 * longest))
        axes.margins(y=0.15)
        figure.draw_without_rendering()
        _name_points(axes, [*points, *lettered])
        fastest, best_point = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[2])
        label = (
            f"mean IoU over frame-to-mask time of {len(points)} engines and {len(lettered)} peers; engine {fastest[0]} "
            f"is the fastest with {fastest[1]:.1f} ms, engine {best_point[0]} the best with {best_point[2]:.1f} %"
        )
        return svg_of(figure, "tradeoff", label)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those points (time, accuracy) that no other beats in both, the fastest first."""
    best: list[tuple[float, float]] = []
    for time_ms, miou in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or miou > best[-1][1]:
            best.append((time_ms, miou))
    return best


def _name_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write each point's name beside it, in the first place around it that no point and no other name takes."""
    per_pixel = 72.0 / axes.figure.dpi
    centres = [tuple(per_pixel * axes.transData.transform((x, y))) for _, x, y in points]
    taken = [_box(x, y, _POINT_SIZE, _POINT_SIZE) for x, y in centres]
    for (name, x, y), (across, up) in zip(points, centres, strict=True):
        boxes = {place: _box(across + place[0], up + place[1], *_LABEL_SIZE) for place in _PLACES}
        free = (place for place, box in boxes.items() if not any(_overlap(box, other) for other in taken))
        place = next(free, _PLACES[0])
        taken.append(boxes[place])
        text = axes.annotate(name, (x, y), place, textcoords="offset points", ha="center", va="center")
        text.set_gid(f"number-{name}")


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def interval_svg(report: Report) -> str:
    """Draw each engine's mIoU (%) with its 95 % interval."""
    with style():
        figure, axes = axes_of_size(_WIDTH, _rows_height(len(report.engines)))
        for row, (engine, intervals) in enumerate(zip(report.engines, report.intervals, strict=True)):
            if intervals.miou is None or engine.miou_percent is None:
                continue
            low, high = (100.0 * limit for limit in intervals.miou)
            axes.plot((low, high), (row, row), color=colour(row), linewidth=2.5, gid=f"interval-{row + 1}")
            axes.plot(engine.miou_percent, row, "o", color=colour(row), markersize=7, gid=f"miou-{row + 1}")
            axes.annotate(f"{engine.miou_percent:.2f}", (high, row), (6, 0), textcoords="offset points", va="center")
        _number_rows(axes, len(report.engines), "mIoU, %, and its 95 % interval")
        return svg_of(figure, "interval", "mean IoU of each engine with its 95 % interval, as in the table below")


def stages_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw a bar for each engine's way from frame to mask (ms): its stages, with the medians' sum written out."""
    names = stage_names(engines)
    with style():
        figure, axes = axes_of_size(_WIDTH, _rows_height(len(engines)) + 0.3)
        for row, engine in enumerate(engines):
            left = 0.0
            for name in names:
                (bar,) = axes.barh(row, engine.stages_ms[name], left=left, height=0.66, color=_STAGES[name][1])
                bar.set_gid(f"{name}-{row + 1}")
                left += engine.stages_ms[name]
            axes.annotate(f"{left:.1f}", (left, row), (5, 0), textcoords="offset points", va="center")
        _number_rows(axes, len(engines), "ms, medians")
        axes.set_xlim(left=0)
        _legend(axes, [Patch(color=shade, label=words) for words, shade in map(_STAGES.__getitem__, names)])
        return svg_of(figure, "stages", "what the time from frame to mask is made of, as in the table below")


def distribution_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw how each engine's frame-to-mask times (ms) spread: 5 to 95 % of rounds, the middle half, the median."""
    with style():
        figure, axes = axes_of_size(_WIDTH, _rows_height(len(engines)))
        for row, engine in enumerate(engines):
            marks = np.percentile(engine.times_ms["frame_to_mask"], [5, 25, 50, 75, 95])
            axes.hlines(row, marks[0], marks[4], color=colour(row), linewidth=1.5).set_gid(f"spread-{row + 1}")
            axes.hlines(row, marks[1], marks[3], color=colour(row), linewidth=9).set_gid(f"half-{row + 1}")
            axes.plot(marks[2], row, "|", color="white", markersize=9, markeredgewidth=2, gid=f"median-{row + 1}")
        _number_rows(axes, len(engines), "frame to mask, ms")
        axes.set_xlim(left=0)
        return svg_of(figure, "distribution", "spread of the frame-to-mask times of each engine; see the table below")


def layers_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw what each engine's layers run in, in the order of the network; those that multiply are tall."""
    used = {_shown_precision(run.precision) for engine in engines for run in engine.layer_map}
    shades = {name: shade for name, shade in _PRECISION_COLOURS.items() if name in used}
    with style():
        figure, axes = axes_of_size(_WIDTH, _rows_height(len(engines)) + 0.3)
        for row, engine in enumerate(engines):
            total, begun = sum(run.count for run in engine.layer_map), 0
            for run in engine.layer_map:
                left, width, height = 100 * begun / total, 100 * run.count / total, 0.76 if run.multiplies else 0.3
                axes.barh(
                    row, width, left=left, height=height, color=shades[_shown_precision(run.precision)], linewidth=0
                )
                begun += run.count
        _number_rows(axes, len(engines), "layers in the order of the network, % (tall: convolutions and products)")
        axes.set_xlim(0, 100)
        _legend(axes, [Patch(color=shade, label=name) for name, shade in shades.items()])
        return svg_of(figure, "layers", "what the layers of each engine run in, in their order; see the table below")


def layer_times_svg(engine: EngineFacts, name: str) -> str:
    """Draw the share of the time (%) that each of an engine's slowest layers takes, and all others together."""
    timed = [layer for layer in engine.layer_times if layer.share is not None]
    rows = [(_shortened(layer.name), _shown_precision(layer.precision), layer.share or 0) for layer in timed]
    shown, rest = rows[:MOST_LAYERS], rows[MOST_LAYERS:]
    if rest:
        shown = [*shown, (f"{len(rest)} more layers", "other", sum(share for *_, share in rest))]
    used = dict.fromkeys(precision for _, precision, _ in shown)
    with style():
        figure, axes = axes_of_size(_WIDTH, _rows_height(len(shown)) + 0.3)
        for row, (_, precision, share) in enumerate(shown):
            (bar,) = axes.barh(row, 100 * share, height=0.7, color=_PRECISION_COLOURS[precision])
            bar.set_gid(f"{name}-{row + 1}")
            axes.annotate(f"{100 * share:.1f}", (100 * share, row), (5, 0), textcoords="offset points", va="center")
        _number_rows(axes, len(shown), "% of the time")
        axes.set_yticks(range(len(shown)), [words for words, *_ in shown])
        axes.set_xlim(left=0)
        _legend(axes, [Patch(color=_PRECISION_COLOURS[precision], label=precision) for precision in used])
        return svg_of(figure, name, f"the slowest layers of {engine.name}, as in the table below")


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _shown_precision(name: str) -> str:
    """Return the name under which a precision is drawn: layers on indices and masks are neither of the usual."""
    return name if name in _PRECISION_COLOURS else "other"


def _rows_height(rows: int) -> float:
    return 0.9 + 0.27 * rows


def _number_rows(axes: Axes, rows: int, label: str) -> None:
    axes.set_yticks(range(rows), [str(row + 1) for row in range(rows)])
    axes.set(ylim=(rows - 0.4, -0.6), xlabel=label)
    axes.margins(x=0.1)
    axes.grid(axis="y", visible=False)


def _legend(axes: Axes, handles: Sequence[Line2D | Patch]) -> None:
    if handles:
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles), borderaxespad=0)
