"""Frames through threads: none lost from files, only the newest from a live source, a clean stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError, SourceError
from edgefsa.media.labels import read_label
from edgefsa.segment import FrameSource, Segmenter, Sink, SourceFrame, predict_source, run_pipeline
from tests.unit.segment.fakes import FakeSession, moving_square


class ListSource(FrameSource):
    """Numbered frames; a live one waits before each for the test's word, and `fail_at` breaks it."""

    def __init__(self, count: int, live: bool = False, fail_at: int | None = None) -> None:
        super().__init__("list")
        self.total, self.live, self._fail_at = count, live, fail_at
        self.go = threading.Semaphore(1)  # the first frame comes at once
        self.given, self.put_down, self.released = 0, 0, 1

    def __iter__(self) -> Iterator[SourceFrame]:
        for index in range(self.total or 0):
            if index == self._fail_at:
                raise SourceError("frame 3 is broken")
            if self.live:
                assert self.go.acquire(timeout=20)
            self.given += 1
            yield SourceFrame(moving_square(index), f"f{index}", index, 0.0)
            self.put_down = index + 1

    def let_arrive(self, upto: int) -> None:
        """Release frames up to that index and wait until the capture thread has put them down."""
        while self.released <= upto:
            self.released += 1
            self.go.release()
        while self.put_down <= upto:
            time.sleep(0.001)


