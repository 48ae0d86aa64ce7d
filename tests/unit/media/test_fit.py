"""Frames of other shapes in an engine of one size, and masks and points back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.media.fit import BORDER, FITS, Box, check_fit, fit_frame, geometry
from edgefsa.media.frames import resize_frame

SIZES = [(270, 480), (1080, 1920), (480, 640), (1920, 1080), (37, 1000), (1, 1), (361, 479), (359, 481)]
ENGINE = (360, 480)
IGNORED = 255


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("frame_hw", SIZES)
def test_boxes_lie_in_the_middle_in_the_right_shape(fit: str, frame_hw: tuple[int, int]) -> None:
    made = geometry(fit, frame_hw, ENGINE)
    for box, (height, width) in ((made.seen, frame_hw), (made.filled, ENGINE)):
        assert 0 <= box.top <= box.top + box.height <= height
        assert 0 <= box.left <= box.left + box.width <= width
        assert abs((height - box.height) - 2 * box.top) <= 1
        assert abs((width - box.width) - 2 * box.left) <= 1
    if fit != "crop":
        assert made.seen.size_hw == frame_hw
    if fit != "letterbox":
        assert made.filled.size_hw == ENGINE
    if fit != "stretch" and frame_hw != (1, 1):
        # One pixel more or less on the shorter side is all that rounding may cost.
        wanted = made.filled.width * made.seen.height / made.seen.width
        assert abs(made.filled.height - wanted) <= max(1, made.filled.width / made.seen.width)


def test_a_1080p_camera_in_a_3_by_4_engine() -> None:
    assert geometry("letterbox", (1080, 1920), ENGINE).filled == Box(45, 0, 270, 480)
    assert geometry("crop", (1080, 1920), ENGINE).seen == Box(0, 240, 1080, 1440)
    assert geometry("stretch", (1080, 1920), ENGINE).seen == Box(0, 0, 1080, 1920)


@pytest.mark.parametrize("fit", FITS)
def test_a_frame_of_the_engines_shape_is_the_same_for_all(fit: str) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (720, 960, 3), dtype=np.uint8)
    assert np.array_equal(fit_frame(frame, ENGINE, fit), resize_frame(frame, ENGINE))
    same = frame[:360, :480]
    assert fit_frame(same, ENGINE, fit) is same
    mask = same[..., 0]
    assert geometry(fit, ENGINE, ENGINE).mask_to_frame(mask, IGNORED) is mask


def test_letterbox_keeps_circles_round_between_grey_borders() -> None:
    frame = np.zeros((1080, 1920, 3), np.uint8)
    cv2.circle(frame, (960, 540), 300, (255, 255, 255), cv2.FILLED)
    for fit, ratio in (("letterbox", 1.0), ("crop", 1.0), ("stretch", 4 / 3)):
        made = fit_frame(frame, ENGINE, fit)
        rows, columns = np.nonzero(made[..., 0] > 128)
        assert np.ptp(rows) / np.ptp(columns) == pytest.approx(ratio, rel=0.02)
        assert made.shape == (*ENGINE, 3)
    boxed = fit_frame(frame, ENGINE, "letterbox")
    assert np.all(boxed[:45] == BORDER)
    assert np.all(boxed[315:] == BORDER)
    assert np.array_equal(boxed[45:315], resize_frame(frame, (270, 480)))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("frame_hw", [(270, 480), (480, 300), (37, 200), (361, 479), (359, 481)])
def test_a_mask_comes_back_where_its_pixels_came_from(fit: str, frame_hw: tuple[int, int]) -> None:
    made = geometry(fit, frame_hw, ENGINE)
    # Each pixel of the engine's mask holds its own column or row, so that the mask says where a pixel came from.
    for axis in (0, 1):
        places = (np.arange(ENGINE[axis]) * 250 // ENGINE[axis]).astype(np.uint8)
        places_in_mask = np.broadcast_to(places[:, None] if axis == 0 else places, ENGINE)
        mask = made.mask_to_frame(places_in_mask, IGNORED)
        assert mask.shape == frame_hw
        rows, columns = np.nonzero(mask != IGNORED)
        assert set(rows) == set(range(made.seen.top, made.seen.top + made.seen.height))
        assert set(columns) == set(range(made.seen.left, made.seen.left + made.seen.width))
        centres = np.stack([columns, rows], -1) + 0.5
        there = made.points_to_engine(centres)[:, 1 - axis]
        # The pixel whose area holds the centre; on the border of two either will do.
        nearest = [places[np.clip(np.floor(there + nudge).astype(int), 0, ENGINE[axis] - 1)] for nudge in (-1e-6, 1e-6)]
        assert np.all((mask[rows, columns] == nearest[0]) | (mask[rows, columns] == nearest[1]))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("frame_hw", SIZES)
def test_points_go_there_and_back(fit: str, frame_hw: tuple[int, int]) -> None:
    made = geometry(fit, frame_hw, ENGINE)
    points = np.random.default_rng(0).uniform(0, 1, (5, 7, 2)) * frame_hw[::-1]
    assert made.points_to_frame(made.points_to_engine(points)) == pytest.approx(points)
    corners = np.array([[0.0, 0.0], frame_hw[::-1]])
    if fit != "crop":
        filled = made.filled
        wanted = [[filled.left, filled.top], [filled.left + filled.width, filled.top + filled.height]]
        assert made.points_to_engine(corners) == pytest.approx(np.array(wanted))


def test_an_unknown_fit_is_refused() -> None:
    for use in (check_fit, lambda fit: geometry(fit, (2, 2), (2, 2))):
        with pytest.raises(InputError, match="fit 'pad' is unknown; use one of stretch, letterbox, crop"):
            use("pad")


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("frame_hw", [(48, 64), (96, 128), (200, 111), (30, 90), (47, 63)])
def test_a_frame_can_be_fitted_in_place(fit: str, frame_hw: tuple[int, int]) -> None:
    frame = np.random.default_rng(2).integers(0, 256, (*frame_hw, 3), dtype=np.uint8)
    made = geometry(fit, frame_hw, (48, 64))
    batch = np.full((2, 48, 64, 3), 7, np.uint8)
    assert made.to_engine(frame, batch[1]) is not None
    assert (batch[1] == made.to_engine(frame)).all() and (batch[0] == 7).all()
