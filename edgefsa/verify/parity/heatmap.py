"""Pictures of where two stages disagree: the frame, both masks, and the pixels that differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import atomic_file
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.overlay import OverlayStyle, draw_overlay
from edgefsa.verify.parity.tally import near_borders

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BACKGROUND, _TEXT = (24, 24, 24), (240, 240, 240)
# Dark red and yellow tell apart on a grey frame, also for people who see red and green alike.
_AT_BORDER_BGR, _ELSEWHERE_BGR = (60, 220, 255), (40, 40, 230)
# Small masks are enlarged, so that titles and single pixels are legible.
_LEAST_HEIGHT, _LEAST_WIDTH, _TITLE, _GAP = 240, 360, 28, 8
_FRAME_DIMMED = 0.45


class HeatMaps:
    """Writes a PNG for each frame into a folder, and one of all frames; `names` are the two stages."""

    def __init__(
        self, folder: Path, names: tuple[str, str], palette_rgb: Sequence[Colour], classes: Sequence[str]
    ) -> None:
        self._folder, self._names, self._palette, self._classes = folder, names, palette_rgb, classes
        self._differs: npt.NDArray[np.int64] | None = None
        self._frames = 0
        self.files: list[Path] = []

    def add(self, name: str, frame: Frame, reference: Mask, found: Mask) -> None:
        """Draw one frame, uint8 [H, W, 3] BGR, and its masks uint8 [H, W] of the two stages."""
        differs = reference != found
        self._differs = differs.astype(np.int64) if self._differs is None else self._differs + differs
        self._frames += 1
        style = OverlayStyle(alpha=0.7, legend=False)
        masks = [draw_overlay(frame, mask, self._palette, self._classes, style) for mask in (reference, found)]
        at_border = differs & near_borders(reference)
        shares = [100 * float(np.mean(item)) for item in (differs, at_border)]
        panels = [
            ("frame", frame),
            (self._names[0], masks[0]),
            (f"differ: {shares[0]:.2f} %, {shares[1]:.2f} % at class borders", _marked(frame, differs, at_border)),
            (self._names[1], masks[1]),
        ]
        present = sorted({*np.unique(reference).tolist(), *np.unique(found).tolist()})
        known = [index for index in present if index < len(self._classes)]
        legend = [(self._classes[index], self._palette[index][::-1]) for index in known]
        legend += [("differs", _ELSEWHERE_BGR), ("differs at a border", _AT_BORDER_BGR)]
        self._write(f"{len(self.files):04}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}", _page(panels, legend))

    def finish(self) -> list[Path]:
        """Write the share of frames in which each pixel differs, and return all files."""
        if self._differs is not None and self._frames > 1:
            share = self._differs / self._frames
            top = max(float(share.max()), 1e-9)
            heat = cv2.applyColorMap(np.uint8(255 * share / top), cv2.COLORMAP_INFERNO)
            title = f"{' / '.join(self._names)}: pixels differ in 0 to {100 * top:.0f} % of {self._frames} frames"
            self._write("all-frames", _page([(title, np.asarray(heat, np.uint8))], []))
        return self.files

    def _write(self, stem: str, picture: Frame) -> None:
        path = self._folder / f"{stem}.png"
        with atomic_file(path) as partial:
            partial.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        self.files.append(path)


def _marked(frame: Frame, differs: npt.NDArray[np.bool_], at_border: npt.NDArray[np.bool_]) -> Frame:
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    drawn = np.asarray(grey * _FRAME_DIMMED, np.uint8)
    drawn[differs] = _ELSEWHERE_BGR
    drawn[at_border] = _AT_BORDER_BGR
    return drawn


def _page(panels: Sequence[tuple[str, Frame]], legend: Sequence[tuple[str, Colour]]) -> Frame:
    """Lay panels of one size out in two columns below their titles, over a legend."""
    height, width = panels[0][1].shape[:2]
    times = max(1, -(-_LEAST_HEIGHT // height), -(-_LEAST_WIDTH // width))
    size = (width * times, height * times)
    cells = []
    for title, picture in panels:
        cell = np.full((size[1] + _TITLE, size[0], 3), _BACKGROUND, np.uint8)
        cell[_TITLE:] = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
        _put(cell, title, 4, _TITLE - 9, size[0] - 8)
        cells.append(cell)
    columns = 2 if len(cells) > 1 else 1
    rows = [_beside(cells[first : first + columns]) for first in range(0, len(cells), columns)]
    rows += [_legend(legend, rows[0].shape[1])] if legend else []
    gap = np.full((_GAP, rows[0].shape[1], 3), _BACKGROUND, np.uint8)
    return np.vstack([part for row in rows for part in (row, gap)])


def _beside(cells: Sequence[Frame]) -> Frame:
    gap = np.full((cells[0].shape[0], _GAP, 3), _BACKGROUND, np.uint8)
    return np.hstack([part for cell in cells for part in (cell, gap)][:-1])


def _legend(entries: Sequence[tuple[str, Colour]], width: int) -> Frame:
    """Draw swatches and names, as many in a row as fit."""
    places, x, y = [], 4, 0
    for text, colour in entries:
        needed = 24 + int(cv2.getTextSize(text, _FONT, 0.5, 1)[0][0]) + 16
        if x > 4 and x + needed > width:
            x, y = 4, y + _TITLE
        places.append((text, colour, x, y))
        x += needed
    strip = np.full((y + _TITLE, width, 3), _BACKGROUND, np.uint8)
    for text, colour, left, top in places:
        cv2.rectangle(strip, (left, top + 7, 16, 14), colour, cv2.FILLED)
        _put(strip, text, left + 24, top + _TITLE - 9, width)
    return strip


def _put(picture: Frame, text: str, x: int, y: int, width: int) -> None:
    wanted = int(cv2.getTextSize(text, _FONT, 0.5, 1)[0][0])
    scale = 0.5 * min(1.0, width / max(wanted, 1))
    cv2.putText(picture, text, (x, y), _FONT, scale, _TEXT, 1, cv2.LINE_AA)
