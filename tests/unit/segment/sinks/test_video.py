"""Videos out: every frame at its time, drawn and encoded side by side, whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError, OutputError
from edgefsa.media.recording import VIDEO_SUFFIXES
from edgefsa.segment import OverlayStyle, Recorder, SegmentedFrame, VideoSink
from edgefsa.segment.sinks import video
from tests.unit.segment.fakes import moving_square
from tests.unit.segment.sinks.frames import run_of, segmented

PLAIN = OverlayStyle(alpha=0.0, legend=False, contours=False)


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (found := capture.read())[0]:
        frames.append(found[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


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
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from tests.unit.segment.sinks.test_video import *
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
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from tests.unit.segment.sinks.test_video import *
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


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def test_frames_keep_their_own_times_from_the_first_on(tmp_path: Path) -> None:
    shown = (3, 4, 9, 30)  # of 25 a second
    with VideoSink(tmp_path / "a.mp4", 25, PLAIN) as sink:
        for index in shown:
            sink.write(segmented(index))
    assert times_of(tmp_path / "a.mp4") == pytest.approx([(index - 3) / 25 for index in shown], abs=1e-4)


def test_the_rate_is_the_sources_where_none_is_given(tmp_path: Path) -> None:
    for fps, expected in ((12.5, 12.5), (None, 1.0)):
        with VideoSink(tmp_path / f"{fps}.mp4") as sink:
            sink.start(run_of(fps=fps))
            for index in range(5):
                sink.write(segmented(index, fps=expected))
        assert read_video(tmp_path / f"{fps}.mp4")[1] == pytest.approx(expected)


def test_a_frame_is_drawn_while_the_one_before_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each waits for the other to have begun: one after the other they would wait for ever.
    drawn, encoding = threading.Event(), threading.Event()
    draw, encode = video.Recorder._draw, video.VideoWriter.write

    def draw_second(recorder: Recorder, frame: SegmentedFrame) -> None:
        if frame.source.index == 1:
            assert encoding.wait(20), "frame 0 is not encoded yet"
            drawn.set()
        draw(recorder, frame)

    def encode_first(writer: Any, frame: np.ndarray, time_s: float) -> None:
        encoding.set()
        assert drawn.wait(20), "frame 1 is not drawn while frame 0 is encoded"
        encode(writer, frame, time_s)

    monkeypatch.setattr(video.Recorder, "_draw", draw_second)
    monkeypatch.setattr(video.VideoWriter, "write", encode_first)
    with VideoSink(tmp_path / "a.mp4", 25) as sink:
        for index in range(3):
            sink.write(segmented(index))
    assert len(times_of(tmp_path / "a.mp4")) == 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_a_live_run_recorded_is_kept_however_it_ends(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), VideoSink(tmp_path / "a.mp4", 25) as sink:
        sink.start(run_of(live=True))
        for index in range(8):
            sink.write(segmented(index))
        raise error
    assert sink.outputs == [tmp_path / "a.mp4"]
    assert len(times_of(tmp_path / "a.mp4")) == 8
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


def test_a_live_recording_says_when_it_began(tmp_path: Path) -> None:
    for live in (True, False):
        with VideoSink(tmp_path / "a.mp4") as sink:
            sink.start(run_of(live=live))
            sink.write(segmented(0))
        with av.open(str(tmp_path / "a.mp4")) as container:
            created = container.metadata.get("creation_time")
        assert (created is not None) == live
        if created is not None:
            age = datetime.now(timezone.utc) - datetime.fromisoformat(created.replace("Z", "+00:00"))
            assert abs(age) < timedelta(seconds=60)


def test_a_recording_that_ctrl_c_ends_is_whole(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[4])!r})
from edgefsa.segment import CallbackSink, Segmenter, run_pipeline
from tests.unit.segment.fakes import FakeSession
from tests.unit.segment.sinks.frames import Squares
from tests.unit.segment.sinks.test_video import *
begun = lambda frame: print(frame.source.index, flush=True) if frame.source.index == 5 else None
with Segmenter(FakeSession()) as segmenter, VideoSink({str(tmp_path / "a.mp4")!r}) as sink:
    report = run_pipeline(Squares(10_000_000), segmenter, [sink, CallbackSink(begun)])
print(report.interrupted, report.statistics.frames)
"""
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "5\n"
    program.send_signal(signal.SIGINT)
    interrupted, frames = program.stdout.read().split()
    assert program.wait(60) == 0
    assert interrupted == "True"
    assert len(times_of(tmp_path / "a.mp4")) == int(frames)


