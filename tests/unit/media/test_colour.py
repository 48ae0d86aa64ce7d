"""Colours of videos against the formulas of BT.601, BT.709 and BT.2020, in float64."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from edgefsa.media.colour import bgr_from_video, video_from_bgr
from edgefsa.media.video import VideoReader
from tests.unit.media.clips import planar_frame, write_clip

# Kr and Kb of each matrix, by its number in ISO/IEC 23091-2.
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
LIMITED, FULL = 1, 2
BLOCK = 16


def bgr_of(ycbcr: np.ndarray, matrix: int, colour_range: int, bits: int) -> np.ndarray:
    """The standards' formula: values [..., 3] of `bits` bits to B, G, R of 0 to 255, not yet rounded."""
    step = 2.0 ** (bits - 8)
    y, cb, cr = np.moveaxis(ycbcr.astype(np.float64), -1, 0)
    top = 2.0**bits - 1
    y = y / top if colour_range == FULL else (y - 16 * step) / (219 * step)
    cb, cr = ((c - 128 * step) / (top if colour_range == FULL else 224 * step) for c in (cb, cr))
    kr, kb = MATRICES[matrix]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return 255 * np.stack([blue, green, red], -1)


def patches(bits: int, seed: int = 3) -> np.ndarray:
    """Colours [5, 7, 3] that lie within the cube of every matrix and range."""
    rng, step = np.random.default_rng(seed), 2 ** (bits - 8)
    y = rng.integers(70 * step, 180 * step, (5, 7, 1))
    return np.concatenate([y, rng.integers(108 * step, 148 * step, (5, 7, 2))], -1)


def frame_of(values: np.ndarray, pixel_format: str, size_hw: tuple[int, int]) -> av.VideoFrame:
    large = values.repeat(BLOCK, 0).repeat(BLOCK, 1)[: size_hw[0], : size_hw[1]]
    large = large.astype(np.uint16 if "10le" in pixel_format else np.uint8)
    rows = slice(None, None, 2 if "420" in pixel_format else 1)
    columns = slice(None, None, 1 if "444" in pixel_format else 2)
    return planar_frame(
        [np.ascontiguousarray(plane) for plane in (large[..., 0], *np.moveaxis(large[rows, columns, 1:], -1, 0))],
        pixel_format,
    )


def middles(image: np.ndarray) -> np.ndarray:
    """The pixel in the middle of each patch."""
    return image[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK]


@pytest.mark.parametrize("size_hw", [(80, 112), (75, 109)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le"])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_frame_has_the_colours_of_its_matrix_and_range(
    matrix: int, colour_range: int, pixel_format: str, size_hw: tuple[int, int]
) -> None:
    bits = 10 if "10le" in pixel_format else 8
    values = patches(bits)
    frame = frame_of(values, pixel_format, size_hw)
    frame.colorspace, frame.color_range = matrix, colour_range
    found = bgr_from_video(frame)
    assert found.shape == (*size_hw, 3)
    # Half a step of rounding; the scaler takes 10 full-range bits for 1023/1024 of their value.
    tolerance = 1.3 if (bits, colour_range) == (10, FULL) else 0.51
    assert np.abs(middles(found) - bgr_of(values, matrix, colour_range, bits)).max() <= tolerance


@pytest.mark.parametrize(("rows", "matrix"), [(576, 5), (720, 1)])
def test_a_frame_that_names_nothing_has_its_size_taken_for_a_sign(rows: int, matrix: int) -> None:
    values = patches(8).repeat(10, 0)[: rows // BLOCK]
    frame = frame_of(values, "yuv420p", (rows, 112))
    assert (frame.colorspace, frame.color_range) == (2, 0)
    assert np.abs(middles(bgr_from_video(frame)) - bgr_of(values, matrix, LIMITED, 8)).max() <= 0.51


def test_jpegs_formats_and_grey_have_the_full_range() -> None:
    values = patches(8)
    found = bgr_from_video(frame_of(values, "yuvj420p", (80, 112)))
    assert np.abs(middles(found) - bgr_of(values, 5, FULL, 8)).max() <= 0.51
    grey = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    found = bgr_from_video(av.VideoFrame.from_ndarray(grey, "gray"))
    assert np.array_equal(found, grey[..., None].repeat(3, 2))


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24", "gbrp", "rgba"])
def test_rgb_formats_stay_as_they_are(pixel_format: str) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixel_format)
    assert np.array_equal(bgr_from_video(frame)[..., ::-1], rgb)


@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 5])
def test_to_video_and_back_keeps_colours(matrix: int, colour_range: int) -> None:
    values = np.rint(bgr_of(patches(8), 1, LIMITED, 8))
    frame = values.clip(0, 255).astype(np.uint8).repeat(BLOCK, 0).repeat(BLOCK, 1)
    video = video_from_bgr(frame, "yuv420p", matrix, colour_range)
    assert (video.colorspace, video.color_range) == (matrix, colour_range)
    # One step of Y, Cb or Cr is up to 2.1 of B.
    assert np.abs(middles(bgr_from_video(video)).astype(int) - middles(frame)).max() <= 2


@pytest.mark.parametrize("colour_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_matrix_and_range_come_through_a_file(tmp_path: Path, matrix: int, colour_range: int) -> None:
    values = patches(8)
    frames = [frame_of(values, "yuv420p", (80, 112)) for _ in range(2)]
    for frame in frames:
        frame.colorspace, frame.color_range = matrix, colour_range
    path = write_clip(tmp_path / "a.mp4", frames, options={"qp": "0"}, colorspace=matrix, color_range=colour_range)
    first = next(iter(VideoReader(path))).frame
    assert np.abs(middles(first) - bgr_of(values, matrix, colour_range, 8)).max() <= 0.51
