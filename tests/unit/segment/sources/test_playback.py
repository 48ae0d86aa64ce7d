"""Files played again and again, at a camera's rate, mirrored, with frames left out."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.segment import FrameSource, Segmenter, SourceFrame, SourceOptions, open_source, run_pipeline
from edgefsa.segment.sources.playback import played
from tests.unit.segment.fakes import FakeSession, moving_square
from tests.unit.segment.sources.test_files import place_of_square, write_images


class Numbers(FrameSource):
    """Five frames at 10 a second, which take `each_s` to read."""

    total, fps = 5, 10.0

    def __init__(self, each_s: float = 0.0) -> None:
        super().__init__("numbers")
        self.each_s, self.rounds, self.at_a_rate = each_s, 0, False

    def __iter__(self) -> Iterator[SourceFrame]:
        self.rounds += 1
        self.note_once("noticed")
        for index in range(5):
            time.sleep(self.each_s)
            yield SourceFrame(moving_square(index), f"f{index}", index, index / 10)

    def keep_rate(self) -> None:
        self.at_a_rate = True


def test_nothing_asked_for_is_the_source_itself() -> None:
    source = Numbers()
    assert played(source, SourceOptions()) is source


def test_a_loop_goes_on_in_time_and_in_names() -> None:
    source = played(Numbers(), SourceOptions(loop=True))
    told: list[str] = []
    source.on_note = told.append
    frames = list(itertools.islice(source, 12))
    assert (source.total, source.fps, source.live) == (None, 10.0, False)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 10 for index in range(12)])
    assert [frame.name for frame in frames[3:7]] == ["f3", "f4", "f0_2", "f1_2"]
    assert [place_of_square(frame.frame) for frame in frames[4:7]] == [4, 0, 1]
    assert source.notes == told == ["noticed"], "what is noticed in each round is said once"


def test_files_loop(make_video: Any, tmp_path: Path) -> None:
    with open_source(make_video("a.avi", "MJPG"), SourceOptions(loop=True)) as video:
        frames = list(itertools.islice(video, 45))
    assert [place_of_square(frame.frame) for frame in frames] == [index % 20 for index in range(45)]
    assert np.diff([frame.time_s for frame in frames]) == pytest.approx([0.04] * 44, abs=2e-3)
    write_images(tmp_path, "a.png", "b.png")
    (tmp_path / "c.png").write_bytes(b"no image at all")
    with open_source(tmp_path, SourceOptions(loop=True)) as folder:
        names = [frame.name for frame in itertools.islice(folder, 6)]
    assert names == ["a", "b", "a_2", "b_2", "a_3", "b_3"]
    assert len(folder.failures) == 1


def test_a_rate_makes_a_camera_of_a_file() -> None:
    numbers = Numbers()
    source = played(numbers, SourceOptions(rate=50.0, loop=True))
    assert (source.live, source.fps, source.total, numbers.at_a_rate) == (True, 50.0, None, True)
    begun_ns = time.perf_counter_ns()
    frames = list(itertools.islice(source, 20))
    now_ns = time.perf_counter_ns()
    assert (now_ns - begun_ns) / 1e9 >= 19 / 50
    captured = [frame.captured_ns for frame in frames]
    assert begun_ns <= captured[0] < captured[-1] <= now_ns
    assert [frame.time_s for frame in frames] == [(ns - captured[0]) / 1e9 for ns in captured]
    assert min(np.diff(captured)) > 0


def test_a_pause_of_its_taker_is_not_made_up_for() -> None:
    times, source = [], played(Numbers(), SourceOptions(rate=20.0))
    for frame in source:
        times.append(frame.time_s)
        time.sleep(1.2 if len(times) == 1 else 0.0)
    assert len(times) == 5
    assert times[-1] >= 1.2 + 3 * 0.05 - 1e-3, "no burst after it"
    assert source.notes == ["noticed"], "the source was not late"


def test_what_cannot_be_read_at_the_rate_is_said() -> None:
    source = played(Numbers(each_s=0.3), SourceOptions(rate=100.0))
    assert len(list(source)) == 5
    assert source.notes == ["noticed", "numbers cannot be read at 100 frames a second here; it plays slower"]


def test_an_interrupt_ends_the_wait_for_a_frames_turn() -> None:
    source = played(Numbers(), SourceOptions(rate=0.01))
    threading.Timer(0.2, source.interrupt).start()
    begun = time.monotonic()
    assert len(list(source)) == 1
    assert time.monotonic() - begun < 20


def test_the_pipeline_drops_what_comes_while_the_engine_is_busy() -> None:
    class Slow(FakeSession):
        def run(self, frames: np.ndarray) -> np.ndarray:
            time.sleep(0.1)
            return super().run(frames)

    source = played(Numbers(), SourceOptions(rate=50.0, loop=True))
    with Segmenter(Slow()) as segmenter:
        figures = run_pipeline(source, segmenter, [], limit=5).statistics
    assert figures.frames == 5
    assert figures.dropped >= 5


def test_frames_are_left_out_after_each_one_taken() -> None:
    source = played(Numbers(), SourceOptions(skip=1))
    assert (source.total, source.fps) == (3, 5.0)
    frames = list(source)
    assert [frame.name for frame in frames] == ["f0", "f2", "f4"]
    assert [frame.time_s for frame in frames] == [0.0, 0.2, 0.4]
    assert played(Numbers(), SourceOptions(skip=4)).total == 1


@pytest.mark.parametrize(
    ("flip", "turned"), [("h", (slice(None), slice(None, None, -1))), ("v", slice(None, None, -1)), ("180", None)]
)
def test_frames_are_mirrored(flip: str, turned: Any) -> None:
    (first, *_) = played(Numbers(), SourceOptions(flip=flip))
    expected = np.rot90(moving_square(0), 2) if turned is None else moving_square(0)[turned]
    assert np.array_equal(first.frame, expected)
    assert first.frame.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "--rate 0 is no number of frames a second"),
        ({"rate": float("nan")}, "--rate nan"),
        ({"camera_fps": -1.0}, "--camera-fps -1"),
        ({"flip": "90"}, "--flip 90 is unknown; use h, v, 180"),
        ({"skip": -1}, "--skip -1 is below 0"),
        ({"camera_size_hw": (0, 640)}, "no camera has"),
        ({"camera_format": "MJPEG"}, "--camera-format MJPEG is no code of four characters"),
        ({"orientation": "up"}, "orientation 'up' is unknown"),
        ({"bits": 4}, "4 bits"),
    ],
)
def test_options_that_cannot_be_are_named(options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SourceOptions(**options)


def test_what_is_asked_of_cameras_is_refused_for_files(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    with pytest.raises(InputError, match="--camera-fps means nothing for"):
        open_source(tmp_path, SourceOptions(camera_fps=30.0))
