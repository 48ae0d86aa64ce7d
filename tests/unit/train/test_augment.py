"""Image and label of a sample move together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgefsa.media.frames import Frame, Mask
from edgefsa.train.augment import Augmentation, augment, jitter_colour, paste_classes

IGNORE = 11
STILL = Augmentation(gain=0, gamma=0, tint=0, saturation=0, offset=0, blur=0)


def blocks(seed: int = 0) -> tuple[Frame, Mask]:
    """A frame whose grey level tells its label: level 20 * (label + 1)."""
    label = np.random.default_rng(seed).integers(0, 10, size=(6, 8)).astype(np.uint8)
    label = label.repeat(30, axis=0).repeat(30, axis=1)
    frame = (20 * (label + 1)).astype(np.uint8)[..., None].repeat(3, axis=2)
    return frame, label


@pytest.mark.parametrize("seed", range(12))
def test_label_follows_the_image(seed):
    frame, label = blocks()
    view, mask = augment(frame, label, (96, 128), IGNORE, STILL, np.random.default_rng(seed))
    assert view.shape == (96, 128, 3)
    assert mask.shape == (96, 128)
    inside = mask != IGNORE
    levels = view[..., 0].astype(int)
    agree = np.abs(levels - 20 * (mask.astype(int) + 1)) <= 1
    assert inside.mean() > 0.2
    assert agree[inside].mean() > 0.85  # the rest are blended pixels on the blocks' borders
    beyond = np.abs(levels[~inside] - 128) <= 1
    assert beyond.size == 0 or beyond.mean() > 0.9


def test_views_differ_in_scale_and_side():
    frame, label = blocks()
    left_of, zooms = set(), []
    for seed in range(40):
        _, mask = augment(frame, label, (96, 128), IGNORE, STILL, np.random.default_rng(seed))
        changes = np.count_nonzero(np.diff(mask.astype(int), axis=1)) / 96
        zooms.append(changes)
    assert max(zooms) > 2 * min(zooms)
    ramp = np.broadcast_to(np.arange(0, 240, dtype=np.uint8), (180, 240))
    image = np.ascontiguousarray(ramp[..., None].repeat(3, axis=2))
    for seed in range(20):
        view, _ = augment(image, np.zeros((180, 240), np.uint8), (96, 128), IGNORE, STILL, np.random.default_rng(seed))
        row = view[48, 40:88, 0].astype(int)
        left_of.add(bool(row[-1] > row[0]))
    assert left_of == {True, False}


def test_equal_generators_give_equal_views():
    frame, label = blocks()
    first = augment(frame, label, (64, 96), IGNORE, Augmentation(), np.random.default_rng(5))
    second = augment(frame, label, (64, 96), IGNORE, Augmentation(), np.random.default_rng(5))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_full_window_without_change_is_the_frame():
    frame, label = blocks()
    fixed = dataclasses.replace(STILL, scale=(1.0, 1.0), flip=0.0)
    view, mask = augment(frame, label, (180, 240), IGNORE, fixed, np.random.default_rng(0))
    assert np.array_equal(view, frame)
    assert np.array_equal(mask, label)


def test_colour_changes_stay_in_range_and_keep_order():
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    settings = dataclasses.replace(Augmentation(), saturation=0, blur=0)
    for seed in range(10):
        out = jitter_colour(ramp, settings, np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert (np.diff(out[0].astype(int), axis=0) >= 0).all()


def test_contrast_keeps_a_dark_frame_s_levels_and_its_mean():
    dark = np.arange(10, 50, dtype=np.uint8).repeat(30).reshape(40, 30, 1).repeat(3, axis=2)
    settings = dataclasses.replace(STILL, gain=0.3)
    for seed in range(10):
        out = jitter_colour(dark, settings, np.random.default_rng(seed))
        gain = 1 + np.random.default_rng(seed).uniform(-0.3, 0.3)
        wanted = (dark.astype(float) - dark.mean()) * gain + dark.mean()
        assert np.abs(out - wanted).max() <= 1, "each channel is rounded once, and once more with the grey"


def test_a_view_placed_on_a_rare_class_shows_it():
    frame = np.zeros((120, 160, 3), np.uint8)
    label = np.zeros((120, 160), np.uint8)
    label[7, 150], label[100, 3] = 4, 9
    settings = dataclasses.replace(STILL, scale=(2.0, 2.0), flip=0, rare=1.0)
    seen = set()
    for seed in range(20):
        _, mask = augment(frame, label, (48, 64), IGNORE, settings, np.random.default_rng(seed), [4, 9, 10])
        assert {4, 9} & set(np.unique(mask))
        seen |= set(np.unique(mask))
    assert {4, 9} <= seen
    _, mask = augment(frame, label, (48, 64), IGNORE, settings, np.random.default_rng(0), [10])
    assert mask.shape == (48, 64)  # no pixel of the class: placed as ever


def test_pasting_takes_pixels_and_labels_of_the_classes_alone():
    frame, label = blocks(1)
    donor, donor_label = blocks(2)
    pasted, mask = paste_classes(frame, label, donor, donor_label, [3, 8], np.random.default_rng(0))
    mirrored, mirrored_label = donor[:, ::-1], donor_label[:, ::-1]
    options = [(donor, donor_label), (mirrored, mirrored_label)]
    chosen = next(np.isin(labels, [3, 8]) for _, labels in options if (mask == labels)[np.isin(labels, [3, 8])].all())
    np.testing.assert_array_equal(mask[~chosen], label[~chosen])
    np.testing.assert_array_equal(pasted[..., 0], 20 * (mask + 1))
    np.testing.assert_array_equal(frame, blocks(1)[0])
    small, small_label = blocks(3)[0][::2, ::2], blocks(3)[1][::2, ::2]
    assert paste_classes(frame, label, small, small_label, [3], np.random.default_rng(0))[1].shape == label.shape
