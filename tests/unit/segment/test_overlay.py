"""What is drawn where: tint, contours and legend, checked pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.media.labels import read_label
from edgefsa.media.pictures import read_image
from edgefsa.segment import OverlayStyle, draw_overlay
from edgefsa.segment.overlay import class_shares

NAMES = ("sky", "road", "car")
PALETTE = ((10, 100, 200), (200, 50, 0), (0, 0, 255))


def halves(size_hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(size_hw, np.uint8)
    mask[size_hw[0] // 2 :] = 1
    return mask


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_tint_blends_class_colours_in_bgr(alpha: float) -> None:
    mask = np.random.default_rng(0).integers(0, 3, (30, 40), dtype=np.uint8)
    frame = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    drawn = draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(alpha, legend=False, contours=False))
    colours = np.array(PALETTE, float)[mask][..., ::-1]
    assert np.abs(drawn - (alpha * colours + (1 - alpha) * frame)).max() <= 0.51
    assert drawn is not frame


def test_unlabelled_pixels_keep_the_frame() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    mask = np.full((30, 40), 255, np.uint8)
    mask[:, :10] = 1
    drawn = draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(legend=False, contours=False))
    assert np.array_equal(drawn[:, 10:], frame[:, 10:])
    assert not np.array_equal(drawn[:, :10], frame[:, :10])


def test_contours_lie_on_borders_only() -> None:
    frame = np.zeros((60, 80, 3), np.uint8)
    plain = draw_overlay(frame, halves(), PALETTE, NAMES, OverlayStyle(legend=False, contours=False))
    lined = draw_overlay(frame, halves(), PALETTE, NAMES, OverlayStyle(legend=False))
    rows = np.unique(np.nonzero((plain != lined).any(axis=2))[0])
    assert 1 <= len(rows) <= 2
    assert set(rows) <= {29, 30}
    assert lined[rows[0]].min() >= 150, "a contour shows on any colour"


def test_legend_lists_only_present_classes() -> None:
    frame = np.zeros((200, 240, 3), np.uint8)
    plain = draw_overlay(frame, halves((200, 240)), PALETTE, NAMES, OverlayStyle(legend=False, contours=False))
    listed = draw_overlay(frame, halves((200, 240)), PALETTE, NAMES, OverlayStyle(contours=False))
    rows, columns = np.nonzero((plain != listed).any(axis=2))
    assert rows.max() < 60, "two lines of text and no third"
    assert columns.max() < 160
    panel = listed[: rows.max() + 1].reshape(-1, 3).tolist()
    assert [200, 100, 10] in panel
    assert [0, 50, 200] in panel
    assert [255, 0, 0] not in panel


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 9), (33, 20), (64, 400), (360, 480), (1080, 1920)])
def test_any_size_and_many_classes(size_hw: tuple[int, int]) -> None:
    names = [f"class number {index}" for index in range(150)]
    palette = [(index, 255 - index, 7) for index in range(150)]
    mask = (np.arange(size_hw[0] * size_hw[1]) % 150).reshape(size_hw).astype(np.uint8)
    drawn = draw_overlay(np.zeros((*size_hw, 3), np.uint8), mask, palette, names)
    assert drawn.shape == (*size_hw, 3)
    assert drawn.dtype == np.uint8


def test_class_shares_add_up() -> None:
    mask = np.array([[0, 0, 2, 255]], np.uint8)
    assert class_shares(mask, 3).tolist() == [0.5, 0.0, 0.25]


def test_mistakes_are_named() -> None:
    frame = np.zeros((10, 12, 3), np.uint8)
    with pytest.raises(InputError, match="differ in size"):
        draw_overlay(frame, np.zeros((10, 11), np.uint8), PALETTE, NAMES)
    with pytest.raises(InputError, match="3 colours for 2"):
        draw_overlay(frame, np.zeros((10, 12), np.uint8), PALETTE, NAMES[:2])
    with pytest.raises(InputError, match=r"alpha is 1\.5"):
        OverlayStyle(alpha=1.5)


def test_a_real_frame_with_its_label(camvid_dir: Path) -> None:
    image = sorted((camvid_dir / "val" / "images").iterdir())[0]
    frame, label = read_image(image), read_label(camvid_dir / "val" / "labels" / f"{image.stem}.png")
    names = [f"c{index}" for index in range(11)]
    palette = [(20 * index, 0, 0) for index in range(11)]
    drawn = draw_overlay(frame, label, palette, names, OverlayStyle(contours=False, legend=False))
    assert np.array_equal(drawn[label == 11], frame[label == 11])
    sky = drawn[label == 0].astype(float)
    assert np.abs(sky - frame[label == 0] / 2).max() <= 0.51
