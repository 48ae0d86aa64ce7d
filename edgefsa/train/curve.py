"""The picture of a run: its loss and its val mIoU over the epochs, drawn with OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefsa.media.frames import Frame
from edgefsa.media.pictures import write_image
from edgefsa.train.log import Row

_SIZE_HW = (460, 1160)
_FINE = 3  # drawn so many times larger, then shrunk: smooth lines and letters
_FONT = cv2.FONT_HERSHEY_DUPLEX
_PAPER, _GRID, _AXIS, _TEXT = (255, 255, 255), (232, 228, 226), (150, 140, 135), (70, 60, 55)
# Blue, orange, green and purple that people with any colour vision tell apart (Okabe and Ito's palette), BGR.
_COLOURS = ((178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204))

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class _Panel:
    """A plot's frame in pixels of the finished picture, and the ranges of its axes."""

    left: int
    top: int
    right: int
    bottom: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[int, int]:
        (x_low, x_high), (y_low, y_high) = self.x_range, self.y_range
        across = self.left + (self.right - self.left) * (x - x_low) / (x_high - x_low)
        down = self.bottom - (self.bottom - self.top) * (y - y_low) / (y_high - y_low)
        return round(_FINE * across), round(_FINE * down)


def draw_curve(path: Path, history: Sequence[Row], title: str, epochs: int) -> Path:
    """Draw the loss on the left and each val set's mIoU on the right, over `epochs` epochs, as a PNG.

    Written whole or not at all; an epoch without evaluation has no point on the right.
    """
    image = np.full((_FINE * _SIZE_HW[0], _FINE * _SIZE_HW[1], 3), _PAPER, np.uint8)
    _write(image, title, (58, 34), 0.62, _TEXT)
    scores = {
        name.removeprefix("miou "): [(row["epoch"], 100 * row[name]) for row in history if name in row]
        for name in dict.fromkeys(name for row in history for name in row if name.startswith("miou "))
    }
    losses = {"training loss": [(row["epoch"], row["loss"]) for row in history]}
    _draw_panel(image, 58, "training loss", losses, epochs)
    _draw_panel(image, 58 + _SIZE_HW[1] // 2, "val mIoU (%)", scores, epochs)
    smooth = cv2.resize(image, (_SIZE_HW[1], _SIZE_HW[0]), interpolation=cv2.INTER_AREA)
    return write_image(path, smooth.astype(np.uint8, copy=False))


def _draw_panel(image: Frame, left: int, label: str, lines: dict[str, Points], epochs: int) -> None:
    values = [y for points in lines.values() for _, y in points]
    y_ticks = round_ticks(min(values, default=0.0), max(values, default=1.0), 6)
    x_ticks = [tick for tick in round_ticks(0, epochs, 6) if tick == int(tick)]
    panel = _Panel(left, 84, left + 480, _SIZE_HW[0] - 52, (0, max(epochs, 1)), (y_ticks[0], y_ticks[-1]))
    _draw_axes(image, panel, label, [tick for tick in x_ticks if tick <= epochs], y_ticks)
    for (name, points), colour in zip(lines.items(), _COLOURS * len(lines), strict=False):
        _draw_line(image, panel, points, colour)
        if points:
            text = f"{name} {points[-1][1]:.1f}" if "mIoU" in label else f"{points[-1][1]:.3f}"
            _draw_legend_entry(image, panel, text, list(lines).index(name), colour)


def _draw_axes(image: Frame, panel: _Panel, label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
    for tick in y_ticks:
        start, end = panel.place(panel.x_range[0], tick), panel.place(panel.x_range[1], tick)
        cv2.line(image, start, end, _GRID, _FINE, cv2.LINE_AA)
        _write(image, f"{tick:g}", (panel.left - 9, start[1] // _FINE + 5), 0.42, _TEXT, align=1.0)
    for tick in x_ticks:
        x, y = panel.place(tick, panel.y_range[0])
        cv2.line(image, (x, y), (x, y + 5 * _FINE), _AXIS, _FINE, cv2.LINE_AA)
        _write(image, f"{tick:g}", (x // _FINE, panel.bottom + 21), 0.42, _TEXT, align=0.5)
    corner, end = panel.place(panel.x_range[0], panel.y_range[0]), panel.place(panel.x_range[1], panel.y_range[0])
    cv2.line(image, corner, end, _AXIS, _FINE, cv2.LINE_AA)
    _write(image, label, (panel.left, panel.top - 16), 0.48, _TEXT)
    _write(image, "epoch", (panel.right, panel.bottom + 40), 0.42, _TEXT, align=1.0)


def _draw_line(image: Frame, panel: _Panel, points: Points, colour: tuple[int, int, int]) -> None:
    places = np.array([panel.place(x, y) for x, y in points], np.int32).reshape(-1, 1, 2)
    if len(places) > 1:
        cv2.polylines(image, [places], False, colour, round(1.8 * _FINE), cv2.LINE_AA)
    few = len(places) <= 30
    for place in places if few else places[-1:]:
        cv2.circle(image, tuple(int(value) for value in place[0]), 3 * _FINE, colour, cv2.FILLED, cv2.LINE_AA)


def _draw_legend_entry(image: Frame, panel: _Panel, text: str, row: int, colour: tuple[int, int, int]) -> None:
    """Write a line's name and last value at the right above the plot, the first one next to it."""
    y = panel.top - 16 - 18 * row
    width = _write(image, text, (panel.right, y), 0.45, _TEXT, align=1.0)
    centre = (_FINE * (panel.right - width - 14), _FINE * (y - 4))
    cv2.circle(image, centre, 4 * _FINE, colour, cv2.FILLED, cv2.LINE_AA)


def _write(
    image: Frame, text: str, at: tuple[int, int], scale: float, colour: tuple[int, int, int], align: float = 0.0
) -> int:
    """Write `text` with its baseline at `at`; `align` 0 puts its left end there, 1 its right. Gives its width."""
    (width, _), _ = cv2.getTextSize(text, _FONT, scale * _FINE, 1)
    place = (round(_FINE * at[0] - align * width), _FINE * at[1])
    cv2.putText(image, text, place, _FONT, scale * _FINE, colour, round(0.9 * _FINE), cv2.LINE_AA)
    return int(width / _FINE)


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """Give about `count` round numbers in equal steps (1, 2, 2.5 or 5 times a power of ten) that cover the range."""
    span = max(high - low, 0.05 * abs(high), 1e-6)  # values all alike get an axis that can be read
    rough = span / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, max(last, first + 1) + 1)]
