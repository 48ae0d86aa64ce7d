"""Text on pictures: the legend in the upper left corner, figures in the upper right one, both on dark panels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgefsa.media.frames import Frame

_PANEL_GREY, _PANEL_ALPHA = 24, 0.76
_OUTLINE_BGR = (150, 150, 150)
_BRIGHT, _DIM = 244, 184
_LOWEST_LINE = 15  # pixels; below, letters run together

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LegendRow:
    """A class of the legend: its name, colour (R, G, B), share of the picture (0 to 1), and whether it is hidden."""

    name: str
    colour: Colour
    share: float
    hidden: bool = False


def draw_panels(drawn: Frame, legend: Sequence[LegendRow], figures: Sequence[tuple[str, str]]) -> None:
    """Draw both panels in place, in a size that suits the picture's; what has no room is left out, small shares first.

    Figures stand beside the legend, or, in a narrow picture, in the lower left corner below it.
    """
    height, width = drawn.shape[:2]
    sizes = _Sizes.of(height, width)
    top, bottom, margin = sizes.margin, height - sizes.margin, sizes.margin
    figures_wide = _figures_width(figures, sizes)
    figures_high = sizes.panel_height(len(figures))
    if not figures or figures_wide > width - 2 * margin or figures_high > bottom - top:
        figures = ()
    legend = _largest(legend, sizes.rows_in(bottom - top))
    if figures and _legend_width(legend, sizes) + figures_wide > width - 3 * margin:
        legend = _largest(legend, sizes.rows_in(bottom - top - figures_high - margin))
        _draw_figures(drawn, figures, sizes, margin, bottom - figures_high)
    elif figures:
        _draw_figures(drawn, figures, sizes, width - margin - figures_wide, top)
    if legend and _legend_width(legend, sizes) <= width - 2 * margin:
        _draw_legend(drawn, legend, sizes, margin, top)


@dataclass(frozen=True)
class _Sizes:
    """Heights and distances in pixels: a line of text, its letters, and what is left free around."""

    line: int
    font: int
    margin: int

    @classmethod
    def of(cls, height: int, width: int) -> _Sizes:
        line = max(_LOWEST_LINE, round(min(height, width) / 27))
        return cls(line, round(0.75 * line), line // 2)

    def panel_height(self, rows: int) -> int:
        return rows * self.line + self.margin

    def rows_in(self, height: int) -> int:
        return max(0, (height - self.margin) // self.line)


def _largest(legend: Sequence[LegendRow], count: int) -> list[LegendRow]:
    """Return the `count` rows of the largest shares, in their order."""
    kept = sorted(legend, key=lambda row: -row.share)[:count]
    return [row for row in legend if row in kept]


def _legend_width(legend: Sequence[LegendRow], sizes: _Sizes) -> int:
    names = max((_text_width(row.name, sizes.font) for row in legend), default=0)
    return 4 * sizes.margin + round(0.6 * sizes.line) + names + _text_width("100.0%", sizes.font)


def _figures_width(figures: Sequence[tuple[str, str]], sizes: _Sizes) -> int:
    text = max((sum(_text_width(part, sizes.font) for part in row) for row in figures), default=0)
    return 4 * sizes.margin + text


def _draw_legend(drawn: Frame, legend: Sequence[LegendRow], sizes: _Sizes, left: int, top: int) -> None:
    """Draw swatch, name and share of each class; those that are hidden with an empty swatch and dim text."""
    panel = _panel(drawn, left, top, _legend_width(legend, sizes), sizes.panel_height(len(legend)))
    swatch = round(0.6 * sizes.line)
    for index, row in enumerate(legend):
        y = sizes.margin // 2 + index * sizes.line
        box = (sizes.margin, y + (sizes.line - swatch) // 2, swatch, swatch)
        if not row.hidden:
            cv2.rectangle(panel, box, row.colour[::-1], cv2.FILLED)
        cv2.rectangle(panel, box, _OUTLINE_BGR, max(1, sizes.line // 28))
        brightness = _DIM if row.hidden else _BRIGHT
        _write(panel, row.name, 2 * sizes.margin + swatch, y, sizes, brightness)
        _write(panel, _percent(row.share), -sizes.margin, y, sizes, brightness)


def _draw_figures(drawn: Frame, figures: Sequence[tuple[str, str]], sizes: _Sizes, left: int, top: int) -> None:
    panel = _panel(drawn, left, top, _figures_width(figures, sizes), sizes.panel_height(len(figures)))
    for index, (label, value) in enumerate(figures):
        y = sizes.margin // 2 + index * sizes.line
        _write(panel, label, sizes.margin, y, sizes, _DIM)
        _write(panel, value, -sizes.margin, y, sizes, _BRIGHT)


def _panel(drawn: Frame, left: int, top: int, width: int, height: int) -> Frame:
    """Darken a part of the picture and return it, a view."""
    panel = drawn[top : top + height, left : left + width]
    panel[:] = cv2.convertScaleAbs(panel, alpha=1 - _PANEL_ALPHA, beta=_PANEL_ALPHA * _PANEL_GREY)
    return panel


def _write(panel: Frame, text: str, x: int, y: int, sizes: _Sizes, brightness: int) -> None:
    """Write in grey from column `x` on, or, where that is negative, up to that many columns before the right edge."""
    ink, kept = _text(text, sizes.font, sizes.line, brightness)
    left = x if x >= 0 else panel.shape[1] + x - ink.shape[1]
    place = panel[y : y + ink.shape[0], left : left + ink.shape[1]]
    place[:] = cv2.add(cv2.multiply(place, kept, scale=1 / 255), ink)


@functools.lru_cache(maxsize=4096)
def _text(text: str, size: int, line: int, brightness: int) -> tuple[Frame, Frame]:
    """Render a line of text: what each pixel gains, and how much of it stays (255: all), as two pictures."""
    image = Image.new("L", (_text_width(text, size), line))
    ImageDraw.Draw(image).text((0, round(0.75 * line)), text, fill=255, font=_font(size), anchor="ls")
    covered = cv2.cvtColor(np.asarray(image), cv2.COLOR_GRAY2BGR)
    return cv2.convertScaleAbs(covered, alpha=brightness / 255), np.asarray(255 - covered, np.uint8)


@functools.lru_cache(maxsize=4096)
def _text_width(text: str, size: int) -> int:
    length: float = _font(size).getlength(text)
    return max(1, math.ceil(length))


@functools.lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels have FreeType
    return font


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"
