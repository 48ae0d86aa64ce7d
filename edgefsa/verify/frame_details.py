"""What is kept of each frame of an evaluation: counts for intervals, bands for boundary IoU, pictures of the worst."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.data.classes import ClassSet
from edgefsa.data.readers import Sample
from edgefsa.media.frames import Frame, Mask, resize_frame, resize_mask
from edgefsa.verify.accuracy import ConfusionMatrix
from edgefsa.verify.boundary import BoundaryCounts

Counts = npt.NDArray[np.int64]

_PICTURE_WIDTH = 320
_WRONG_BGR = (45, 45, 225)
_UNLABELLED_RGB = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class WorstFrame:
    """A frame that an engine segments worst: its mIoU (0 to 1) over the classes that its label holds.

    The pictures are uint8 [h, w, 3] BGR, at most 320 pixels wide: the frame, the label and the mask in the colours of
    the classes, and where they differ, in red over the faded frame.
    """

    name: str
    miou: float
    frame: Frame
    truth: Frame
    mask: Frame
    difference: Frame


@dataclass(frozen=True, eq=False)
class FrameDetails:
    """The F frames of an evaluation by K classes.

    `hits` and `unions` are pixels, int64 [F, K]; `confusion` is int64 [K, K], true class by predicted class;
    `boundary_iou` has the boundary IoU of each class, 0 to 1, or None; `worst` the worst frames, the worst first.
    """

    classes: ClassSet
    names: tuple[str, ...]
    hits: Counts
    unions: Counts
    confusion: Counts
    boundary_iou: tuple[float | None, ...]
    worst: tuple[WorstFrame, ...]

    @property
    def mean_boundary_iou(self) -> float | None:
        """The mean boundary IoU of the classes that have one, 0 to 1."""
        found = [iou for iou in self.boundary_iou if iou is not None]
        return float(np.mean(found)) if found else None


class FrameObserver:
    """Collects the details of an evaluation; to be given to `evaluate` as `observe`. Keeps `worst` frames' pictures."""

    def __init__(self, classes: ClassSet, worst: int = 3) -> None:
        self._classes, self._keep = classes, worst
        self._names: list[str] = []
        self._hits: list[Counts] = []
        self._unions: list[Counts] = []
        self._total = ConfusionMatrix(classes.num_classes, classes.ignore_index)
        self._boundary = BoundaryCounts(classes.num_classes, classes.ignore_index)
        self._worst: list[tuple[float, int, WorstFrame]] = []

    def __call__(self, sample: Sample, label: Mask, mask: Mask, found: ConfusionMatrix) -> None:
        """Take one frame: its label and mask, uint8 [H, W] of class indices, and the counts of this frame alone."""
        self._names.append(sample.name)
        self._hits.append(found.hits)
        self._unions.append(found.unions)
        self._total.add(found)
        self._boundary.update(mask, label)
        held = found.counts.sum(axis=1) + found.missed > 0
        if not held.any():
            return
        miou = float(np.mean(found.hits[held] / found.unions[held]))
        key = (-miou, -len(self._names))  # of equals, the first stays
        if len(self._worst) < self._keep:
            heapq.heappush(self._worst, (*key, self._pictures(sample, label, mask, miou)))
        elif key > self._worst[0][:2]:
            heapq.heapreplace(self._worst, (*key, self._pictures(sample, label, mask, miou)))

    def details(self) -> FrameDetails:
        """Return what was collected."""
        shape = (len(self._names), self._classes.num_classes)
        return FrameDetails(
            self._classes,
            tuple(self._names),
            np.asarray(self._hits, np.int64).reshape(shape),
            np.asarray(self._unions, np.int64).reshape(shape),
            self._total.counts,
            tuple(self._boundary.per_class_iou),
            tuple(frame for _, _, frame in sorted(self._worst, reverse=True)),
        )

    def _pictures(self, sample: Sample, label: Mask, mask: Mask, miou: float) -> WorstFrame:
        height, width = label.shape
        small_hw = (max(1, round(height * min(1.0, _PICTURE_WIDTH / width))), min(width, _PICTURE_WIDTH))
        frame = resize_frame(sample.frame, small_hw)
        wrong = ((label != mask) & (label != self._classes.ignore_index)).astype(np.float32)
        share = cv2.resize(wrong, small_hw[::-1], interpolation=cv2.INTER_AREA)
        palette = (*self._classes.palette_rgb, *[_UNLABELLED_RGB] * (256 - self._classes.num_classes))
        truth, drawn = (_coloured(resize_mask(classes, small_hw), palette) for classes in (label, mask))
        return WorstFrame(sample.name, miou, frame, truth, drawn, _difference(frame, np.asarray(share)))


def _coloured(classes: Mask, palette_rgb: Sequence[tuple[int, int, int]]) -> Frame:
    return np.asarray(palette_rgb, np.uint8)[:, ::-1][classes]


def _difference(frame: Frame, wrong: npt.NDArray[np.float32]) -> Frame:
    """Return the frame faded and grey, with the share of wrong pixels (0 to 1, float32 [h, w]) in red."""
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    faded = 160.0 + 0.35 * grey.astype(np.float32)
    share = wrong[..., None]
    return np.asarray((1.0 - share) * faded + share * np.array(_WRONG_BGR, np.float32), np.uint8)
