"""Boundary IoU: how well the borders of the classes are met, which IoU, ruled by large areas, hardly shows.

Cheng, Girshick, Dollar, Berg, Kirillov: "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR
2021, equation 1: of truth and prediction only the pixels count that lie within `width` of their own class's contour,
inside it. Distances are the greater of rows and columns, the image's edge is a contour, as in the authors' code.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.media.frames import Mask

# The authors' width for street scenes (Cityscapes), as a share of the diagonal: 3 pixels at 360 x 480.
BAND_SHARE = 0.005


def band_width(size_hw: tuple[int, int]) -> int:
    """Return the width of the band in pixels, 1 or more, for frames of a size."""
    return max(1, round(BAND_SHARE * math.hypot(*size_hw)))


def boundary_band(classes: Mask, width: int) -> npt.NDArray[np.bool_]:
    """Return which pixels of uint8 [H, W] lie within `width` of another class or of the outside, bool [H, W]."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    band = cv2.morphologyEx(classes, cv2.MORPH_GRADIENT, kernel) != 0
    band[:width] = band[-width:] = True
    band[:, :width] = band[:, -width:] = True
    return np.asarray(band, np.bool_)


class BoundaryCounts:
    """Pixels in the bands of each class: where truth and prediction meet (`hits`), and in either; int64 [K].

    Pixels of `ignore_index` in the label count nowhere, and end the classes beside them in both.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        self._num_classes, self._ignore_index = num_classes, ignore_index
        self.hits: npt.NDArray[np.int64] = np.zeros(num_classes, np.int64)
        self.unions: npt.NDArray[np.int64] = np.zeros(num_classes, np.int64)

    def update(self, prediction: Mask, label: Mask) -> None:
        """Count one frame: two uint8 [H, W] of class indices."""
        width = band_width((label.shape[0], label.shape[1]))
        counted = np.ones(label.shape, np.bool_)
        if self._ignore_index is not None:
            counted = label != self._ignore_index
            prediction = np.where(counted, prediction, label)
        true, guessed = counted & boundary_band(label, width), counted & boundary_band(prediction, width)
        both = self._by_class(label[true & guessed & (label == prediction)])
        self.hits += both
        self.unions += self._by_class(label[true]) + self._by_class(prediction[guessed]) - both

    @property
    def per_class_iou(self) -> list[float | None]:
        """The boundary IoU of each class, 0 to 1; None for a class that neither labels nor predictions hold."""
        pairs = zip(self.hits, self.unions, strict=True)
        return [float(hit / union) if union else None for hit, union in pairs]

    @property
    def mean(self) -> float | None:
        """The mean of those that are defined, 0 to 1; None where there is none."""
        found = [iou for iou in self.per_class_iou if iou is not None]
        return float(np.mean(found)) if found else None

    def _by_class(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        return np.bincount(values, minlength=256)[: self._num_classes].astype(np.int64)
