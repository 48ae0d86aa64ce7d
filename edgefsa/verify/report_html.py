"""The HTML form of a report: one self-contained page with a table and two drawings (inline SVG)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefsa.verify.report import EngineFacts, Report

_COLOURS = ("#2f6db3", "#d9762b", "#3f9b63", "#8b5fb5", "#c14b55", "#64748b", "#a9882c", "#2a9d9d")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2530; max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
ul.notes { color: #56606d; padding-left: 1.1rem; margin-top: 0; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid #e3e7ec; }
td { white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
th { color: #56606d; font-weight: 600; border-bottom-color: #b8c0ca; vertical-align: bottom; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #1d2530; }
svg .muted { fill: #66707d; } svg .grid { stroke: #e3e7ec; } svg .axis { stroke: #9aa4b0; }
.swatch { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .45em; }
p.legend span.item { margin-right: 1.2em; white-space: nowrap; }
footer { margin-top: 2.5rem; color: #66707d; font-size: .85rem; }
"""


def html_page(report: Report) -> str:
    """Render a report as one HTML page; nothing in it is loaded from elsewhere."""
    body = [f"<h1>{escape(report.title)}</h1>", _list(report.notes(), "notes")]
    if any(engine.accuracy for engine in report.engines):
        body += ["<h2>Accuracy against time</h2>", accuracy_latency_svg(report.engines)]
    body += ["<h2>Engines</h2>", _table(report)]
    if any(engine.accuracy for engine in report.engines):
        body += ["<h2>IoU by class (%)</h2>", _legend(report.engines), class_iou_svg(report.engines)]
    layers = [f"{engine.name}: {engine.layer_text}" for engine in report.engines]
    body += ["<h2>What the layers run in</h2>", _list(layers, "layers")]
    packages = ", ".join(f"{name} {version}" for name, version in report.machine.get("packages", {}).items())
    body.append(f"<footer>{escape(report.date)}. {escape(packages)}</footer>")
    title, page = escape(report.title), "\n".join(body)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
{page}
</body>
</html>
"""


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share of 0 to 1 in percent, without the sign; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def accuracy_latency_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw mIoU (%) over the median frame-to-mask time (ms), a labelled point for each engine with an accuracy."""
    points = [(engine, engine.frame_to_mask_ms["median"], engine.miou_percent) for engine in engines]
    known = [(engine, time_ms, miou) for engine, time_ms, miou in points if miou is not None]
    width, height, left, right, top, bottom = 900, 340, 60, 20, 16, 46
    x_max = 1.25 * max(time_ms for _, time_ms, _ in known)
    low, high = min(miou for *_, miou in known), max(miou for *_, miou in known)
    margin = max(1.0, 0.25 * (high - low))
    y_min, y_max = max(0.0, low - margin), min(100.0, high + margin)

    def place(time_ms: float, miou: float) -> tuple[float, float]:
        x = left + (width - left - right) * time_ms / x_max
        return x, top + (height - top - bottom) * (y_max - miou) / (y_max - y_min)

    parts = []
    for value in _ticks(y_min, y_max):
        y = place(0, value)[1]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="muted" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    base = height - bottom
    for value in _ticks(0, x_max):
        x = place(value, y_min)[0]
        parts.append(f'<text class="muted" x="{x:.1f}" y="{base + 18}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<line class="axis" x1="{left}" x2="{width - right}" y1="{base}" y2="{base}"/>')
    parts.append(f'<text class="muted" x="{width - right}" y="{height - 8}" text-anchor="end">frame to mask, ms</text>')
    parts.append(f'<text class="muted" x="{left + 6}" y="{top + 2}">mIoU, %</text>')
    labels = _short_names(engines)
    colours = {engine.name: _colour(index) for index, engine in enumerate(engines)}
    marks = [(*place(x, y), labels[engine.name], colours[engine.name]) for engine, x, y in known]
    return _svg(width, height, "mean IoU over frame-to-mask time", parts + _labelled_points(marks))


def _short_names(engines: Sequence[EngineFacts]) -> dict[str, str]:
    """Label engines by target and precision where that tells them apart."""
    short = {engine.name: f"{engine.target} {engine.precision}" for engine in engines}
    return short if len(set(short.values())) == len(engines) else {name: name for name in short}


def _labelled_points(points: Sequence[tuple[float, float, str, str]]) -> list[str]:
    """Draw points (x, y, label, colour), a label moved down where it would cover a point or a label."""
    parts: list[str] = []
    placed = [(x - 6, y + 4, 12.0) for x, y, _, _ in points]
    for x, y, label, colour in sorted(points, key=lambda point: point[1]):
        left, text_y, width = x + 10, y + 4, 7.0 * len(label)
        for other_left, other_y, other_width in sorted(placed, key=lambda box: box[1]):
            if left < other_left + other_width and other_left < left + width and abs(text_y - other_y) < 15:
                text_y = other_y + 15
        placed.append((left, text_y, width))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"/>')
        parts.append(f'<text x="{left:.1f}" y="{text_y:.1f}">{escape(label)}</text>')
    return parts


def class_iou_svg(engines: Sequence[EngineFacts]) -> str:
    """Draw a group of bars for each class, a bar for each engine with an accuracy, 0 to 100 %."""
    measured = [(index, engine.accuracy) for index, engine in enumerate(engines) if engine.accuracy is not None]
    names = list(measured[0][1].per_class_iou)
    width, left, bar, gap = 900, 130, 9, 10
    group = len(measured) * bar + gap
    scale = (width - left - 60) / 100.0
    parts = []
    for row, name in enumerate(names):
        top = row * group + gap / 2
        middle = top + len(measured) * bar / 2 + 4
        parts.append(f'<text x="{left - 10}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for line, (index, accuracy) in enumerate(measured):
            iou = accuracy.per_class_iou.get(name)
            y, length = top + line * bar, 100 * scale * (iou or 0.0)
            box = f'x="{left}" y="{y:.1f}" width="{length:.1f}" height="{bar - 1}"'
            parts.append(f'<rect {box} fill="{_colour(index)}"><title>{percent(iou)}</title></rect>')
        first = measured[0][1].per_class_iou.get(name)
        x = left + 100 * scale * max(accuracy.per_class_iou.get(name) or 0.0 for _, accuracy in measured)
        parts.append(f'<text class="muted" x="{x + 8:.1f}" y="{middle:.1f}">{percent(first)}</text>')
    height = len(names) * group + 4
    parts.append(f'<line class="axis" x1="{left}" x2="{left}" y1="0" y2="{height}"/>')
    return _svg(width, height, "IoU of each class", parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round values between `low` and `high`, about five of them."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000):
        if (high - low) / step <= 7:
            break
    first = int(low / step) + (low > 0)
    return [round(index * step, 6) for index in range(first, int(high / step) + 1)]


def _table(report: Report) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in report.table_head)
    rows = []
    for index, cells in enumerate(report.table()):
        first = f"<td>{_swatch(index)}{escape(cells[0])}</td>"
        rows.append(f"<tr>{first}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _legend(engines: Sequence[EngineFacts]) -> str:
    items = [
        f'<span class="item">{_swatch(index)}{escape(engine.name)}</span>'
        for index, engine in enumerate(engines)
        if engine.accuracy is not None
    ]
    return f'<p class="legend">{" ".join(items)} <span class="muted">(figures: the first)</span></p>'


def _list(lines: Sequence[str], kind: str) -> str:
    return f'<ul class="{kind}">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _svg(width: int, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(title)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def _swatch(index: int) -> str:
    return f'<span class="swatch" style="background:{_colour(index)}"></span>'


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]
