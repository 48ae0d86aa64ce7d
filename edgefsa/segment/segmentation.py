"""What a Segmenter gives for one frame."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.overlay import OverlayStyle, class_shares, draw_overlay


@dataclass(frozen=True)
class SegmentationTimes:
    """What a frame's mask took, in milliseconds: fitting the frame to the engine, its run, and the mask's way back.

    Frames of one batch share these times; `engine_ms` includes waiting for the runs that were submitted before, and
    `copy_ms` is for copies to a GPU's memory and back.
    """

    prepare_ms: float
    engine_ms: float
    mask_ms: float
    copy_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        """The time from the frame to its mask."""
        return self.prepare_ms + self.copy_ms + self.engine_ms + self.mask_ms


@dataclass(frozen=True)
class Segmentation:
    """The classes of one frame's pixels.

    `mask` is uint8 [H, W] of class indices at the frame's own size; `names[i]` and `palette_rgb[i]` (R, G, B,
    0 to 255) belong to index i; pixels of `ignore_index` have no class. Raises InputError where the parts don't
    fit together.
    """

    mask: Mask
    names: tuple[str, ...]
    palette_rgb: tuple[tuple[int, int, int], ...]
    times: SegmentationTimes
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != np.uint8 or self.mask.size == 0:
            raise InputError(f"a mask is uint8 [H, W], not {self.mask.dtype} {list(self.mask.shape)}")
        if len(self.names) != len(self.palette_rgb):
            raise InputError(f"{len(self.palette_rgb)} colours for {len(self.names)} class names; give one for each")
        largest = int(self.mask.max())
        if largest == self.ignore_index:
            largest = int(self.mask.max(initial=0, where=self.mask != self.ignore_index))
        if largest >= len(self.names):
            raise InputError(f"the mask holds class {largest}, but there are only {len(self.names)} classes")

    @property
    def latency_ms(self) -> float:
        """The time from the frame to its mask, in milliseconds."""
        return self.times.total_ms

    @functools.cached_property
    def class_shares(self) -> npt.NDArray[np.float64]:
        """Each class's share of the frame, float64 [number of classes], 0 to 1."""
        return class_shares(self.mask, len(self.names))

    @property
    def shares(self) -> Mapping[str, float]:
        """Each present class's share of the frame, 0 to 1, in the order of the classes."""
        return {name: float(share) for name, share in zip(self.names, self.class_shares, strict=True) if share > 0}

    def overlay(
        self, frame: Frame, style: OverlayStyle | None = None, figures: Sequence[tuple[str, str]] = ()
    ) -> Frame:
        """Draw the mask over `frame` (uint8 [H, W, 3] BGR, the frame that was segmented); return a new frame.

        `figures` are rows (label, value) that are shown with it.
        """
        shares = self.class_shares if style is None or style.legend else None
        return draw_overlay(frame, self.mask, self.palette_rgb, self.names, style, figures, shares)
