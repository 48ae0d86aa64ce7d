"""Frames of any size through an engine of one size and batch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edgefsa.errors import EngineError, InputError
from edgefsa.segment import Segmentation, Segmenter
from edgefsa.segment.segmenter import masks_from_logits
from tests.unit.segment.fakes import NAMES, PALETTE, TIMES, FakeSession, moving_square


def test_a_frame_of_the_engines_size_goes_in_unchanged() -> None:
    session, frame = FakeSession(), moving_square(3)
    with Segmenter(session) as segmenter:
        segmentation = segmenter.segment(frame)
    assert np.array_equal(session.runs[0][0], frame)
    assert np.array_equal(segmentation.mask, frame[..., 0] // 64)
    assert segmentation.names == NAMES
    assert segmentation.palette_rgb == PALETTE
    assert segmentation.latency_ms > 0
    assert session.entered == 0, "a session that was given is neither entered nor left"


@pytest.mark.parametrize("size_hw", [(96, 128), (97, 131), (24, 33), (1, 1), (200, 40)])
def test_masks_come_back_at_the_frames_own_size(size_hw: tuple[int, int]) -> None:
    frame = np.zeros((*size_hw, 3), np.uint8)
    frame[: size_hw[0] // 2] = 255
    with Segmenter(FakeSession()) as segmenter:
        mask = segmenter.segment(frame).mask
    assert mask.shape == size_hw
    agreement = np.mean(mask == frame[..., 0] // 64)
    assert agreement > 0.94 or size_hw == (1, 1)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("size_hw", [(96, 256), (200, 64), (48, 64)])
def test_a_frame_of_another_shape_is_fitted_as_the_engine_was_made_for(fit: str, size_hw: tuple[int, int]) -> None:
    frame = np.zeros((*size_hw, 3), np.uint8)
    frame[: size_hw[0] // 2] = 255
    session = FakeSession(fit=fit)
    with Segmenter(session) as segmenter:
        mask = segmenter.segment(frame).mask
    assert mask.shape == size_hw
    unseen = mask == 255
    shape = (48 * size_hw[1]) / (64 * size_hw[0])  # above 1 where the frame is wider than the engine
    assert unseen.mean() == pytest.approx(1 - min(shape, 1 / shape) if fit == "crop" else 0.0, abs=0.01)
    assert np.mean(mask[~unseen] == (frame[..., 0] // 64)[~unseen]) > 0.97
    borders = np.mean(session.runs[0][..., 0] == 128)
    assert borders == pytest.approx(1 - min(shape, 1 / shape) if fit == "letterbox" else 0.0, abs=0.01)


def test_an_engine_of_an_earlier_version_is_stretched_to() -> None:
    session = FakeSession(fit="crop")
    del session.manifest.model["fit"]
    with Segmenter(session) as segmenter:
        assert np.all(segmenter.segment(np.zeros((100, 400, 3), np.uint8)).mask == 0)


def test_a_view_that_is_not_contiguous_is_taken() -> None:
    wide = np.random.default_rng(0).integers(0, 256, (48, 128, 3), dtype=np.uint8)
    with Segmenter(FakeSession()) as segmenter:
        assert np.array_equal(segmenter.segment(wide[:, ::2]).mask, wide[:, ::2, 0] // 64)


@pytest.mark.parametrize(("count", "runs"), [(0, 0), (1, 1), (3, 1), (4, 2), (7, 3)])
def test_a_fixed_batch_is_filled_up(count: int, runs: int) -> None:
    session = FakeSession(batch=3)
    frames = [moving_square(index, (48 + index, 64)) for index in range(count)]
    with Segmenter(session) as segmenter:
        results = segmenter.segment_batch(frames)
    assert len(session.runs) == runs
    assert [result.mask.shape for result in results] == [frame.shape[:2] for frame in frames]
    for frame, result in zip(frames, results, strict=True):
        assert np.mean(result.mask == frame[..., 0] // 64) > 0.98


def test_runs_are_under_way_while_the_caller_works(monkeypatch: pytest.MonkeyPatch) -> None:
    session, events = FakeSession(), list[str]()
    submit, collect = session.submit, session.collect
    monkeypatch.setattr(session, "submit", lambda frames: (events.append("submit"), submit(frames))[1])
    monkeypatch.setattr(session, "collect", lambda ticket: (events.append("collect"), collect(ticket))[1])
    clip = [moving_square(index) for index in range(4)]
    with Segmenter(session) as segmenter:
        expected = [segmenter.segment(frame).mask for frame in clip]
        events.clear()
        found = segmenter.segment_ahead([[clip[0]], [], [clip[1]], [clip[2]], [clip[3]]])
        masks = [[item.mask for item in items] for items in found]
        assert [len(items) for items in masks] == [1, 0, 1, 1, 1]
        for mask, wanted in zip([items[0] for items in masks if items], expected, strict=True):
            np.testing.assert_array_equal(mask, wanted)
        assert events[:4] == ["submit", "collect", "submit", "submit"]  # the empty list is no run
        events.clear()
        next(ahead := segmenter.segment_ahead([[frame] for frame in clip]))
        assert events == ["submit", "submit", "collect"]
        ahead.close()
        assert events.count("submit") == events.count("collect")


def test_a_logits_engine_gives_masks_too() -> None:
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, 32:] = 200
    with Segmenter(FakeSession(outputs="logits")) as segmenter:
        mask = segmenter.segment(frame).mask
    assert np.array_equal(mask, frame[..., 0] // 64)


def test_logits_are_upsampled_with_half_pixel_centres() -> None:
    logits = np.random.default_rng(2).standard_normal((3, 4, 5)).astype(np.float32)
    rows, columns = (
        np.clip((np.arange(n * 3) + 0.5) / 3 - 0.5, 0, n - 1) for n in logits.shape[1:]
    )  # the formula of bilinear resizing with align_corners=False
    low_y, low_x = np.floor(rows).astype(int), np.floor(columns).astype(int)
    high_y, high_x = np.minimum(low_y + 1, 3), np.minimum(low_x + 1, 4)
    y, x = (rows - low_y)[:, None], columns - low_x
    top = logits[:, low_y][:, :, low_x] * (1 - x) + logits[:, low_y][:, :, high_x] * x
    bottom = logits[:, high_y][:, :, low_x] * (1 - x) + logits[:, high_y][:, :, high_x] * x
    expected = np.argmax(top * (1 - y) + bottom * y, axis=0)
    assert np.mean(masks_from_logits(logits, (12, 15)) == expected) == 1.0


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray) -> None:
    with Segmenter(FakeSession()) as segmenter, pytest.raises(InputError, match="a frame is uint8"):
        segmenter.segment(frame)


def test_a_path_is_opened_and_closed(fake_engine: FakeSession) -> None:
    segmenter = Segmenter("engines/some")
    with pytest.raises(EngineError, match="engines/some is not open"):
        segmenter.segment(moving_square(0))
    for _ in range(2):
        with segmenter:
            assert fake_engine.entered == 1
            segmenter.segment(moving_square(0))
        assert fake_engine.entered == 0
    with pytest.raises(EngineError, match="is not open"):
        segmenter.segment(moving_square(0))


def test_segmentation_validates_its_parts() -> None:
    mask = np.array([[0, 3]], np.uint8)
    assert Segmentation(mask, NAMES, PALETTE, TIMES).shares == {"dark": 0.5, "bright": 0.5}
    with pytest.raises(InputError, match="class 3"):
        Segmentation(mask, NAMES[:3], PALETTE[:3], TIMES)
    assert Segmentation(mask, NAMES[:3], PALETTE[:3], TIMES, ignore_index=3).shares == {"dark": 0.5}
    with pytest.raises(InputError, match="3 colours for 4"):
        Segmentation(mask, NAMES, PALETTE[:3], TIMES)
    with pytest.raises(InputError, match="int64"):
        Segmentation(mask.astype(np.int64), NAMES, PALETTE, TIMES)


def test_neither_torch_nor_onnx_is_imported() -> None:
    code = (
        "import sys, edgefsa.segment, edgefsa.verify, edgefsa.verify.accuracy, edgefsa.verify.latency, "
        "edgefsa.verify.report\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'openvino') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
