"""What a Segmenter gives for one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.overlay import OverlayStyle, class_shares, draw_overlay


@dataclass(frozen=True)
class Segmentation:
    """The classes of one frame's pixels.

    `mask` is uint8 [H, W] of class indices at the frame's own size; `names[i]` and `palette_rgb[i]` (R, G, B,
    0 to 255) belong to index i; pixels of `ignore_index` have no class. `latency_ms` is the time from handing over
    the frame to having the mask; for a batch, every frame's is the time of the whole call. Raises InputError where
    the parts don't fit together.
    """

    mask: Mask
    names: tuple[str, ...]
    palette_rgb: tuple[tuple[int, int, int], ...]
    latency_ms: float
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
    def shares(self) -> Mapping[str, float]:
        """Each present class's share of the frame, 0 to 1, in the order of the classes."""
        shares = class_shares(self.mask, len(self.names))
        return {name: float(share) for name, share in zip(self.names, shares, strict=True) if share > 0}

    def overlay(self, frame: Frame, style: OverlayStyle | None = None) -> Frame:
        """Draw the mask over `frame` (uint8 [H, W, 3] BGR, the frame that was segmented); return a new frame."""
        style = style or OverlayStyle()
        return draw_overlay(
            frame,
            self.mask,
            self.palette_rgb,
            self.names,
            alpha=style.alpha,
            legend=style.legend,
            contours=style.contours,
        )