class ListSink(Sink):
    """Remembers the indices; `each` is called after every frame."""

    def __init__(self, each: Any = None) -> None:
        super().__init__()
        self.indices: list[int] = []
        self._each = each

    def write(self, source_frame: SourceFrame, segmentation: Any) -> None:
        assert np.array_equal(segmentation.mask, source_frame.frame[..., 0] // 64)
        self.indices.append(source_frame.index)
        if self._each is not None:
            self._each(source_frame.index)


def run(source: FrameSource, sink: Sink, **options: Any) -> Any:
    with Segmenter(FakeSession()) as segmenter:
        return run_pipeline(source, segmenter, [sink], **options)


def test_files_lose_no_frame_and_keep_their_order() -> None:
    sink, told = ListSink(), []
    report = run(ListSource(50), sink, progress=lambda done, total: told.append((done, total)))
    assert sink.indices == list(range(50))
    assert (report.captured, report.processed, report.dropped) == (50, 50, 0)
    assert len(report.latencies_ms) == 50
    assert min(report.latencies_ms) > 0
    assert told == [(done, 50) for done in range(1, 51)]
    assert not report.interrupted


def test_a_limit_is_kept_and_counts_add_up() -> None:
    sink, source, told = ListSink(), ListSource(50), []
    report = run(source, sink, limit=7, progress=lambda done, total: told.append(total))
    assert sink.indices == list(range(7))
    assert (report.captured, report.processed, report.dropped) == (7, 7, 0)
    assert source.given == 7, "no frame beyond the limit is read"
    assert set(told) == {7}


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    source = ListSource(5)
    with pytest.raises(InputError, match=f"a limit of {limit} frames"):
        run(source, ListSink(), limit=limit)
    assert source.given == 0


@pytest.mark.parametrize(("limit", "runs", "frames"), [(None, 3, 8), (5, 2, 5), (6, 2, 6)])
def test_frames_of_files_fill_the_engines_batch(limit: int | None, runs: int, frames: int) -> None:
    session, sink, told = FakeSession(batch=3), ListSink(), []
    with Segmenter(session) as segmenter:
        report = run_pipeline(
            ListSource(8), segmenter, [sink], limit=limit, progress=lambda done, total: told.append((done, total))
        )
    assert sink.indices == list(range(frames))
    assert (report.captured, report.processed, report.dropped) == (frames, frames, 0)
    assert len(session.runs) == runs
    assert [len({frame.tobytes() for frame in run}) for run in session.runs[:2]] == [3, frames - 3 if runs == 2 else 3]
    assert told == [(done, frames) for done in range(1, frames + 1)]
    assert len(report.latencies_ms) == frames


def test_a_batch_larger_than_the_read_ahead_is_filled() -> None:
    session, sink = FakeSession(batch=16), ListSink()
    with Segmenter(session) as segmenter:
        run_pipeline(ListSource(32), segmenter, [sink])
    assert (len(session.runs), sink.indices) == (2, list(range(32)))


def test_a_live_frame_does_not_wait_for_a_batch() -> None:
    source = ListSource(2, live=True)
    sink = ListSink(lambda index: source.let_arrive(1) if index == 0 else None)
    with Segmenter(FakeSession(batch=4)) as segmenter:
        report = run_pipeline(source, segmenter, [sink])
    assert (sink.indices, report.processed) == ([0, 1], 2)


def test_a_live_source_gives_only_the_newest_frame() -> None:
    source = ListSource(10, live=True)

    def each(index: int) -> None:
        # While frame 0 is being written, 1 to 5 arrive; while 5 is, all others do.
        source.let_arrive({0: 5, 5: 9}.get(index, 0))

    sink = ListSink(each)
    report = run(source, sink)
    assert sink.indices == [0, 5, 9]
    assert (report.captured, report.processed, report.dropped) == (10, 3, 7)


def test_latency_of_a_live_source_counts_from_capture() -> None:
    source = ListSource(2, live=True)

    def each(index: int) -> None:
        if index == 0:
            source.let_arrive(1)
            time.sleep(0.05)

    report = run(source, ListSink(each))
    assert report.latencies_ms[1] >= 50, "frame 1 waited while frame 0 was written"


def test_an_error_of_the_source_comes_after_the_frames_before_it() -> None:
    for batch in (1, 2, 5):
        sink = ListSink()
        with Segmenter(FakeSession(batch=batch)) as segmenter, pytest.raises(SourceError, match="frame 3 is broken"):
            run_pipeline(ListSource(10, fail_at=3), segmenter, [sink])
        assert sink.indices == [0, 1, 2]


def test_an_error_of_a_sink_ends_the_reading_thread() -> None:
    def each(index: int) -> None:
        raise InputError("no room")

    with pytest.raises(InputError, match="no room"):
        run(ListSource(50), ListSink(each))
    assert not [thread for thread in threading.enumerate() if thread.name == "edgefsa-capture"]


def test_ctrl_c_finishes_the_frame_and_stops() -> None:
    sink = ListSink(lambda index: signal.raise_signal(signal.SIGINT) if index == 4 else None)
    before = signal.getsignal(signal.SIGINT)
    report = run(ListSource(50), sink)
    assert sink.indices == [0, 1, 2, 3, 4]
    assert report.interrupted
    assert (report.captured, report.processed, report.dropped) == (5, 5, 0)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    def each(_: int) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    with pytest.raises(KeyboardInterrupt):
        run(ListSource(50), ListSink(each))


def test_it_runs_outside_the_main_thread() -> None:
    sink = ListSink()
    thread = threading.Thread(target=run, args=(ListSource(5), sink))
    thread.start()
    thread.join(20)
    assert sink.indices == [0, 1, 2, 3, 4]


def test_predict_a_folder(tmp_path: Path, fake_engine: FakeSession) -> None:
    from edgefsa.media.pictures import write_image

    for index in range(3):
        write_image(tmp_path / "in" / f"i{index}.png", moving_square(index, (96, 128)))
    result = predict_source("engine", tmp_path / "in", tmp_path / "out")
    assert result["frames"] == 3
    assert [Path(path).name for path in result["outputs"]][:2] == ["i0_overlay.jpg", "i0_mask.png"]
    assert read_label(result["outputs"][5]).shape == (96, 128)
    assert fake_engine.entered == 0


@pytest.mark.parametrize(("output", "expected"), [("out", "out/clip_overlay.mp4"), ("deep/x.avi", "deep/x.avi")])
def test_predict_a_video(tmp_path: Path, fake_engine: FakeSession, make_video: Any, output: str, expected: str) -> None:
    (tmp_path / "clip.avi").write_bytes(make_video("a.avi", "MJPG").read_bytes())
    result = predict_source("engine", tmp_path / "clip.avi", tmp_path / output, limit=6)
    assert result["outputs"] == [str(tmp_path / expected)]
    assert (tmp_path / expected).stat().st_size > 1000
    assert (result["frames"], result["notes"]) == (6, [])
    assert result["median_latency_ms"] > 0


def test_predict_says_that_a_video_was_cut(tmp_path: Path, fake_engine: FakeSession, make_video: Any) -> None:
    data = make_video("a.avi", "MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    result = predict_source("engine", tmp_path / "cut.avi", tmp_path / "out")
    assert len(result["notes"]) == 1
    assert f"{result['frames']} frames, {result['frames'] / 25:.2f} of its 0.80 s" in result["notes"][0]


def test_predict_does_the_rest_of_a_folder_with_a_bad_image(tmp_path: Path, fake_engine: FakeSession) -> None:
    from edgefsa.media.pictures import write_image

    for name in "ac":
        write_image(tmp_path / "in" / f"{name}.png", moving_square(0))
    (tmp_path / "in" / "b.png").write_bytes(b"broken")
    result = predict_source("engine", tmp_path / "in", tmp_path / "out")
    assert result["frames"] == 2
    assert [failure["file"] for failure in result["failed"]] == [str(tmp_path / "in" / "b.png")]
    assert "b.png is not a picture" in result["failed"][0]["reason"]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a_mask.png", "a_overlay.jpg", "c_mask.png", "c_overlay.jpg"]


class SlowCamera:
    """Frames at uneven times of the clock, as a camera in the dark gives them."""

    waits_s = (0.0, 0.05, 0.2, 0.05, 0.3)

    def __init__(self, _: int) -> None:
        self.frames = iter((None, *self.waits_s))

    def set(self, *_: object) -> bool:
        return True

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        wait_s = next(self.frames, "unplugged")
        if wait_s == "unplugged":
            return False, None
        time.sleep(wait_s or 0.0)
        return True, moving_square(3)

    def release(self) -> None:
        pass


def test_a_recording_from_a_camera_lasts_as_long_as_it_took(
    tmp_path: Path, fake_engine: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", SlowCamera)
    begun = time.monotonic()
    result = predict_source("engine", "camera:0", tmp_path)
    took_s = time.monotonic() - begun
    with av.open(result["outputs"][0]) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert len(times) == result["frames"]
    assert 0.55 <= times[-1] <= took_s, "0.6 s of waiting are 0.6 s of video, not 4 frames at 30 a second"
