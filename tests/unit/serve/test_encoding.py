"""Sizes of what is sent, and that masks lose nothing."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefsa.segment import OverlayStyle
from edgefsa.serve.encoding import Encoder, fitted, mask_size
from tests.unit.segment.fakes import PALETTE, moving_square
from tests.unit.serve.harness import Live, Message, serving


@pytest.mark.parametrize(
    ("size_hw", "longest", "expected"),
    [
        ((360, 480), 1280, (360, 480)),
        ((720, 1280), 1280, (720, 1280)),
        ((1080, 1920), 1280, (720, 1280)),
        ((3840, 2160), 1280, (1280, 720)),
        ((1, 4000), 1280, (1, 1280)),
    ],
)
def test_views_keep_their_shape_within_the_limit(
    size_hw: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    assert fitted(size_hw, longest) == expected


@pytest.mark.parametrize(
    ("frame_hw", "engine_hw", "view_hw", "expected"),
    [
        ((360, 480), (360, 480), (360, 480), (360, 480)),
        ((720, 1280), (360, 480), (720, 1280), (360, 640)),  # a stretched engine sees each row, a letterboxed one less
        ((2160, 3840), (360, 640), (720, 1280), (360, 640)),
        ((240, 320), (360, 480), (240, 320), (240, 320)),
        ((2160, 3840), (1080, 1920), (720, 1280), (720, 1280)),
    ],
)
def test_masks_are_as_fine_as_the_engine_and_no_finer_than_the_view(
    frame_hw: tuple[int, int], engine_hw: tuple[int, int], view_hw: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert mask_size(frame_hw, engine_hw, view_hw) == expected


def test_a_large_frame_is_sent_within_the_limit_and_its_mask_exactly(live: Live) -> None:
    shown = live.feed(cv2.resize(moving_square(3), (640, 480), interpolation=cv2.INTER_NEAREST))
    message = Message.read(Encoder(live.run, 320, OverlayStyle()).message(shown))
    assert message.jpeg.shape == (240, 320, 3)
    assert message.mask.shape == (48, 64)
    assert np.array_equal(message.mask, shown.segmentation.mask[5::10, 5::10]), "each of the engine's pixels once"


def test_pictures_for_other_programs(live: Live) -> None:
    shown = live.feed()
    with live.client() as client:
        frame, overlay, mask = (client.get(path) for path in ("/frame.jpg", "/snapshot.jpg", "/mask.png"))
    assert frame.headers["content-type"] == overlay.headers["content-type"] == "image/jpeg"
    decoded = cv2.imdecode(np.frombuffer(frame.content, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - shown.source.frame).mean() < 4
    expected = shown.segmentation.overlay(shown.source.frame)
    drawn = cv2.imdecode(np.frombuffer(overlay.content, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(drawn.astype(int) - expected).mean() < 8
    assert np.abs(drawn.astype(int) - shown.source.frame).mean() > 12
    with Image.open(io.BytesIO(mask.content)) as image:
        assert np.array_equal(np.asarray(image), shown.segmentation.mask)
        assert image.getpalette()[: 3 * len(PALETTE)] == [value for colour in PALETTE for value in colour]


def test_figures_stand_on_overlays_where_they_are_asked_for() -> None:
    pictures = []
    for figures in (False, True):
        with serving((240, 320), style=OverlayStyle(legend=False, figures=figures)) as live:
            live.feed(moving_square(1, (240, 320)))
            with live.client() as client:
                pictures.append(client.get("/snapshot.jpg").content)
    assert pictures[0] != pictures[1]
