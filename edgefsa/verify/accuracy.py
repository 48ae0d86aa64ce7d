"""Accuracy on labelled frames: mean intersection over union, pixel accuracy, IoU of each class."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.data.classes import ClassSet, generated_names, same_names
from edgefsa.data.readers import Dataset, Sample
from edgefsa.data.survey import Survey
from edgefsa.errors import DataError, InputError
from edgefsa.media.frames import Frame, Mask, resize_mask
from edgefsa.segment import Segmenter
from edgefsa.verify.doubts import Doubts
from edgefsa.verify.seen_in_training import seen_in_training

Progress = Callable[[int, int], None]
Item = TypeVar("Item")


class ConfusionMatrix:
    """Counts of pixels by true class (row) and predicted class (column), int64 [K, K].

    Label pixels of `ignore_index` are not counted; where a prediction holds it, the label's class was missed (`missed`,
    int64 [K]). IoU is TP / (TP + FP + FN), summed over all frames before the
    division (Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", section 4.2.3).
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts: npt.NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        self.missed: npt.NDArray[np.int64] = np.zeros(num_classes, np.int64)

    def update(self, prediction: Mask, label: Mask) -> None:
        """Count one frame: two uint8 [H, W] of class indices.

        Raises InputError where the sizes differ or a prediction is out of range, DataError where a label is.
        """
        if prediction.shape != label.shape:
            raise InputError(f"prediction {list(prediction.shape)} and label {list(label.shape)} differ in size")
        pairs = _pairs(label, prediction)
        classes, ignored = self.num_classes, self.ignore_index
        if ignored is not None:
            pairs[ignored] = 0
        true = np.flatnonzero(pairs.any(axis=1))
        if true.size and true[-1] >= classes:
            raise DataError(f"a label holds class {true[-1]}, but there are {classes} classes; mend the label")
        if ignored is not None and ignored >= classes:
            missed, pairs[:, ignored] = pairs[:classes, ignored].copy(), 0
        else:
            missed = np.zeros(classes, np.int64)
        predicted = np.flatnonzero(pairs.any(axis=0))
        if predicted.size and predicted[-1] >= classes:
            raise InputError(f"a prediction holds class {predicted[-1]}, but there are {classes} classes")
        self.missed += missed
        self.counts += pairs[:classes, :classes]

    def add(self, other: ConfusionMatrix) -> None:
        """Count what `other`, a matrix of the same classes, has counted."""
        self.counts += other.counts
        self.missed += other.missed

    @property
    def hits(self) -> npt.NDArray[np.int64]:
        """Pixels of each class that are right, int64 [K]."""
        return np.diag(self.counts)

    @property
    def unions(self) -> npt.NDArray[np.int64]:
        """Pixels of each class in label or prediction, int64 [K]."""
        return np.asarray(self.counts.sum(axis=0) + self.counts.sum(axis=1) + self.missed - self.hits, np.int64)

    @property
    def per_class_iou(self) -> list[float | None]:
        """The IoU of each class, 0 to 1; None for a class that neither labels nor predictions hold."""
        return [float(hit / union) if union else None for hit, union in zip(self.hits, self.unions, strict=True)]

    @property
    def miou(self) -> float:
        """The mean of the IoUs that are defined; DataError where not one pixel was counted."""
        self._total()
        return float(np.mean([iou for iou in self.per_class_iou if iou is not None]))

    @property
    def pixel_accuracy(self) -> float:
        """The share of counted pixels that are right, 0 to 1; DataError where none was counted."""
        return float(np.trace(self.counts) / self._total())

    def _total(self) -> int:
        total = int(self.counts.sum() + self.missed.sum())
        if total == 0:
            raise DataError("the labels hold no counted pixel (all are ignored); accuracy needs labelled frames")
        return total


# Masks of frames, list by list.
Predict = Callable[[Iterator[list[Frame]]], Iterable[Sequence[Mask]]]
# Called with a sample, its label and the engine's mask (both uint8 [H, W]), and the counts of this frame alone.
Observer = Callable[[Sample, Mask, Mask, ConfusionMatrix], None]


def _pairs(label: Mask, prediction: Mask) -> npt.NDArray[np.int64]:
    """Count the pixels of each label value (row) and predicted value (column), int64 [256, 256]."""
    counts = np.zeros((256, 256), np.int64)
    # OpenCV counts in float32, which is exact to 2**24.
    rows = max(1, (1 << 24) // max(1, label.shape[1]))
    for first in range(0, label.shape[0], rows):
        part = [np.ascontiguousarray(image[first : first + rows]) for image in (label, prediction)]
        counts += cv2.calcHist(part, [0, 1], None, [256, 256], [0, 256, 0, 256]).astype(np.int64)
    return counts


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracy over `frames` frames: `miou`, `pixel_accuracy` and `per_class_iou` by class name, 0 to 1.

    A class that neither labels nor predictions hold has the IoU None and is left out of `miou`. `unreadable` names the
    files that could not be read and are not in the figures; `notes` says what was guessed of the labels, and where
    what was found speaks against the guess.
    """

    miou: float
    pixel_accuracy: float
    per_class_iou: dict[str, float | None]
    frames: int
    unreadable: Sequence[str] = ()
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def evaluate(
    segmenter: Segmenter, dataset: Dataset, progress: Progress | None = None, observe: Observer | None = None
) -> AccuracyReport:
    """Segment every frame of `dataset` and compare with its label, as `accuracy_of` does.

    Raises DataError also where the data has other classes than the engine: another number, or other names where neither
    side's are made up ("class 0", ...).
    """

    mismatch = class_mismatch(segmenter.names, dataset.class_set, dataset.name)
    if mismatch is not None:
        raise DataError(mismatch)
    report = accuracy_of(masks_by(segmenter), dataset, batch=segmenter.batch, progress=progress, observe=observe)
    return replace(report, notes=(*seen_in_training(segmenter.session.manifest, dataset), *report.notes))


def masks_by(segmenter: Segmenter) -> Predict:
    """Return what `accuracy_of` predicts by: the engine's masks, with runs under way while pixels are counted."""
    return lambda batches: ([item.mask for item in found] for found in segmenter.segment_ahead(batches))


def accuracy_of(
    predict: Predict,
    dataset: Dataset,
    *,
    batch: int = 1,
    progress: Progress | None = None,
    observe: Observer | None = None,
) -> AccuracyReport:
    """Compare what `predict` makes of the frames of `dataset`, `batch` at a time, with their labels.

    `predict` takes an iterator of lists of frames uint8 [H, W, 3] BGR and yields for each list its masks, uint8 [h, w]
    of class indices, which are resized to their labels; `observe` is called with each. Files that cannot be read are
    left out and named in the report. Raises DataError where a label is missing or does not follow the data set's
    convention, or where no file can be read.
    """
    classes = dataset.class_set
    matrix = ConfusionMatrix(classes.num_classes, classes.ignore_index)
    survey, doubts = Survey(dataset), Doubts(dataset)
    groups = [range(first, min(first + batch, len(dataset))) for first in range(0, len(dataset), batch)]
    under_way: deque[list[Sample]] = deque()

    def frames() -> Iterator[list[Frame]]:
        for samples in read_ahead(list(survey.readable(group)) for group in groups):
            under_way.append(samples)
            yield [sample.frame for sample in samples]

    for group, masks in zip(groups, predict(frames()), strict=True):
        for sample, mask in zip(under_way.popleft(), masks, strict=True):
            label = label_of(sample)
            resized = resize_mask(mask, label.shape)
            of_frame = ConfusionMatrix(classes.num_classes, classes.ignore_index)
            of_frame.update(resized, label)
            matrix.add(of_frame)
            if observe is not None:
                observe(sample, label, resized, of_frame)
            doubts.add(sample, label, resized)
        if progress is not None:
            progress(group.stop, len(dataset))
    survey.check_any()
    per_class = dict(zip(classes.names, matrix.per_class_iou, strict=True))
    notes = (*survey.notes(), *doubts.notes(matrix))
    return AccuracyReport(matrix.miou, matrix.pixel_accuracy, per_class, survey.frames, tuple(survey.unreadable), notes)


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield `items`, of which the next one is being made in another thread while the caller works on this one."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Any] = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item


def label_of(sample: Sample) -> Mask:
    """Return the sample's label; DataError where it has none."""
    if sample.label is None:
        raise DataError(
            f"{sample.name} has no label; training and evaluation need labelled data (camvid:DIR, folder:DIR, ...)"
        )
    return sample.label


def class_mismatch(names: tuple[str, ...], classes: ClassSet, data_name: str) -> str | None:
    """Return why an engine with the classes `names` cannot be held against labels of `classes`, or None.

    That is another number of classes, or other names where neither side's are made up ("class 0", ...).
    """
    if len(names) != classes.num_classes:
        return (
            f"the engine knows {len(names)} classes, {data_name} has {classes.num_classes}; "
            "evaluate on data with the engine's classes"
        )
    if generated_names(len(names)) in (names, classes.names):
        return None
    for index, (name, other) in enumerate(zip(names, classes.names, strict=True)):
        if not same_names((name,), (other,)):
            return (
                f"class {index} is {name!r} to the engine and {other!r} in {data_name}; "
                "evaluate on data with the engine's classes, or mend classes.txt"
            )
    return None
