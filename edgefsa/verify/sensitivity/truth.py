"""What masks are held against: the labels, or where none fit, what the float network makes of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgefsa.data.classes import ClassSet
from edgefsa.data.readers import Dataset, Sample
from edgefsa.data.survey import Survey
from edgefsa.engines.session import Session
from edgefsa.errors import DataError
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import class_mismatch

LABELS, FLOAT_MASKS = "labels", "masks of the float network"


def truth_of(dataset: Dataset, metadata: dict[str, Any]) -> tuple[str, str]:
    """Return LABELS or FLOAT_MASKS, and why labels do not serve, "" where they do; DataError without any frame."""
    survey = Survey(dataset)
    first = next(survey.readable(range(len(dataset))), None)
    survey.check_any()
    if first is None:
        raise DataError(f"{dataset.name} has no frames in its split {dataset.split}; give data with at least one image")
    if first.label is None:
        return FLOAT_MASKS, f"{dataset.name} has no labels"
    mismatch = class_mismatch(tuple(metadata["classes"]), dataset.class_set, dataset.name)
    return (LABELS, "") if mismatch is None else (FLOAT_MASKS, mismatch.partition(";")[0])


def labelled_by(session: Session, dataset: Dataset) -> Dataset:
    """Return the readable frames of `dataset` with the masks of an open engine as their labels."""
    facts = session.manifest.model
    palette = tuple((red, green, blue) for red, green, blue in facts["palette"])
    classes = ClassSet("the engine's classes", tuple(facts["classes"]), palette, int(facts["ignore_index"]))
    survey, entries = Survey(dataset), []
    with Segmenter(session) as segmenter:
        for index, name in enumerate(dataset.sample_names):
            for sample in survey.readable([index]):
                entries.append(_MaskEntry(name, dataset, index, segmenter.segment(sample.frame).mask))
    return Dataset(dataset.name, dataset.split, classes, entries)


@dataclass(frozen=True)
class _MaskEntry:
    """A frame of another data set, and the mask that stands for its label."""

    name: str
    dataset: Dataset
    index: int
    mask: Mask

    def identity(self) -> str:
        return self.name

    def frame(self) -> Frame:
        return self.dataset.frame(self.index)

    def read(self, class_set: ClassSet) -> Sample:
        return Sample(self.name, self.frame(), self.mask)
