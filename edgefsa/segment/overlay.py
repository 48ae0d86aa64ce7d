"""Draws a mask over its frame: class colours, contour lines, and a legend of the classes that are present."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, Mask

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PANEL_BGR = (24, 24, 24)
_TEXT_BGR = (240, 240, 240)
_OUTLINE_BGR = (150, 150, 150)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class OverlayStyle:
    """How a mask is drawn: `alpha` 0 (frame only) to 1 (mask only), a legend, lines between classes."""

    alpha: float = 0.5
    legend: bool = True
    contours: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha is {self.alpha}; give 0 (frame only) to 1 (mask only)")


def draw_overlay(
    frame: Frame,
    mask: Mask,
    palette_rgb: Sequence[Colour],
    names: Sequence[str],
    *,
    alpha: float = 0.5,
    legend: bool = True,
    contours: bool = True,
) -> Frame:
    """Draw `mask` uint8 [H, W] over `frame` uint8 [H, W, 3] BGR; returns a new frame of the same size.

    `palette_rgb` and `names` give the colour (R, G, B, 0 to 255) and name of each class index. Pixels whose
    index lies beyond them (unlabelled ones) keep the frame's colour and are not listed.
    Raises InputError where the sizes of frame and mask, or of palette and names, differ.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[:2] != mask.shape:
        raise InputError(f"frame {list(frame.shape)} and mask {list(mask.shape)} differ in size; give both at one size")
    if len(palette_rgb) != len(names):
        raise InputError(f"{len(palette_rgb)} colours for {len(names)} class names; give one colour for each class")
    drawn = _tint(frame, mask, palette_rgb, OverlayStyle(alpha).alpha)
    if contours:
        borders = _class_borders(mask)
        drawn[borders] = drawn[borders] // 3 + 160  # towards white, so that the line shows on any colour
    if legend:
        shares = class_shares(mask, len(names))
        present = [index for index in range(len(names)) if shares[index] > 0]
        _draw_legend(drawn, [(names[i], palette_rgb[i], float(shares[i])) for i in present])
    return drawn


def class_shares(mask: Mask, num_classes: int) -> npt.NDArray[np.float64]:
    """Return each class's share of all pixels, float64 [num_classes], 0 to 1."""
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).reshape(-1)[:num_classes]
    return np.asarray(counts, np.float64) / max(mask.size, 1)


def _tint(frame: Frame, mask: Mask, palette_rgb: Sequence[Colour], alpha: float) -> Frame:
    colours = np.zeros((256, 1, 3), np.uint8)
    colours[: len(palette_rgb), 0] = np.asarray(palette_rgb, np.uint8)[:, ::-1]
    drawn = cv2.addWeighted(cv2.applyColorMap(mask, colours), alpha, frame, 1.0 - alpha, 0.0)
    unlabelled = mask >= len(palette_rgb)
    if unlabelled.any():
        drawn[unlabelled] = frame[unlabelled]
    return np.asarray(drawn, np.uint8)


def _class_borders(mask: Mask) -> tuple[npt.NDArray[np.intp], ...]:
    """Find the pixels beside another class: a line as thick as suits the picture's height, as (rows, columns)."""
    reach = 2 + round(mask.shape[0] / 1080)
    kernel = np.ones((reach, reach), np.uint8)
    return np.nonzero(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, kernel))


def _draw_legend(drawn: Frame, entries: Sequence[tuple[str, Colour, float]]) -> None:
    """Draw swatch, name and share of each class on a dark panel in the upper left corner, in place."""
    height, width = drawn.shape[:2]
    line = max(14, round(min(height, width) / 26))
    margin = line // 2
    fits = (height - 3 * margin) // line
    if len(entries) > fits:
        entries = sorted(entries, key=lambda entry: -entry[2])[: max(fits, 0)]
    rows = [(name, _percent(share), colour) for name, colour, share in entries]
    scale, weight = line / 34, max(1, line // 28)
    name_width = max((_text_width(name, scale, weight) for name, _, _ in rows), default=0)
    share_width = _text_width("100.0%", scale, weight)
    swatch = round(0.6 * line)
    panel_width = 4 * margin + swatch + name_width + share_width
    if not rows or panel_width + margin > width:
        return
    top, left = margin, margin
    panel = drawn[top : top + len(rows) * line + margin, left : left + panel_width]
    panel[:] = cv2.addWeighted(panel, 0.3, np.full_like(panel, _PANEL_BGR), 0.7, 0.0)
    for row, (name, share, (red, green, blue)) in enumerate(rows):
        y = margin // 2 + row * line
        gap = (line - swatch) // 2
        box = (margin, y + gap, swatch, swatch)
        cv2.rectangle(panel, box, (blue, green, red), cv2.FILLED)
        cv2.rectangle(panel, box, _OUTLINE_BGR, 1)
        baseline = y + round(0.72 * line)
        _put_text(panel, name, 2 * margin + swatch, baseline, scale, weight)
        x = panel_width - margin - _text_width(share, scale, weight)
        _put_text(panel, share, x, baseline, scale, weight)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"


def _text_width(text: str, scale: float, weight: int) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, weight)[0][0])


def _put_text(image: Frame, text: str, x: int, y: int, scale: float, weight: int) -> None:
    cv2.putText(image, text, (x, y), _FONT, scale, _TEXT_BGR, weight, cv2.LINE_AA)
