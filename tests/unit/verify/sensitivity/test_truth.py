"""Labels where they fit the network, and otherwise the masks of the float network."""

from __future__ import annotations

import numpy as np
import pytest

from edgefsa.data.classes import ClassSet
from edgefsa.data.readers import Dataset, Sample
from edgefsa.errors import DataError
from edgefsa.verify.sensitivity.truth import FLOAT_MASKS, LABELS, truth_of
from tests.unit.engines.tiny import METADATA
from tests.unit.verify.sensitivity.conftest import Opener
from tests.unit.verify.sensitivity.small import frames


class Entry:
    """A frame, and a label that holds class 1 alone."""

    def __init__(self, index: int, labelled: bool) -> None:
        self.name, self._frame, self._labelled = str(index), frames()[index], labelled

    def identity(self) -> str:
        return self.name

    def frame(self) -> np.ndarray:
        return self._frame

    def read(self, class_set: ClassSet) -> Sample:
        return Sample(self.name, self._frame, np.ones(self._frame.shape[:2], np.uint8) if self._labelled else None)


def dataset(names: tuple[str, ...] = tuple(METADATA["classes"]), labelled: bool = True, count: int = 3) -> Dataset:
    class_set = ClassSet("test", names, tuple((index, 0, 0) for index in range(len(names))), 255)
    return Dataset("test:DIR", "train", class_set, [Entry(index, labelled) for index in range(count)])


def test_which_truth_is_taken_and_why() -> None:
    assert truth_of(dataset(), METADATA) == (LABELS, "")
    assert truth_of(dataset(labelled=False), METADATA) == (FLOAT_MASKS, "test:DIR has no labels")
    truth, why = truth_of(dataset(("a", "b")), METADATA)
    assert truth == FLOAT_MASKS and why == "the engine knows 4 classes, test:DIR has 2"
    with pytest.raises(DataError, match="test:DIR has no frames in its split train"):
        truth_of(dataset(count=0), METADATA)


def test_labels_that_fit_are_what_masks_are_held_against(opened: Opener) -> None:
    bench = opened((), dataset())
    assert bench.truth == LABELS
    sessions = bench._references
    masks = [sessions["float"].run(frame[None])[0] for frame in frames()[:3]]
    hits = sum(int((mask == 1).sum()) for mask in masks)
    seen = sum(mask.size for mask in masks)
    present = len(set(np.unique(masks).tolist()) | {1})
    # Of class 1 the union is everything; the others have no hit.
    assert bench.measure(bench.names).miou == pytest.approx(hits / seen / present)


def test_against_its_own_masks_the_float_network_loses_nothing(opened: Opener) -> None:
    bench = opened((), dataset(("a", "b")))
    assert bench.measure(bench.names).miou == 1.0
    assert any("against masks of the float network, since the engine knows 4 classes" in note for note in bench.notes())
