"""Videos of many codecs and shapes, held against the frames and times that were encoded."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edgefsa.errors import SourceError
from edgefsa.media.video import DEFAULT_FPS, VideoReader
from tests.unit.media.clips import encoder, grey_frames, write_clip

LEVELS = [40, 80, 120, 160, 200, 60, 100, 140]
LOSSLESS = {"crf": "0", "preset": "ultrafast"}


def grey_of(level: int) -> float:
    return (level - 16) * 255 / 219


def read(path: Path) -> tuple[VideoReader, list[Any]]:
    reader = VideoReader(path)
    frames = list(reader)
    reader.close()
    return reader, frames


@pytest.mark.parametrize(
    ("codec", "suffix", "pixel_format"),
    [
        ("libx264", ".mp4", "yuv420p"),
        ("libx264", ".mkv", "yuv420p10le"),
        ("libx265", ".mp4", "yuv420p10le"),
        ("libsvtav1", ".mp4", "yuv420p10le"),
        ("libsvtav1", ".webm", "yuv420p"),
        ("libvpx-vp9", ".webm", "yuv420p"),
        ("libvpx", ".webm", "yuv420p"),
        ("mpeg4", ".avi", "yuv420p"),
        ("mpeg2video", ".ts", "yuv420p"),
        ("ffv1", ".mkv", "yuv420p"),
    ],
)
def test_every_codec_gives_its_frames_in_order(tmp_path: Path, codec: str, suffix: str, pixel_format: str) -> None:
    quiet = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12"}}.get(codec, {})
    frames = grey_frames(LEVELS, (64, 96), pixel_format)
    path = write_clip(tmp_path / f"a{suffix}", frames, codec, options=quiet)
    reader, found = read(path)
    assert [round(float(frame.frame.mean())) for frame in found] == pytest.approx(list(map(grey_of, LEVELS)), abs=4)
    assert [frame.time_s for frame in found] == pytest.approx([index / 25 for index in range(8)], abs=1.1e-3)
    assert {frame.frame.shape for frame in found} == {(64, 96, 3)}
    assert reader.fps == pytest.approx(25, rel=0.01)
    assert reader.notes == []


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.51, 2.0, 2.25, 3.0, 3.15]
    for suffix in (".mp4", ".mkv", ".webm"):
        codec = "libvpx" if suffix == ".webm" else "libx264"
        path = write_clip(tmp_path / f"a{suffix}", grey_frames(LEVELS), codec, times)
        reader, found = read(path)
        assert [frame.time_s for frame in found] == pytest.approx(times, abs=1.1e-3)
        assert reader.notes == []


def test_times_begin_with_the_first_frame(tmp_path: Path) -> None:
    times = [index / 25 + 10 for index in range(8)]
    path = write_clip(tmp_path / "late.mkv", grey_frames(LEVELS), times_s=times)
    assert [frame.time_s for frame in read(path)[1]] == pytest.approx([index / 25 for index in range(8)], abs=2e-3)


@pytest.mark.parametrize("rate", [30, 12])
def test_a_raw_stream_keeps_the_rate_of_its_headers(tmp_path: Path, rate: int) -> None:
    with av.open(str(tmp_path / "a.h264"), "w", format="h264") as output:
        stream = output.add_stream(encoder("libx264"), rate=rate, options=LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index, frame in enumerate(grey_frames(LEVELS)):
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    reader, found = read(tmp_path / "a.h264")
    assert reader.fps == rate
    assert [frame.time_s for frame in found] == pytest.approx([index / rate for index in range(8)], abs=1e-6)


def test_a_stream_without_any_rate_says_which_is_taken(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.h264", grey_frames(LEVELS), options={"x264-params": "force-cfr=1"}, container="h264"
    )
    with av.open(str(path)) as container:
        named = container.streams.video[0].codec_context.framerate
    reader, found = read(path)
    assert reader.fps == (float(named) if named else DEFAULT_FPS)
    assert len(found) == 8


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_odd_sizes_lose_no_row_or_column(tmp_path: Path, pixel_format: str) -> None:
    frames = grey_frames(LEVELS[:3], (47, 63), pixel_format)
    _, found = read(write_clip(tmp_path / "a.mkv", frames, "ffv1"))
    assert [frame.frame.shape for frame in found] == [(47, 63, 3)] * 3
    for frame, level in zip(found, LEVELS, strict=False):
        assert np.abs(frame.frame - grey_of(level)).max() <= 1


@pytest.mark.parametrize(("share", "least"), [(0.9, 5), (0.6, 2)])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_what_is_left_of_a_video_is_read_and_the_rest_is_said(
    tmp_path: Path, suffix: str, share: float, least: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
    frames = [av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p") for frame in noise]
    faststart = {"movflags": "faststart"} if suffix == ".mp4" else {}
    with av.open(str(tmp_path / f"whole{suffix}"), "w", options=faststart) as output:
        stream = output.add_stream("mpeg2video" if suffix == ".ts" else encoder("libx264"), rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in frames:
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: int(share * len(data))])
    reader, found = read(tmp_path / f"cut{suffix}")
    assert least <= len(found) < 20
    if suffix != ".ts":  # a transport stream says nowhere how long it should be
        assert len(reader.notes) >= 1
        assert f"cut{suffix} is cut short or damaged: {len(found)} frames" in reader.notes[0]


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
    with pytest.raises(SourceError, match=r"a\.wav has no video in it, only audio"):
        VideoReader(tmp_path / "a.wav")


def test_high_dynamic_range_is_said(tmp_path: Path) -> None:
    frames = grey_frames(LEVELS, (64, 96), "yuv420p10le")
    path = write_clip(
        tmp_path / "hdr.mkv", frames, "libx264", color_trc=18, color_primaries=9, colorspace=9, color_range=1
    )
    reader, found = read(path)
    assert reader.notes == [f"{path} is of high dynamic range (HLG); it is shown without tone mapping"]
    assert len(found) == 8


def test_closing_while_another_thread_reads_is_safe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", grey_frames(LEVELS * 40))
    for _ in range(5):
        reader, count = VideoReader(path), [0]

        def consume(reader: VideoReader = reader, count: list[int] = count) -> None:
            for _ in reader:
                count[0] += 1

        thread = threading.Thread(target=consume)
        thread.start()
        while count[0] < 3 and thread.is_alive():
            time.sleep(0.001)
        reader.close()
        thread.join(20)
        assert not thread.is_alive()
        assert 3 <= count[0] <= 320
