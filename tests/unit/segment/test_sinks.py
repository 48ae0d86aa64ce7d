"""Files out: overlays and masks of images, videos that appear whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError, OutputError
from edgefsa.media.labels import read_label
from edgefsa.media.pictures import read_image
from edgefsa.media.recording import VIDEO_SUFFIXES
from edgefsa.segment import FolderSink, OverlayStyle, Segmentation, SegmentedFrame, SourceFrame, VideoSink
from tests.unit.segment.fakes import NAMES, PALETTE, TIMES, moving_square

PLAIN = OverlayStyle(alpha=0.0, legend=False, contours=False)


def segmented(index: int, size_hw: tuple[int, int] = (48, 64), fps: float = 25) -> SegmentedFrame:
    frame = moving_square(index, size_hw)
    segmentation = Segmentation(frame[..., 0] // 64, NAMES, PALETTE, TIMES)
    return SegmentedFrame(SourceFrame(frame, f"f{index}", index, index / fps), segmentation, "fake-fp32", 2.5)


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (found := capture.read())[0]:
        frames.append(found[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_folder_holds_an_overlay_and_a_mask_for_each_frame(tmp_path: Path) -> None:
    with FolderSink(tmp_path / "out", PLAIN) as sink:
        for index in range(2):
            sink.write(segmented(index))
    names = ["f0_overlay.jpg", "f0_mask.png", "f1_overlay.jpg", "f1_mask.png"]
    assert [path.name for path in sink.outputs] == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    frame = segmented(1)
    mask = frame.segmentation.mask
    assert np.array_equal(read_label(sink.outputs[3]), mask)
    shown = read_image(sink.outputs[3])[..., ::-1]
    assert np.array_equal(shown, np.array(PALETTE, np.uint8)[mask])
    assert np.abs(read_image(sink.outputs[2]).astype(int) - frame.source.frame).mean() < 3


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize("size_hw", [(48, 64), (47, 63)])
def test_a_video_holds_every_frame(tmp_path: Path, suffix: str, size_hw: tuple[int, int]) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoSink(path, 25.0, PLAIN) as sink:
        for index in range(12):
            sink.write(segmented(index, size_hw))
        assert not path.exists()
    assert sink.outputs == [path]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    frames, fps = read_video(path)
    assert fps == pytest.approx(25.0)
    assert len(frames) == 12
    assert frames[0].shape == (48, 64, 3), "odd sides gain one row or column, none is cut off"
    for index in (0, 11):
        expected = moving_square(index, size_hw)
        assert np.abs(frames[index][: size_hw[0], : size_hw[1]].astype(int) - expected).mean() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
@pytest.mark.parametrize("fps", [0.5, 1.0, 23.976, 29.97, 59.94, 29.970029, 120.0, 14.985014985])
def test_the_rates_of_real_cameras_are_taken(tmp_path: Path, suffix: str, fps: float) -> None:
    path = tmp_path / f"a{suffix}"
    with VideoSink(path, fps) as sink:
        for index in range(7):
            sink.write(segmented(index, fps=fps))
    frames, written = read_video(path)
    assert len(frames) == 7
    assert written == pytest.approx(fps, rel=1e-3)


def test_frames_of_another_size_fit_the_first(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.avi", 10, PLAIN) as sink:
        sink.write(segmented(0))
        sink.write(segmented(1, (96, 128)))
    assert [frame.shape for frame in read_video(tmp_path / "a.avi")[0]] == [(48, 64, 3)] * 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_no_video_and_keeps_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "a.mp4").write_text("old")
    with pytest.raises(error), VideoSink(tmp_path / "a.mp4", 25) as sink:
        sink.write(segmented(0))
        raise error
    assert sink.outputs == []
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "old"


def test_without_an_encoder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(OutputError, match=r"encodes none of libx264.*\.avi"):
        VideoSink(tmp_path / "a.mp4", 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_no_encoder_prints_anything(tmp_path: Path, suffix: str) -> None:
    # A process of its own: FFmpeg's log level is read once.
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.unit.segment.test_sinks import *
with VideoSink({str(tmp_path / ("a" + suffix))!r}, 25) as sink:
    sink.write(segmented(0))
print("done", file=sys.stderr)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("", "done\n"), "standard error is silent, and back afterwards"


def test_no_frames_no_video(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "a.mp4", 25) as sink:
        pass
    assert sink.outputs == []
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.gif.*\.mp4"):
        VideoSink(tmp_path / "a.gif", 25)
    with pytest.raises(InputError, match="0 frames a second"):
        VideoSink(tmp_path / "a.mp4", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"), VideoSink(tmp_path / "file" / "a.mp4", 25) as sink:
        sink.write(segmented(0))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    # A limit on the size of files stands in for the full disk: the writes fail in the same way.
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[3])!r})
from tests.unit.segment.test_sinks import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    with VideoSink({str(tmp_path / ("a" + suffix))!r}, 25) as sink:
        for index in range(100):
            sink.write(segmented(index, (144, 192)))
except OutputError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"cannot write {tmp_path}" in told.stdout
    assert list(tmp_path.iterdir()) == []
