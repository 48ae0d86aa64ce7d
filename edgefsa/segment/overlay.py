"""Draws a mask over its frame: class colours, contour lines, a legend of the classes, and figures of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.panels import Colour, LegendRow, draw_panels

MODES = ("overlay", "mask", "frame", "side by side")

# A contour is drawn towards white, so that it shows on any colour.
_CONTOUR = np.arange(256, dtype=np.uint8) // 3 + 160
_STRIP = 64  # rows that are drawn at a time, so that they stay in the CPU's cache from step to step


@dataclass(frozen=True)
class OverlayStyle:
    """How a mask is drawn: `alpha` 0 (frame only) to 1 (mask only), a legend, lines between classes.

    `figures` adds those of a live run, `numbered` the key of each class to the legend. Classes whose
    index is in `hidden` are not drawn. `mode` is one of MODES: the mask over the frame, on black, the frame without
    its mask, or frame and overlay beside each other, which is twice as wide.
    """

    alpha: float = 0.5
    legend: bool = True
    contours: bool = True
    figures: bool = True
    numbered: bool = False
    hidden: frozenset[int] = frozenset()
    mode: str = "overlay"

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise InputError(f"alpha is {self.alpha}; give 0 (frame only) to 1 (mask only)")
        if self.mode not in MODES:
            raise InputError(f"{self.mode!r} is no way to show a mask; give one of {', '.join(MODES)}")


def draw_overlay(
    frame: Frame,
    mask: Mask,
    palette_rgb: Sequence[Colour],
    names: Sequence[str],
    style: OverlayStyle | None = None,
    figures: Sequence[tuple[str, str]] = (),
    shares: npt.NDArray[np.float64] | None = None,
) -> Frame:
    """Draw `mask` uint8 [H, W] over `frame` uint8 [H, W, 3] BGR; returns a new frame of the same size.

    `palette_rgb` and `names` give the colour (R, G, B, 0 to 255) and name of each class index. Pixels whose
    index lies beyond them (unlabelled ones) keep the frame's colour and are not listed. `figures` are rows
    (label, value) of a further panel; `shares` those of `class_shares`, where the caller has them already.
    Raises InputError where the sizes of frame and mask, or of palette and names, differ.
    """
    style = style or OverlayStyle()
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[:2] != mask.shape:
        raise InputError(f"frame {list(frame.shape)} and mask {list(mask.shape)} differ in size; give both at one size")
    if len(palette_rgb) != len(names):
        raise InputError(f"{len(palette_rgb)} colours for {len(names)} class names; give one colour for each class")
    drawn = _masked(frame, mask, palette_rgb, style)
    legend: list[LegendRow] = []
    if style.legend:
        shares = class_shares(mask, len(names)) if shares is None else shares
        legend = [
            LegendRow(_key(index, name, style), palette_rgb[index], float(shares[index]), index in style.hidden)
            for index, name in enumerate(names)
            if shares[index] > 0
        ]
    draw_panels(drawn, legend, figures)
    return drawn


def class_shares(mask: Mask, num_classes: int) -> npt.NDArray[np.float64]:
    """Return each class's share of all pixels, float64 [num_classes], 0 to 1."""
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).reshape(-1)[:num_classes]
    return np.asarray(counts, np.float64) / max(mask.size, 1)


def _key(index: int, name: str, style: OverlayStyle) -> str:
    return f"{index + 1}  {name}" if style.numbered and index < 9 else name


def _masked(frame: Frame, mask: Mask, palette_rgb: Sequence[Colour], style: OverlayStyle) -> Frame:
    """Return the picture without its panels."""
    if style.mode == "frame":
        return np.copy(frame)
    alone = style.mode == "mask"
    below, alpha = (np.zeros_like(frame), 1.0) if alone else (frame, style.alpha)
    colours = np.zeros((256, 1, 3), np.uint8)
    colours[: len(palette_rgb), 0] = np.asarray(palette_rgb, np.uint8)[:, ::-1]
    untinted = np.full(256, 255, np.uint8)
    untinted[[index for index in range(len(palette_rgb)) if index not in style.hidden]] = 0
    borders = _class_borders(mask) if style.contours else None
    drawn = np.empty_like(frame)
    for top in range(0, len(mask), _STRIP):
        rows = slice(top, top + _STRIP)
        strip = drawn[rows]
        cv2.applyColorMap(mask[rows], colours, strip)
        cv2.addWeighted(strip, alpha, below[rows], 1.0 - alpha, 0.0, dst=strip)
        cv2.copyTo(below[rows], cv2.LUT(mask[rows], untinted), strip)
        if borders is not None:
            cv2.copyTo(cv2.LUT(strip, _CONTOUR), borders[rows], strip)
    return np.concatenate([frame, drawn], axis=1) if style.mode == "side by side" else drawn


def _class_borders(mask: Mask) -> Mask:
    """Mark the pixels beside another class, above 0: a line as thick as suits the picture's height."""
    reach = 2 + round(mask.shape[0] / 1080)
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((reach, reach), np.uint8)), np.uint8)
