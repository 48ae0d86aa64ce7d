"""Boundary IoU against a plain reading of its definition, pixel by pixel."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest

from edgefsa.verify.boundary import BoundaryCounts, band_width, boundary_band


def plain_boundary(mask: np.ndarray, width: int) -> set[tuple[int, int]]:
    """The pixels of a mask (bool) with a pixel outside it at most `width` rows and columns away; the image ends it."""
    height, across = mask.shape
    reach = range(-width, width + 1)

    def outside(y: int, x: int) -> bool:
        return not (0 <= y < height and 0 <= x < across and mask[y, x])

    return {
        (y, x)
        for y, x in itertools.product(range(height), range(across))
        if mask[y, x] and any(outside(y + down, x + right) for down, right in itertools.product(reach, reach))
    }


def blobs(seed: int, size_hw: tuple[int, int], classes: int, ignore: int | None) -> np.ndarray:
    """A label of connected areas, as a street has them."""
    noise = np.random.default_rng(seed).random((classes + (ignore is not None), *size_hw), np.float32)
    label = np.argmax([cv2.GaussianBlur(plane, (0, 0), 3) for plane in noise], axis=0).astype(np.uint8)
    if ignore is not None:
        label[label == classes] = ignore
    return label


@pytest.mark.parametrize("ignore", [None, 255, 3, 1])
@pytest.mark.parametrize("size_hw", [(24, 31), (70, 300)])
def test_counts_equal_the_plain_definition(size_hw: tuple[int, int], ignore: int | None) -> None:
    counts, hits, unions = BoundaryCounts(3, ignore), [0, 0, 0], [0, 0, 0]
    for seed in (1, 2):
        label = blobs(seed, size_hw, 3, ignore)
        prediction = np.where(blobs(seed + 10, size_hw, 2, None) == 1, np.minimum(label, 2), blobs(7, size_hw, 3, None))
        prediction = prediction.astype(np.uint8)
        counts.update(prediction, label)
        seen = label != ignore if ignore is not None else np.ones(size_hw, bool)
        for index in set(range(3)) - {ignore}:
            truth = plain_boundary((label == index) & seen, band_width(size_hw))
            found = plain_boundary((prediction == index) & seen, band_width(size_hw))
            hits[index] += len(truth & found)
            unions[index] += len(truth | found)
    for index in set(range(3)) - {ignore}:
        assert (counts.hits[index], counts.unions[index]) == (hits[index], unions[index])
        assert counts.per_class_iou[index] == pytest.approx(hits[index] / unions[index])


def test_the_band_is_a_share_of_the_diagonal() -> None:
    assert band_width((360, 480)) == 3 == round(0.005 * math.hypot(360, 480))
    assert band_width((1024, 2048)) == 11
    assert band_width((20, 20)) == 1


def test_a_shifted_border_costs_more_here_than_in_iou() -> None:
    label = np.zeros((360, 480), np.uint8)
    label[:, 240:] = 1
    shifted = np.zeros_like(label)
    shifted[:, 243:] = 1
    counts = BoundaryCounts(2)
    counts.update(shifted, label)
    iou = 1 - 3 / 240
    assert counts.mean is not None and counts.mean < 0.75 < iou
    perfect = BoundaryCounts(2)
    perfect.update(label, label)
    assert perfect.per_class_iou == [1.0, 1.0]


def test_classes_that_are_nowhere_have_no_boundary_iou() -> None:
    counts = BoundaryCounts(3, 255)
    counts.update(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8))
    assert counts.per_class_iou == [1.0, None, None] and counts.mean == 1.0
    empty = BoundaryCounts(3, 255)
    empty.update(np.zeros((9, 9), np.uint8), np.full((9, 9), 255, np.uint8))
    assert empty.mean is None


def test_the_band_is_around_every_class_alike() -> None:
    label = np.zeros((11, 11), np.uint8)
    label[5, 5] = 200
    band = boundary_band(label, 2)
    assert band[3:8, 3:8].all() and band[:2].all() and band[:, -2:].all()
    assert not band[2, 2:9].any()
