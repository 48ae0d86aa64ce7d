"""Batches: shares, order, class weights."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from edgefsa.data.readers import Sample, open_dataset
from edgefsa.errors import DataError, InputError
from edgefsa.train.augment import Augmentation
from edgefsa.train.loader import TrainingBatches, batch_loader, median_frequency_weights, rare_classes, split_batch

AS_IT_IS = Augmentation((1.0, 1.0), 0, 0, 0, 0, 0, 0, 0)


class Flat(list):
    """Sample i is all grey level i, and all of class 0."""

    class_set = SimpleNamespace(ignore_index=11, num_classes=11)

    def __init__(self, levels):
        label = np.zeros((8, 8), np.uint8)
        super().__init__(Sample(str(i), np.full((8, 8, 3), i, np.uint8), label) for i in levels)


@pytest.mark.parametrize(
    ("size", "shares", "expected"),
    [(8, (0.75, 0.25), [6, 2]), (8, (1, 1), [4, 4]), (5, (1, 1), [3, 2]), (10, (0.72, 0.28), [7, 3]), (4, (1,), [4])],
)
def test_split_batch(size, shares, expected):
    assert split_batch(size, shares) == expected


@pytest.mark.parametrize(
    ("size", "shares"),
    [(2, (0.9, 0.1)), (8, (1, 0)), (8, (1, -1)), (8, ()), (8, (1, math.inf)), (8, (1, math.nan)), (1, (1, 1))],
)
def test_split_batch_refuses(size, shares):
    with pytest.raises(InputError):
        split_batch(size, shares)


def test_each_pass_shows_every_sample_once_in_a_new_order():
    batches = TrainingBatches([Flat(range(6)), Flat(range(100, 104))], (2, 1), 3, (8, 8), AS_IT_IS, seed=3)
    loaded = list(batch_loader(batches, 0, 12, workers=2))
    levels = np.stack([frames[:, 0, 0, 0].numpy() for frames, _ in loaded])
    first = levels[:, :2].reshape(-1, 6)
    assert all(sorted(order) == list(range(6)) for order in first)
    assert len({tuple(order) for order in first}) > 1
    second = levels[:, 2].reshape(-1, 4)
    assert all(sorted(order) == [100, 101, 102, 103] for order in second)
    frames, labels = loaded[0]
    assert frames.dtype == labels.dtype == torch.uint8
    assert frames.shape == (3, 8, 8, 3)
    for step in (5, 0):
        assert torch.equal(loaded[step][0], batches[step][0])


def test_median_frequency_weights_by_hand():
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[0, :2] = 1  # class 1: 20 of 100 pixels in frame 0, absent in frame 1
    labels[1, :1] = 2  # class 2: 10 of 100 pixels in frame 1
    labels[1, 9] = 11
    frame = np.zeros((10, 10, 3), np.uint8)
    data = [Sample(str(i), frame, label) for i, label in enumerate(labels)]
    frequency = np.array([(0.8 + 80 / 90) / 2, 0.2, 10 / 90])
    expected = np.append((np.median(frequency) / frequency) ** 0.5, 1.0)
    np.testing.assert_allclose(median_frequency_weights([data], (1.0,), 4), expected, rtol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_label_is_told_in_one_line_from_any_process(tmp_path, workers):
    for part in ("images", "labels"):
        (tmp_path / "train" / part).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "train" / part / "a.png"), np.full((8, 8), 77, np.uint8))
    batches = TrainingBatches([open_dataset(f"camvid:{tmp_path}", "train")], (1,), 1, (8, 8), AS_IT_IS, seed=0)
    with pytest.raises(DataError, match=r"^.*a\.png holds class 77; camvid has 0 to 10") as caught:
        list(batch_loader(batches, 0, 2, workers))
    assert "\n" not in str(caught.value)


def test_rare_classes_of_other_frames_are_pasted_in():
    frames = Flat(range(6))
    for index, sample in enumerate(frames):
        label = sample.label.copy()
        label[index] = index  # class i in row i of frame i, which has grey level i
        frames[index] = dataclasses.replace(sample, label=label)
    paste = dataclasses.replace(AS_IT_IS, paste=1.0)
    batches = TrainingBatches([frames], (1,), 6, (8, 8), paste, seed=1, rare_classes=[1, 2, 3, 4, 5])
    images, labels = batches[0]
    assert max(len(label.unique()) for label in labels) == 3  # its own, another's and the rest
    for image, label in zip(images[..., 0], labels, strict=True):
        rows = [row for row in range(8) if label[row, 0] == row > 0]
        assert all((image[row] == row).all() for row in rows)
    assert torch.equal(batches[0][0], images)


def test_rare_classes_are_those_below_the_median_frequency():
    assert rare_classes(np.array([0.4, 1.0, 1.2, 0.9, 10.0], np.float32)) == [2, 4]
