"""The sums over frames from which the closeness of two stages is computed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.engines.golden import Distance
from edgefsa.verify.parity.result import Closeness, Equality

BORDER_PIXELS = 3

Masks = npt.NDArray[np.uint8]


class Seen(NamedTuple):
    """What a stage makes of one batch: `logits` float [N, K, h, w], None for an engine that has masks only;

    `masks` uint8 [N, H, W]; `pixels` the frames as they reach the first weight, None where the stage hides them.
    """

    logits: npt.NDArray[Any] | None
    masks: Masks
    pixels: npt.NDArray[Any] | None = None

    def first(self, count: int) -> Seen:
        """Return the part of the first `count` frames."""
        logits, pixels = (None if item is None else item[:count] for item in (self.logits, self.pixels))
        return Seen(logits, self.masks[:count], pixels)


class Tally:
    """Adds up how near one stage is to another."""

    def __init__(self) -> None:
        self._off = self._dot = self._found = self._reference = self._max_abs = 0.0
        self._has_logits = False
        # [at borders, elsewhere]: pixels of the same class, and all.
        self._same, self._pixels = np.zeros(2, np.int64), np.zeros(2, np.int64)
        self._values, self._different, self._farthest = 0, 0, 0.0
        self._has_pixels = False

    def add(self, found: Seen, reference: Seen) -> None:
        """Count one batch of both stages."""
        if found.logits is not None and reference.logits is not None:
            self._add_logits(found.logits.astype(np.float64), reference.logits.astype(np.float64))
        if found.pixels is not None and reference.pixels is not None:
            self._add_pixels(found.pixels, reference.pixels)
        for ours, theirs in zip(found.masks, reference.masks, strict=True):
            border, same = near_borders(theirs), ours == theirs
            self._same += (np.count_nonzero(same & border), np.count_nonzero(same & ~border))
            self._pixels += (np.count_nonzero(border), np.count_nonzero(~border))

    def _add_logits(self, found: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> None:
        self._has_logits = True
        with np.errstate(all="ignore"):  # what is not finite shows in the result
            off = found - reference
            self._off += float(np.vdot(off, off))
            self._dot += float(np.vdot(found, reference))
            self._found += float(np.vdot(found, found))
            self._reference += float(np.vdot(reference, reference))
            self._max_abs = max(self._max_abs, float(np.abs(off).max()))

    def _add_pixels(self, found: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
        self._has_pixels = True
        self._values += reference.size
        if found.shape != reference.shape:
            self._different, self._farthest = self._different + reference.size, math.inf
            return
        self._different += int(np.count_nonzero(found != reference))
        self._farthest = max(self._farthest, float(np.abs(found - reference).max(initial=0)))

    def closeness(self) -> Closeness:
        """Return the figures over all that was added."""
        shares = [float(part / whole) if whole else None for part, whole in zip(self._same, self._pixels, strict=True)]
        agreement = float(self._same.sum() / max(int(self._pixels.sum()), 1))
        if not self._has_logits:
            return Closeness(None, None, None, agreement, *shares)
        if not math.isfinite(self._off):
            return Closeness(math.inf, None, math.inf, agreement, *shares)
        relative_l2 = math.sqrt(self._off / max(self._reference, 1e-30))
        cosine = self._dot / max(math.sqrt(self._found * self._reference), 1e-30)
        return Closeness(relative_l2, cosine, self._max_abs, agreement, *shares)

    def pixels(self) -> Equality | None:
        """Return how the frames reached the first weight in both stages, None where one does not show it."""
        return Equality(self._values, self._different, "", self._farthest) if self._has_pixels else None


def near_borders(mask: Masks) -> npt.NDArray[np.bool_]:
    """Return which pixels of uint8 [H, W] have another class within 3 pixels, in rows, columns and diagonals."""
    kernel = np.ones((2 * BORDER_PIXELS + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(mask, kernel) != cv2.erode(mask, kernel))


def distance(found: Seen, reference: Seen) -> Distance:
    """Return how far one batch of a stage is from that of another."""
    tally = Tally()
    tally.add(found, reference)
    return tally.closeness().distance
