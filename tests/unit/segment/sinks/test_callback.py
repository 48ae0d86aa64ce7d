"""A function as a sink: it gets the frames, and ends the run by what it returns or raises."""

from __future__ import annotations

import threading

import pytest

from edgefsa.segment import CallbackSink, NullSink, SegmentedFrame, Segmenter, run_pipeline
from tests.unit.segment.fakes import FakeSession
from tests.unit.segment.sinks.frames import Squares


def test_the_function_gets_every_frame_in_a_thread_of_the_pipeline() -> None:
    seen: list[int] = []
    threads = set()

    def take(frame: SegmentedFrame) -> None:
        seen.append(frame.source.index)
        threads.add(threading.current_thread())

    with Segmenter(FakeSession()) as segmenter, CallbackSink(take) as sink:
        report = run_pipeline(Squares(12), segmenter, [sink, NullSink()])
    assert seen == list(range(12))
    assert threading.main_thread() not in threads
    assert set(report.statistics.sinks) == {"callback", "null"}
    assert {times.count for times in report.statistics.sinks.values()} == {12 - 5}, "without the warm-up"


def test_false_ends_the_run() -> None:
    seen: list[int] = []

    def take(frame: SegmentedFrame) -> bool:
        seen.append(frame.source.index)
        return frame.source.index < 3

    with Segmenter(FakeSession()) as segmenter, CallbackSink(take) as sink:
        report = run_pipeline(Squares(10_000_000), segmenter, [sink])
    assert seen[:4] == [0, 1, 2, 3]
    assert report.statistics.frames < 10_000_000


def test_what_the_function_raises_is_raised_by_the_run() -> None:
    def take(frame: SegmentedFrame) -> None:
        raise LookupError(f"frame {frame.source.index}")

    with (
        Segmenter(FakeSession()) as segmenter,
        CallbackSink(take) as sink,
        pytest.raises(LookupError, match="frame 0"),
    ):
        run_pipeline(Squares(50), segmenter, [sink])
