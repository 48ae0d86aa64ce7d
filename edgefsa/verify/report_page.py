"""The HTML form of a report: one page from a template, with two drawings. Needs jinja2 and matplotlib."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from edgefsa.verify.figures import axes_of_size, colour, style, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from edgefsa.verify.report import EngineFacts, Report

TEMPLATE_NAME = "report.html.j2"
# Points of 1/72 inch. A number is tried beside its point first, then above and below, then further away.
_POINT_SIZE, _LABEL_SIZE = 9.0, (14.0, 10.0)
_PLACES = [
    (13.0 * far * across, 11.0 * far * up)
    for far in (1, 2, 3)
    for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
]


def html_page(report: Report) -> str:
    """Render a report as one HTML page; nothing in it is loaded from elsewhere, and names in it are no markup."""
    source = importlib.resources.files(__package__).joinpath(TEMPLATE_NAME).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    measured = any(engine.accuracy for engine in report.engines)
    page: str = environment.from_string(source).render(
        report=report,
        classes=report.class_table() if measured else None,
        tradeoff=Markup(accuracy_latency_svg(report.engines)) if measured else None,
        latency=Markup(latency_svg(report.engines)) if report.engines else None,
        colour=colour,
    )
    return page + "\n"


def accuracy_latency_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw mIoU (%) over the median frame-to-mask time (ms): a point with the number of each engine that has both."""
    points = [
        (number, engine.frame_to_mask_ms["median"], miou)
        for number, engine in enumerate(engines, start=1)
        if (miou := engine.miou_percent) is not None
    ]
    with style():
        figure, axes = axes_of_size(8.6, 3.8)
        for number, time_ms, miou in points:
            axes.plot(time_ms, miou, "o", color=colour(number - 1), markersize=8, gid=f"point-{number}")
        axes.set(xlabel="frame to mask, median ms", ylabel="mIoU, %", xlim=(0, 1.12 * max(t for _, t, _ in points)))
        axes.margins(y=0.15)
        figure.draw_without_rendering()
        _number_points(axes, points)
        return svg_of(figure, "tradeoff", "mean IoU over frame-to-mask time")


def _number_points(axes: Axes, points: Sequence[tuple[int, float, float]]) -> None:
    """Write each point's number beside it, in the first place around it that no point and no other number takes."""
    per_pixel = 72.0 / axes.figure.dpi
    centres = [tuple(per_pixel * axes.transData.transform((x, y))) for _, x, y in points]
    taken = [_box(x, y, _POINT_SIZE, _POINT_SIZE) for x, y in centres]
    for (number, x, y), (across, up) in zip(points, centres, strict=True):
        boxes = {place: _box(across + place[0], up + place[1], *_LABEL_SIZE) for place in _PLACES}
        free = (place for place, box in boxes.items() if not any(_overlap(box, other) for other in taken))
        place = next(free, _PLACES[0])
        taken.append(boxes[place])
        text = axes.annotate(str(number), (x, y), place, textcoords="offset points", ha="center", va="center")
        text.set_gid(f"number-{number}")


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def latency_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw a bar for each engine's median frame-to-mask time (ms), with a line on to the 95th percentile."""
    rows = list(range(len(engines)))
    medians = [engine.frame_to_mask_ms["median"] for engine in engines]
    slow = [max(engine.frame_to_mask_ms["p95"] - median, 0.0) for engine, median in zip(engines, medians, strict=True)]
    with style():
        figure, axes = axes_of_size(8.6, 0.9 + 0.27 * len(engines))
        bars = axes.barh(rows, medians, height=0.7, color=[colour(row) for row in rows])
        for row, bar in enumerate(bars):
            bar.set_gid(f"bar-{row + 1}")
        axes.errorbar(medians, rows, xerr=([0.0] * len(rows), slow), fmt="none", ecolor="#7a8794", capsize=3)
        for row, median in enumerate(medians):
            axes.annotate(f"{median:.1f}", (median + slow[row], row), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(rows, [str(row + 1) for row in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="frame to mask, ms: median, and on to the 95th percentile")
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
        return svg_of(figure, "latency", "frame-to-mask time of each engine")
