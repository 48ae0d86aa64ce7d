"""Videos out: what a player gets of them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.media.recording import VIDEO_SUFFIXES, VideoWriter
from edgefsa.media.video import VideoReader
from tests.unit.segment.fakes import moving_square

UNEVEN_S = [0.0, 0.04, 0.1, 0.5, 0.52, 1.9, 2.0, 3.15]


def write(path: Path, times_s: list[float], fps: float = 25.0, size_hw: tuple[int, int] = (48, 64)) -> None:
    writer = VideoWriter(path, fps)
    for index, time_s in enumerate(times_s):
        writer.write(moving_square(index, size_hw), time_s)
    writer.close()


def decoded_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_each_frame_is_shown_at_its_time(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", UNEVEN_S)
    half_a_frame = 0.5 / 25 if suffix == ".avi" else 0.6e-3  # an AVI has one rate, Matroska counts milliseconds
    assert decoded_times(tmp_path / f"a{suffix}") == pytest.approx(UNEVEN_S, abs=half_a_frame + 1e-6)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        assert container.duration / av.time_base == pytest.approx(3.15 + 0.04, abs=0.02)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_browsers_and_phones_play_it(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", UNEVEN_S)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        (stream,) = container.streams
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range, context.color_primaries) == (1, 1, 1)
    if suffix != ".mkv":
        data = (tmp_path / f"a{suffix}").read_bytes()
        assert 0 < data.find(b"moov") < data.find(b"mdat"), "it plays while it is still being loaded"


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_what_was_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"a{suffix}", UNEVEN_S, size_hw=(47, 63))
    reader = VideoReader(tmp_path / f"a{suffix}")
    frames = [timed.frame for timed in reader]
    assert reader.notes == []
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    for index, frame in enumerate(frames):
        assert np.abs(frame[:47, :63].astype(int) - moving_square(index, (47, 63))).mean() < 4
        assert np.abs(frame[47:, :63].astype(int) - frame[46:47, :63]).mean() < 8, "the last row is repeated"


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_colours_come_through(tmp_path: Path, suffix: str) -> None:
    colours = [(30, 40, 200), (200, 60, 30), (60, 180, 90), (128, 128, 128), (20, 20, 20), (235, 235, 235)]
    writer = VideoWriter(tmp_path / f"a{suffix}", 25)
    for index, colour in enumerate(colours):
        writer.write(np.full((64, 96, 3), colour, np.uint8), index / 25)
    writer.close()
    for timed, colour in zip(VideoReader(tmp_path / f"a{suffix}"), colours, strict=True):
        assert np.abs(timed.frame.astype(int) - colour).mean() < 4


def test_times_that_stand_still_or_go_back_still_give_every_frame(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [0.0, 0.04, 0.04, 0.02, 0.5])
    times = decoded_times(tmp_path / "a.mp4")
    assert len(times) == 5
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(0.5)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.gif: cannot write that video format; use \.mp4"):
        VideoWriter(tmp_path / "a.gif", 25)
    for fps in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="frames a second cannot be written"):
            VideoWriter(tmp_path / "a.mp4", fps)
