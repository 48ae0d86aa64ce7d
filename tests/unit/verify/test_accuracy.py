"""Accuracy against a plain count of pixels in loops."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgefsa.data.classes import ClassSet
from edgefsa.data.readers import Dataset, Sample, open_dataset
from edgefsa.engines import build_engine
from edgefsa.errors import DataError, InputError
from edgefsa.models.listing import WEIGHTS_DIRECTORY
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import ConfusionMatrix, evaluate, read_ahead
from tests.unit.segment.fakes import NAMES, PALETTE, FakeSession, moving_square


def random_masks(classes: int, size_hw: tuple[int, int] = (23, 31), ignore: int = 255) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(3)
    while True:
        mask = rng.integers(0, classes, size_hw, dtype=np.uint8)
        mask[rng.random(size_hw) < 0.1] = ignore
        yield mask


def counted_in_loops(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int, ignore: int) -> list[list[int]]:
    counts = [[0] * classes for _ in range(classes)]
    for prediction, label in pairs:
        for guess, truth in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True):
            if truth != ignore:
                counts[truth][guess] += 1
    return counts


@pytest.mark.parametrize("ignore", [255, 5, 2])
def test_counts_and_scores_equal_loops(ignore: int) -> None:
    labels, rng, matrix, pairs = (
        random_masks(5, ignore=ignore),
        np.random.default_rng(4),
        ConfusionMatrix(5, ignore),
        [],
    )
    for _ in range(3):
        label = next(labels)
        guess = np.where(rng.random(label.shape) < 0.6, np.minimum(label, 4), rng.integers(0, 5, label.shape))
        pairs.append((guess.astype(np.uint8), label))
        matrix.update(*pairs[-1])
    counts = counted_in_loops(pairs, 5, ignore)
    assert matrix.counts.tolist() == counts
    for index in range(5):
        hit = counts[index][index]
        union = sum(counts[index]) + sum(row[index] for row in counts) - hit
        assert matrix.per_class_iou[index] == pytest.approx(hit / union)
    assert matrix.miou == pytest.approx(sum(iou for iou in matrix.per_class_iou if iou is not None) / 5)
    total = sum(map(sum, counts))
    assert matrix.pixel_accuracy == pytest.approx(sum(counts[index][index] for index in range(5)) / total)


def test_an_absent_class_is_left_out_but_a_false_one_counts() -> None:
    matrix = ConfusionMatrix(4, 255)
    matrix.update(np.array([[0, 0, 1, 3]], np.uint8), np.array([[0, 0, 0, 255]], np.uint8))
    assert matrix.per_class_iou == [2 / 3, 0.0, None, None]
    assert matrix.miou == pytest.approx(1 / 3)


def test_what_a_prediction_leaves_open_was_missed() -> None:
    matrix = ConfusionMatrix(2, 11)
    matrix.update(np.array([[0, 0, 11, 1, 11]], np.uint8), np.array([[0, 1, 1, 1, 11]], np.uint8))
    # Class 1: one hit, one taken for 0, one missed; no class gains a false pixel by what is left open.
    assert matrix.per_class_iou == [1 / 2, 1 / 3]
    assert matrix.pixel_accuracy == 2 / 4


def test_a_perfect_prediction_scores_one() -> None:
    matrix, label = ConfusionMatrix(11, 11), next(random_masks(11, ignore=11))
    matrix.update(np.where(label == 11, 0, label).astype(np.uint8), label)
    assert matrix.miou == matrix.pixel_accuracy == 1.0


def test_without_a_labelled_pixel_there_is_no_accuracy() -> None:
    matrix = ConfusionMatrix(3, 255)
    matrix.update(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8))
    with pytest.raises(DataError, match="no counted pixel"):
        _ = matrix.miou
    with pytest.raises(DataError, match="no counted pixel"):
        _ = matrix.pixel_accuracy


def test_values_out_of_range_and_other_sizes_are_named() -> None:
    matrix = ConfusionMatrix(3, 255)
    zeros = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match="a label holds class 7"):
        matrix.update(zeros, zeros + 7)
    with pytest.raises(InputError, match="a prediction holds class 3"):
        matrix.update(zeros + 3, zeros)
    with pytest.raises(InputError, match="differ in size"):
        matrix.update(np.zeros((2, 3), np.uint8), zeros)
    assert matrix.counts.sum() == 0


class FakeEntry:
    """A frame whose label is right but for its first row; `label=False` leaves the label out."""

    def __init__(self, index: int, label: bool = True) -> None:
        self.name, self._index, self._label = f"f{index}", index, label

    def identity(self) -> str:
        return self.name

    def read(self, class_set: Any) -> Sample:
        frame = moving_square(self._index, (96, 128))
        label = frame[..., 0] // 64
        label[0] = 3
        label[1] = 255
        return Sample(self.name, frame, label if self._label else None)


def fake_dataset(count: int, classes: int = 4, label: bool = True, names: tuple[str, ...] = NAMES) -> Dataset:
    class_set = ClassSet("fake", names[:classes], PALETTE[:classes], 255)
    return Dataset("fake:DIR", "val", class_set, [FakeEntry(index, label) for index in range(count)])


def test_figures_on_frames_that_the_weights_were_trained_on_say_so() -> None:
    class_set = ClassSet("fake", NAMES[:4], PALETTE[:4], 255)
    record = json.loads((WEIGHTS_DIRECTORY / "fsanet-edge.json").read_text())
    session = FakeSession((96, 128))
    with Segmenter(session) as segmenter:
        for weights, spec, split, said in (
            (record["sha256"], "camvid:DIR", "train", True),
            (record["sha256"], "synthetic", "train", True),
            (record["sha256"], "camvid:DIR", "test", False),
            (record["sha256"], "folder:DIR", "train", False),
            ("0" * 64, "camvid:DIR", "train", False),
        ):
            session.manifest.model["weights"] = {"kind": "trained", "sha256": weights}
            report = evaluate(segmenter, Dataset(spec, split, class_set, [FakeEntry(0)]))
            kind = spec.partition(":")[0]
            assert any(f"trained on {kind}'s split {split}" in note for note in report.notes) == said, (spec, split)


@pytest.mark.parametrize("batch", [1, 3])
def test_evaluate_counts_every_frame_at_the_labels_size(batch: int) -> None:
    told = []
    session = FakeSession((96, 128), batch=batch)
    with Segmenter(session) as segmenter:
        report = evaluate(segmenter, fake_dataset(5), progress=lambda done, total: told.append((done, total)))
    assert report.frames == 5
    assert report.pixel_accuracy == pytest.approx(94 / 95), "one row of 95 that are counted is wrong"
    assert list(report.per_class_iou) == list(NAMES)
    assert report.per_class_iou["dim"] is None
    dark = 95 * 128 - 12 * 12 - 128
    assert report.per_class_iou["dark"] == pytest.approx(dark / (dark + 128), rel=1e-3)
    assert told[-1] == (5, 5)
    assert report.as_dict()["per_class_iou"]["dim"] is None


def test_evaluate_refuses_classes_of_other_names() -> None:
    swapped = (NAMES[1], NAMES[0], *NAMES[2:])
    with Segmenter(FakeSession()) as segmenter, pytest.raises(DataError, match=r"class 0 is 'dark' .* 'dim' in fake:"):
        evaluate(segmenter, fake_dataset(2, names=swapped))


def test_evaluate_takes_names_that_are_spelt_otherwise() -> None:
    spelt = tuple(name.upper() for name in NAMES)
    with Segmenter(FakeSession()) as segmenter:
        assert list(evaluate(segmenter, fake_dataset(1, names=spelt)).per_class_iou) == list(spelt)


def test_evaluate_takes_classes_that_one_side_has_not_named() -> None:
    unnamed = tuple(f"class {index}" for index in range(4))
    session = FakeSession()
    with Segmenter(session) as segmenter:
        assert list(evaluate(segmenter, fake_dataset(1, names=unnamed)).per_class_iou) == list(unnamed)
        session.manifest.model["classes"] = list(unnamed)
        assert list(evaluate(segmenter, fake_dataset(1)).per_class_iou) == list(NAMES)


def test_evaluate_names_what_does_not_fit() -> None:
    with Segmenter(FakeSession()) as segmenter:
        with pytest.raises(DataError, match=r"knows 4 classes, fake:DIR has 3"):
            evaluate(segmenter, fake_dataset(2, classes=3))
        with pytest.raises(DataError, match="f0 has no label"):
            evaluate(segmenter, fake_dataset(2, label=False))


@pytest.mark.parametrize(("ignore", "classes"), [(255, 11), (11, 11), (255, 5)])
def test_miou_is_that_of_torchmetrics(ignore: int, classes: int) -> None:
    """An implementation that has nothing in common with this one; some classes are rare, one is absent."""
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("torchmetrics")
    rng = np.random.default_rng(7)
    shares = np.r_[rng.dirichlet(np.full(classes - 1, 0.5)), 0.0]
    matrix = ConfusionMatrix(classes, ignore)
    settings = {"task": "multiclass", "num_classes": classes, "ignore_index": ignore}
    means = metrics.JaccardIndex(average="macro", **settings)
    by_class = metrics.JaccardIndex(average="none", **settings)
    for _ in range(4):
        label = rng.choice(classes, (60, 80), p=shares).astype(np.uint8)
        guess = np.where(rng.random(label.shape) < 0.7, label, rng.choice(classes, label.shape, p=shares))
        label[rng.random(label.shape) < 0.1] = ignore
        matrix.update(guess.astype(np.uint8), label)
        for metric in (means, by_class):
            metric.update(torch.from_numpy(guess.astype(np.int64)), torch.from_numpy(label.astype(np.int64)))
    assert matrix.miou == pytest.approx(float(means.compute()), abs=1e-6)
    for ours, theirs in zip(matrix.per_class_iou, by_class.compute().tolist(), strict=True):
        assert ours is None or ours == pytest.approx(theirs, abs=1e-6)


def test_a_real_engine_scores_what_torchmetrics_says(camvid_dir: Any, edge_onnx: Any, tmp_path: Any) -> None:
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("torchmetrics")
    engine = build_engine(edge_onnx, tmp_path, target="onnxruntime").engine
    dataset = open_dataset(f"camvid:{camvid_dir}", limit=6)
    metric = metrics.JaccardIndex(task="multiclass", num_classes=11, ignore_index=11, average="macro")
    with Segmenter(engine) as segmenter:
        report = evaluate(segmenter, dataset)
        for sample in dataset:
            mask = segmenter.segment(sample.frame).mask
            metric.update(torch.from_numpy(mask.astype(np.int64)), torch.from_numpy(sample.label.astype(np.int64)))
    assert report.miou == pytest.approx(float(metric.compute()), abs=1e-6) and 0.05 < report.miou < 0.9


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for index in range(3):
            made.append(index)
            if index == 1:
                second.set()
            yield index

    taken = read_ahead(items())
    assert next(taken) == 0
    assert second.wait(10), "nothing asked for it yet"
    assert list(taken) == [1, 2] and made == [0, 1, 2]


def test_what_goes_wrong_ahead_is_raised_where_it_belongs() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise DataError("the second label is broken")

    taken = read_ahead(items())
    assert next(taken) == 0
    with pytest.raises(DataError, match="the second label is broken"):
        next(taken)
