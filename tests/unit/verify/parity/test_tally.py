"""Sums over batches against NumPy over all at once."""

from __future__ import annotations

import numpy as np
import pytest

from edgefsa.verify.parity.tally import Seen, Tally, near_borders


def seen(seed: int, frames: int = 3) -> Seen:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(frames, 4, 5, 6)).astype(np.float32)
    masks = rng.integers(0, 4, (frames, 20, 24)).astype(np.uint8)
    return Seen(logits, masks, rng.integers(0, 255, (frames, 3, 20, 24)).astype(np.float32))


def test_figures_over_batches_are_those_over_all_frames():
    found, reference = [seen(1), seen(2, 2)], [seen(3), seen(4, 2)]
    tally = Tally()
    for pair in zip(found, reference, strict=True):
        tally.add(*pair)
    ours, theirs = (
        np.concatenate([item.logits.ravel() for item in side]).astype(np.float64) for side in (found, reference)
    )
    near = tally.closeness()
    assert near.relative_l2 == pytest.approx(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    assert near.cosine == pytest.approx(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
    assert near.max_abs == np.abs(ours - theirs).max()
    same = np.concatenate([(a.masks == b.masks).ravel() for a, b in zip(found, reference, strict=True)])
    assert near.agreement == same.mean()


def test_borders_are_pixels_within_3_of_another_class():
    rng = np.random.default_rng(0)
    mask = np.zeros((30, 40), np.uint8)
    mask[4:9, 10:30], mask[20:, 33:] = 1, 2
    expected = np.zeros(mask.shape, bool)
    for y in range(30):
        for x in range(40):
            window = mask[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            expected[y, x] = (window != mask[y, x]).any()
    assert (near_borders(mask) == expected).all()
    found = np.where(rng.random(mask.shape) < 0.2, 3, mask).astype(np.uint8)
    tally = Tally()
    tally.add(Seen(None, found[None]), Seen(None, mask[None]))
    near = tally.closeness()
    assert near.at_borders == (found == mask)[expected].mean()
    assert near.elsewhere == (found == mask)[~expected].mean() and near.relative_l2 is None


def test_one_class_has_no_borders():
    tally = Tally()
    tally.add(Seen(None, np.ones((1, 9, 9), np.uint8)), Seen(None, np.zeros((1, 9, 9), np.uint8)))
    assert tally.closeness().at_borders is None and tally.closeness().elsewhere == tally.closeness().agreement == 0


def test_pixels_are_compared_to_the_bit():
    one, other = seen(1), seen(1)
    other.pixels[1, 2, 3, 4] = np.nextafter(other.pixels[1, 2, 3, 4], np.float32(np.inf))
    tally = Tally()
    tally.add(other, one)
    found = tally.pixels()
    assert (found.compared, found.different) == (one.pixels.size, 1) and 0 < found.max_abs < 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_infinitely_far(value: float):
    broken = seen(1)
    broken.logits[0, 0, 0, 0] = value
    tally = Tally()
    tally.add(broken, seen(2))
    assert tally.closeness().relative_l2 == np.inf
