"""What is drawn where: tint, contours and legend, checked pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.media.labels import read_label
from edgefsa.media.pictures import read_image
from edgefsa.segment import OverlayStyle, draw_overlay
from edgefsa.segment.overlay import MODES, class_shares

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


def plainly_drawn(frame: np.ndarray, mask: np.ndarray, alpha: float, hidden: tuple[int, ...]) -> np.ndarray:
    """The formula in float64: tint of the classes that are shown, then lines 2 pixels wide where classes meet."""
    shown = np.isin(mask, [index for index in range(len(NAMES)) if index not in hidden])
    colours = np.array([*PALETTE, *[(0, 0, 0)] * (256 - len(PALETTE))], float)[mask][..., ::-1]
    drawn = np.where(shown[..., None], alpha * colours + (1 - alpha) * frame, frame)
    border = np.zeros(mask.shape, bool)
    border[1:] |= mask[1:] != mask[:-1]
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    border[1:, 1:] |= (mask[1:, 1:] != mask[:-1, :-1]) | (mask[1:, :-1] != mask[:-1, 1:])
    return np.where(border[..., None], drawn / 3 + 160, drawn)


@pytest.mark.parametrize("alpha", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("hidden", [(), (1,), (0, 2)])
@pytest.mark.parametrize("size_hw", [(48, 64), (301, 407)])
def test_a_picture_is_the_plain_formula(alpha: float, hidden: tuple[int, ...], size_hw: tuple[int, int]) -> None:
    random = np.random.default_rng(2)
    frame = random.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    mask = np.kron(random.choice(np.array([0, 1, 2, 7, 255], np.uint8), (31, 31)), np.ones((10, 14), np.uint8))
    mask = np.ascontiguousarray(mask[: size_hw[0], : size_hw[1]])
    before = frame.copy()
    drawn = draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(alpha, legend=False, hidden=frozenset(hidden)))
    assert np.abs(drawn - plainly_drawn(frame, mask, alpha, hidden)).max() <= 1.01
    assert np.array_equal(frame, before)


def test_modes_show_the_mask_alone_the_frame_alone_or_both() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mask = halves()
    mask[:, 70:] = 255
    shown = {
        mode: draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(legend=False, contours=False, mode=mode))
        for mode in MODES
    }
    assert np.array_equal(shown["frame"], frame)
    assert shown["frame"] is not frame
    colours = np.array([*PALETTE, *[(0, 0, 0)] * 253], np.uint8)[mask][..., ::-1]
    assert np.array_equal(shown["mask"], colours), "unlabelled pixels are black"
    assert np.array_equal(shown["side by side"], np.hstack([frame, shown["overlay"]]))


FIGURES = (
    *(("fps", "30.0"), ("latency", "12.5 ms"), ("p95", "16.1 ms"), ("engine", "tensorrt int8"), ("dropped", "104")),
    *(("agreement", "99.91 %"), ("temperature", "61 °C"), ("power", "14.9 W")),
)
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicycle")
GRAYS = tuple((20 * index, 20 * index, 20 * index) for index in range(11))


def panels_of(size_hw: tuple[int, int], figures: Sequence[tuple[str, str]]) -> list[tuple[int, int, int, int]]:
    """Draw on white and find the panels: (top, bottom, left, right) of each dark box, by its outline."""
    mask = (np.arange(size_hw[1]) * 11 // size_hw[1]).astype(np.uint8)[None].repeat(size_hw[0], 0)
    white = np.full((*size_hw, 3), 255, np.uint8)
    style = OverlayStyle(alpha=0.0, contours=False)
    changed = (draw_overlay(white, mask, GRAYS, CAMVID, style, figures) < 255).any(axis=2).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(changed)
    return [(top, top + high, left, left + wide) for left, top, wide, high, area in boxes[1:] if area > 50]


@pytest.mark.parametrize(
    "size_hw", [(180, 320), (240, 320), (360, 480), (480, 640), (720, 1280), (2160, 3840), (480, 270), (1280, 720)]
)
def test_legend_and_figures_have_room_and_never_overlap(size_hw: tuple[int, int]) -> None:
    boxes = panels_of(size_hw, FIGURES)
    assert len(boxes) == 2, "two panels apart from each other"
    for top, bottom, left, right in boxes:
        assert 0 < top < bottom < size_hw[0]
        assert 0 < left < right < size_hw[1]
    assert min(left for _, _, left, _ in boxes) == min(top for top, *_ in boxes), "the same margin"
    share = sum((bottom - top) * (right - left) for top, bottom, left, right in boxes) / (size_hw[0] * size_hw[1])
    assert share < (0.75 if min(size_hw) <= 240 else 0.5)


@pytest.mark.parametrize("size_hw", [(20, 600), (64, 64), (100, 100), (40, 150), (1, 1)])
def test_what_has_no_room_is_left_out(size_hw: tuple[int, int]) -> None:
    for top, bottom, left, right in panels_of(size_hw, FIGURES):
        assert 0 < top < bottom < size_hw[0]
        assert 0 < left < right < size_hw[1]


@pytest.mark.parametrize(("size_hw", "lowest_px"), [((180, 320), 7), ((720, 1280), 13), ((2160, 3840), 40)])
def test_letters_are_as_high_as_can_be_read(size_hw: tuple[int, int], lowest_px: int) -> None:
    black = np.zeros((*size_hw, 3), np.uint8)
    drawn = draw_overlay(black, black[..., 0], [(0, 0, 0)], ["H"], OverlayStyle(legend=False), [("", "HHH")])
    rows = np.nonzero((drawn > 128).any(axis=(1, 2)))[0]
    assert rows.max() - rows.min() + 1 >= lowest_px
    assert drawn.max() - 24 > 200, "bright on dark"


def test_numbers_and_hidden_classes_show_in_the_legend() -> None:
    frame, mask = np.full((200, 240, 3), 90, np.uint8), halves((200, 240))
    plain = draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(alpha=0.0))
    numbered = draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(alpha=0.0, numbered=True))
    assert not np.array_equal(plain, numbered)
    hidden = draw_overlay(frame, mask, PALETTE, NAMES, OverlayStyle(alpha=0.0, hidden=frozenset([0])))
    swatches = hidden[:60].reshape(-1, 3).tolist()
    assert [200, 100, 10] not in swatches, "a hidden class has an empty swatch"
    assert [0, 50, 200] in swatches


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
    with pytest.raises(InputError, match="'both' is no way to show a mask; give one of overlay"):
        OverlayStyle(mode="both")


def test_a_real_frame_with_its_label(camvid_dir: Path) -> None:
    image = sorted((camvid_dir / "val" / "images").iterdir())[0]
    frame, label = read_image(image), read_label(camvid_dir / "val" / "labels" / f"{image.stem}.png")
    names = [f"c{index}" for index in range(11)]
    palette = [(20 * index, 0, 0) for index in range(11)]
    drawn = draw_overlay(frame, label, palette, names, OverlayStyle(contours=False, legend=False))
    assert np.array_equal(drawn[label == 11], frame[label == 11])
    sky = drawn[label == 0].astype(float)
    assert np.abs(sky - frame[label == 0] / 2).max() <= 0.51