def test_figures_of_a_live_run_are_drawn(tmp_path: Path) -> None:
    size_hw = (240, 320)
    corners = {}
    for live, style in ((True, OverlayStyle()), (True, OverlayStyle(figures=False)), (False, OverlayStyle())):
        with VideoSink(tmp_path / "a.avi", 25, style) as sink:
            sink.start(run_of(live=live))
            sink.write(segmented(0, size_hw))
        (frame,) = read_video(tmp_path / "a.avi")[0]
        corners[live, style.figures] = frame[10:60, 200:310].astype(int)
    assert corners[True, True].max() > 200, "text"
    assert np.abs(corners[True, False] - corners[False, True]).max() == 0, "and none otherwise"
    assert corners[True, False].max() < 150


class TestRecorder:
    """What the live view in a browser starts and stops."""

    def test_it_records_from_one_moment_to_another(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path / "clips" / "a.mp4", 25, PLAIN, run_of(live=True))
        for index in range(40, 50):
            assert recorder.write(segmented(index))
            assert not (tmp_path / "clips" / "a.mp4").exists()
        assert recorder.close() == tmp_path / "clips" / "a.mp4"
        assert times_of(tmp_path / "clips" / "a.mp4") == pytest.approx([index / 25 for index in range(10)], abs=1e-4)
        assert not recorder.write(segmented(50)), "nothing is taken after the end"
        assert not [thread for thread in threading.enumerate() if thread.name in ("edgefsa-draw", "edgefsa-encode")]

    def test_bare_frames_have_no_mask(self, tmp_path: Path) -> None:
        shown = {}
        for name, style in (("bare", None), ("overlay", OverlayStyle(1.0, legend=False, contours=False))):
            recorder = Recorder(tmp_path / f"{name}.avi", 25, style)
            recorder.write(segmented(0))
            recorder.close()
            (shown[name],) = read_video(tmp_path / f"{name}.avi")[0]
        assert np.abs(shown["bare"].astype(int) - moving_square(0)).mean() < 6
        assert np.abs(shown["overlay"].astype(int) - moving_square(0)).mean() > 20

    def test_without_waiting_what_there_is_no_room_for_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go, encode = threading.Event(), video.VideoWriter.write
        monkeypatch.setattr(video.VideoWriter, "write", lambda *arguments: (go.wait(20) and encode(*arguments)) or None)
        recorder = Recorder(tmp_path / "a.mp4", 25, PLAIN)
        taken = [recorder.write(segmented(index), wait=False) for index in range(50)]
        assert 1 <= sum(taken) < 10
        go.set()
        recorder.close()
        assert len(times_of(tmp_path / "a.mp4")) == sum(taken)

    def test_given_up_or_empty_it_leaves_nothing(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path / "a.mp4", 25, PLAIN)
        recorder.write(segmented(0))
        recorder.abandon()
        assert Recorder(tmp_path / "b.mp4", 25).close() is None
        assert list(tmp_path.iterdir()) == []

    def test_what_cannot_be_written_is_said_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot write"):
            Recorder(tmp_path / "file" / "a.mp4", 25)
        with pytest.raises(InputError, match="0 frames a second"):
            Recorder(tmp_path / "a.mp4", 0)
        assert [item.name for item in tmp_path.iterdir()] == ["file"]
