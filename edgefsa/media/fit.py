"""How a frame of any shape meets an engine of one size, and how masks and points come back from it.

stretch: the whole frame fills the engine's input; what is round becomes oval where the shapes differ.
letterbox: the whole frame, in its own shape, with grey borders.
crop: the largest middle part of the engine's shape; the mask does not know the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, Mask, resize_frame, resize_mask
from edgefsa.metadata import FITS, UNNAMED_FIT

DEFAULT_FIT = "letterbox"
BORDER = 128  # the grey that training shows beyond a frame's edge

Points = npt.NDArray[np.floating[Any]]


def check_fit(fit: str) -> str:
    """Return `fit`, or raise InputError where there is none of that name."""
    if fit not in FITS:
        raise InputError(f"fit {fit!r} is unknown; use one of {', '.join(FITS)}")
    return fit


def fit_of(model: Mapping[str, Any]) -> str:
    """Return the fit that a model's metadata names; "stretch" for files of versions that had no other."""
    return check_fit(str(model.get("fit", UNNAMED_FIT)))


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns, as an array takes them."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Geometry:
    """Where a frame of `frame_hw` lies in an engine's input of `engine_hw`.

    The part `seen` of the frame becomes the part `filled` of the input.
    """

    frame_hw: tuple[int, int]
    engine_hw: tuple[int, int]
    seen: Box
    filled: Box

    @property
    def changes_nothing(self) -> bool:
        """Whether frames are what the engine takes."""
        return self.frame_hw == self.engine_hw

    def to_engine(self, frame: Frame, out: Frame | None = None) -> Frame:
        """Return uint8 [H, W, 3] of `frame_hw` at `engine_hw`; the same array where nothing has to be done.

        With `out`, uint8 [*engine_hw, 3], the result is written there and `out` returned.
        """
        if self.seen.size_hw != self.frame_hw:
            frame = frame[self.seen.slices]
        if self.filled.size_hw == self.engine_hw:
            return resize_frame(frame, self.engine_hw, out)
        canvas = np.empty((*self.engine_hw, frame.shape[2]), np.uint8) if out is None else out
        canvas.fill(BORDER)
        resize_frame(frame, self.filled.size_hw, canvas[self.filled.slices])
        return canvas

    def mask_to_frame(self, mask: Mask, ignore_index: int) -> Mask:
        """Return class indices uint8 of `engine_hw` at `frame_hw`, by nearest neighbour.

        What the engine did not see is `ignore_index`. The same array where nothing has to be done.
        """
        if self.filled.size_hw != self.engine_hw:
            mask = mask[self.filled.slices]
        resized = resize_mask(mask, self.seen.size_hw)
        if self.seen.size_hw == self.frame_hw:
            return resized
        whole = np.full(self.frame_hw, ignore_index, np.uint8)
        whole[self.seen.slices] = resized
        return whole

    def points_to_engine(self, points_xy: Points) -> Points:
        """Map points [..., 2] (x, y) of the frame to the engine's input; pixel i covers i to i + 1."""
        return (points_xy - _corner(self.seen)) * (_size(self.filled) / _size(self.seen)) + _corner(self.filled)

    def points_to_frame(self, points_xy: Points) -> Points:
        """Map points [..., 2] (x, y) of the engine's input to the frame; pixel i covers i to i + 1."""
        return (points_xy - _corner(self.filled)) * (_size(self.seen) / _size(self.filled)) + _corner(self.seen)


def _corner(box: Box) -> Points:
    return np.array((box.left, box.top), np.float64)


def _size(box: Box) -> Points:
    return np.array((box.width, box.height), np.float64)


@functools.lru_cache(maxsize=64)  # the frames of a video share one
def geometry(fit: str, frame_hw: tuple[int, int], engine_hw: tuple[int, int]) -> Geometry:
    """Return the geometry of frames of `frame_hw` in an engine of `engine_hw`; InputError for an unknown `fit`."""
    check_fit(fit)
    seen, filled = Box(0, 0, *frame_hw), Box(0, 0, *engine_hw)
    if fit == "letterbox":
        filled = _middle(engine_hw, frame_hw)
    elif fit == "crop":
        seen = _middle(frame_hw, engine_hw)
    return Geometry(frame_hw, engine_hw, seen, filled)


def fit_frame(frame: Frame, size_hw: tuple[int, int], fit: str) -> Frame:
    """Return uint8 [H, W, 3] as an engine of `size_hw` that was made for `fit` takes it."""
    return geometry(fit, (frame.shape[0], frame.shape[1]), (size_hw[0], size_hw[1])).to_engine(frame)


def _middle(outer_hw: tuple[int, int], shape_hw: tuple[int, int]) -> Box:
    """Return the largest middle part of `outer_hw` that has the shape of `shape_hw`, to the nearest pixel."""
    scale = min(outer_hw[0] / max(shape_hw[0], 1), outer_hw[1] / max(shape_hw[1], 1))
    height, width = (max(1, round(side * scale)) for side in shape_hw)
    return Box((outer_hw[0] - height) // 2, (outer_hw[1] - width) // 2, height, width)
