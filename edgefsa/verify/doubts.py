"""What an engine's masks say about how labels were read: a wrong convention agrees less than another one would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefsa.data.readers import Dataset, Sample
from edgefsa.media.frames import Mask
from edgefsa.media.orientation import upright

if TYPE_CHECKING:
    from edgefsa.verify.accuracy import ConfusionMatrix

# EXIF orientations that keep a frame's size and undo themselves: mirrored, upside down, or both.
_SAME_SIZE = (2, 3, 4)


class Doubts:
    """Agreement of masks with labels as they were read, and as another convention would have read them."""

    def __init__(self, dataset: Dataset) -> None:
        self._convention, self._ignore_index = dataset.convention, dataset.class_set.ignore_index
        self._frames = self._pixels = self._agreeing = self._agreeing_turned = 0

    def add(self, sample: Sample, label: Mask, mask: Mask) -> None:
        """Count one frame: its label and the engine's mask, both uint8 [H, W] of class indices."""
        if sample.orientation not in _SAME_SIZE:
            return
        self._frames += 1
        self._pixels += int((label != self._ignore_index).sum())
        self._agreeing += self._same(mask, label)
        self._agreeing_turned += self._same(mask, upright(label, sample.orientation))

    def notes(self, matrix: ConfusionMatrix) -> list[str]:
        """Return a line for each convention that another one clearly agrees better than."""
        return [*self._turned(), *self._shifted(matrix)]

    def _turned(self) -> list[str]:
        if not _clearly_better(self._agreeing_turned, self._agreeing, self._pixels):
            return []
        other = "upright" if self._convention.label_orientation == "raw" else "raw"
        shares = f"{self._agreeing_turned / self._pixels:.0%} of their pixels agree with the engine when turned"
        return [
            f"the labels of the {self._frames} turned frames look upside down or mirrored: {shares}, "
            f"{self._agreeing / self._pixels:.0%} as read; {self._convention.remedy(_ORIENTATION.format(other))}"
        ]

    def _shifted(self, matrix: ConfusionMatrix) -> list[str]:
        """Compare with labels that count from one where they were read from zero, or the other way about."""
        if self._convention.values:
            return []
        offset, zero = (-1, "unlabelled") if self._convention.zero == "class" else (1, "class")
        agreeing, total = int(np.trace(matrix.counts)), int(matrix.counts.sum())
        shifted = int(np.trace(matrix.counts, offset=offset))
        if not _clearly_better(shifted, agreeing, total):
            return []
        remedy = self._convention.remedy(f'zero = "{zero}"')
        return [
            f"the labels look shifted by one class: {shifted / total:.0%} of the pixels agree with the engine when "
            f"shifted, {agreeing / total:.0%} as read; {remedy}"
        ]

    def _same(self, mask: Mask, label: Mask) -> int:
        return int(((mask == label) & (label != self._ignore_index)).sum())


_ORIENTATION = 'label_orientation = "{}"'


def _clearly_better(other: int, read: int, total: int) -> bool:
    """Return whether another convention agrees on most pixels and the one that was read on fewer: no chance does so."""
    return other > read and 2 * other > total
