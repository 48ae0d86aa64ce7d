"""What is kept of an evaluation's frames, against counts made anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgefsa.data.classes import ClassSet
from edgefsa.data.readers import Sample
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import ConfusionMatrix, accuracy_of, evaluate
from edgefsa.verify.bootstrap import resampled_miou
from edgefsa.verify.frame_details import FrameDetails, FrameObserver
from tests.unit.segment.fakes import FakeSession
from tests.unit.verify.test_accuracy import fake_dataset

CLASSES = ClassSet("three", ("a", "b", "c"), ((200, 0, 0), (0, 200, 0), (0, 0, 200)), 255)


def observed(pairs: list[tuple[np.ndarray, np.ndarray]], worst: int = 2) -> FrameDetails:
    """The details of frames given as (mask, label)."""
    observer = FrameObserver(CLASSES, worst)
    for index, (mask, label) in enumerate(pairs):
        matrix = ConfusionMatrix(3, 255)
        matrix.update(mask, label)
        frame = np.full((*label.shape, 3), 100, np.uint8)
        observer(Sample(f"f{index}", frame, label), label, mask, matrix)
    return observer.details()


def frame(wrong: int, size_hw: tuple[int, int] = (20, 30)) -> tuple[np.ndarray, np.ndarray]:
    """A mask and its label of the classes a and b, with so many wrong pixels of a."""
    label = np.zeros(size_hw, np.uint8)
    label[:, size_hw[1] // 2 :] = 1
    label[-1] = 255
    mask = np.where(label == 255, 2, label).astype(np.uint8)
    mask[0, :wrong] = 2
    return mask, label


def test_the_sums_over_frames_are_the_evaluation() -> None:
    observer = FrameObserver(fake_dataset(1).class_set)
    with Segmenter(FakeSession((96, 128), batch=2)) as segmenter:
        accuracy = evaluate(segmenter, fake_dataset(5), observe=observer)
    found = observer.details()
    hits, unions = found.hits.sum(axis=0), found.unions.sum(axis=0)
    ious = [float(hit / union) if union else None for hit, union in zip(hits, unions, strict=True)]
    assert ious == list(accuracy.per_class_iou.values())
    assert found.names == tuple(f"f{index}" for index in range(5))
    assert np.trace(found.confusion) / found.confusion.sum() == pytest.approx(accuracy.pixel_accuracy)
    assert abs(resampled_miou(found.hits, found.unions).mean() - accuracy.miou) < 0.01
    assert len(found.worst) == 3 and 0 < (found.mean_boundary_iou or 0) < 1


def test_the_worst_frames_are_kept_in_order_and_the_first_of_equals() -> None:
    found = observed([frame(1), frame(9), frame(4), frame(9), frame(0)])
    assert [worst.name for worst in found.worst] == ["f1", "f3"]
    assert [worst.name for worst in observed([frame(3)] * 4, worst=1).worst] == ["f0"]
    (worst,) = observed([frame(9)]).worst
    area = 19 * 15
    assert worst.miou == pytest.approx(((area - 9) / area + 1.0) / 2), "class c is not in the label"


def test_a_frame_without_labels_counts_but_is_not_shown() -> None:
    empty = (np.zeros((20, 30), np.uint8), np.full((20, 30), 255, np.uint8))
    found = observed([empty, frame(2)])
    assert found.names == ("f0", "f1") and [worst.name for worst in found.worst] == ["f1"]


def test_pictures_show_truth_mask_and_what_is_wrong() -> None:
    mask, label = frame(12, (20, 30))
    (worst,) = observed([(mask, label)]).worst
    assert worst.truth[5, 2].tolist() == [0, 0, 200] and worst.truth[5, 20].tolist() == [0, 200, 0], "BGR"
    assert worst.truth[-1, 0].tolist() == [0, 0, 0], "no label"
    assert worst.mask[0, 5].tolist() == [200, 0, 0]
    red = (worst.difference[..., 2] > worst.difference[..., 1] + 50) & (worst.difference[..., 1] < 100)
    assert np.array_equal(red, (mask != label) & (label != 255)), "what has no label is not wrong"
    large = observed([frame(600, (360, 1280))]).worst[0]
    assert large.frame.shape == large.truth.shape == large.difference.shape == (90, 320, 3)
    assert (large.difference[0, :150, 2] > large.difference[0, :150, 1]).all(), "thin faults stay visible"


def test_observing_changes_no_figure() -> None:
    def predict(batches: Iterator[list[Any]]) -> Iterator[list[np.ndarray]]:
        return ([frame[..., 0] // 64 for frame in frames] for frames in batches)

    seen: list[str] = []
    plain = accuracy_of(predict, fake_dataset(4))
    watched = accuracy_of(predict, fake_dataset(4), observe=lambda sample, *_: seen.append(sample.name))
    assert plain == watched and seen == ["f0", "f1", "f2", "f3"]
