"""Frames through threads: none lost from files, only the newest from a live source, a clean stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgefsa.engines.session import Ticket
from edgefsa.errors import EngineError, InputError, SourceError
from edgefsa.segment import FrameSource, Run, SegmentedFrame, Segmenter, Sink, SourceFrame, run_pipeline
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

    def write(self, frame: SegmentedFrame) -> None:
        assert np.array_equal(frame.segmentation.mask, frame.source.frame[..., 0] // 64)
        self.indices.append(frame.source.index)
        if self._each is not None:
            self._each(frame.source.index)


def run(source: FrameSource, sink: Sink, session: FakeSession | None = None, **options: Any) -> Any:
    with Segmenter(session or FakeSession()) as segmenter:
        return run_pipeline(source, segmenter, [sink], **options)


def counts(report: Any) -> tuple[int, int, int]:
    figures = report.statistics
    return figures.captured, figures.frames, figures.dropped


class SlowSession(FakeSession):
    """An engine that computes in a thread of its own; `during` is called with the number of each run, inside it."""

    def __init__(self, during: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self._during, self._worker = during, ThreadPoolExecutor(1)
        self.under_way, self.most_under_way = 0, 0

    def submit(self, frames: np.ndarray) -> Ticket:
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        return Ticket(frames, self._worker.submit(self._compute, frames))

    def wait(self, ticket: Ticket) -> None:
        wait([ticket.handle])

    def collect(self, ticket: Ticket) -> np.ndarray:
        self.under_way -= 1
        ticket.engine_ms, ticket.copy_ms = 1.0, 0.0
        return ticket.handle.result()

    def _compute(self, frames: np.ndarray) -> np.ndarray:
        if self._during is not None:
            self._during(len(self.runs))
        return self.run(frames)


def test_files_lose_no_frame_and_keep_their_order() -> None:
    sink, told = ListSink(), []
    report = run(ListSource(50), sink, progress=lambda done, total: told.append((done, total)))
    assert sink.indices == list(range(50))
    assert counts(report) == (50, 50, 0)
    assert report.statistics.stages["frame_to_mask"].count == 45, "five for warm-up"
    assert report.statistics.stages["frame_to_mask"].median > 0
    assert report.statistics.stages["camera_to_mask"].count == 0, "no camera"
    assert told == sorted(told) and told[-1] == (50, 50)
    assert not report.interrupted


def test_a_slow_sink_holds_files_back_and_loses_nothing() -> None:
    sink = ListSink(lambda index: time.sleep(0.005))
    report = run(ListSource(40), sink)
    assert sink.indices == list(range(40))
    assert not report.statistics.skipped


def test_a_view_skips_frames_rather_than_holding_the_engine_back() -> None:
    view = ListSink(lambda index: time.sleep(0.02))
    view.every_frame, view.name = False, "view"
    other = ListSink()
    with Segmenter(FakeSession()) as segmenter:
        report = run_pipeline(ListSource(50), segmenter, [view, other])
    assert other.indices == list(range(50))
    assert view.indices == sorted(set(view.indices)) and view.indices[-1] == 49
    assert report.statistics.skipped == {"view": 50 - len(view.indices)}


def test_two_runs_of_files_are_in_the_engine_at_once() -> None:
    sink, session = ListSink(), SlowSession(lambda number: time.sleep(0.005))
    report = run(ListSource(20), sink, session)
    assert (sink.indices, counts(report)) == (list(range(20)), (20, 20, 0))
    # The third has been computed, and is handed on meanwhile.
    assert session.most_under_way == 3
    session = SlowSession(lambda number: time.sleep(0.005))
    run(ListSource(20), ListSink(), session, in_flight=1)
    assert session.most_under_way == 2


def test_a_limit_is_kept_and_counts_add_up() -> None:
    sink, source, told = ListSink(), ListSource(50), []
    report = run(source, sink, limit=7, progress=lambda done, total: told.append(total))
    assert sink.indices == list(range(7))
    assert counts(report) == (7, 7, 0)
    assert source.given == 7, "no frame beyond the limit is read"
    assert set(told) == {7}


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"duration_s": 0.0}, {"in_flight": 0}])
def test_what_leaves_nothing_to_do_is_refused(options: dict[str, Any]) -> None:
    source = ListSource(5)
    with pytest.raises(InputError, match="leaves nothing to segment"):
        run(source, ListSink(), **options)
    assert source.given == 0


@pytest.mark.parametrize(("limit", "runs", "frames"), [(None, 3, 8), (5, 2, 5), (6, 2, 6)])
def test_frames_of_files_fill_the_engines_batch(limit: int | None, runs: int, frames: int) -> None:
    session, sink = FakeSession(batch=3), ListSink()
    report = run(ListSource(8), sink, session, limit=limit)
    assert sink.indices == list(range(frames))
    assert counts(report) == (frames, frames, 0)
    assert len(session.runs) == runs
    assert [len({frame.tobytes() for frame in run}) for run in session.runs[:2]] == [3, frames - 3 if runs == 2 else 3]


def test_a_batch_larger_than_the_read_ahead_is_filled() -> None:
    session, sink = FakeSession(batch=16), ListSink()
    run(ListSource(32), sink, session)
    assert (len(session.runs), sink.indices) == (2, list(range(32)))


def test_a_live_frame_does_not_wait_for_a_batch() -> None:
    source = ListSource(2, live=True)
    sink = ListSink(lambda index: source.let_arrive(1) if index == 0 else None)
    report = run(source, sink, FakeSession(batch=4))
    assert (sink.indices, report.statistics.frames) == ([0, 1], 2)


def test_a_live_source_gives_only_the_newest_frame() -> None:
    source = ListSource(10, live=True)
    # While frame 0 is in the engine, 1 to 5 arrive; while 5 is, all others do.
    session = SlowSession(lambda number: source.let_arrive({0: 5, 1: 9}.get(number, 0)))
    sink = ListSink()
    report = run(source, sink, session)
    assert sink.indices == [0, 5, 9]
    assert counts(report) == (10, 3, 7)


def test_what_comes_after_the_end_of_a_live_run_is_not_dropped() -> None:
    source = ListSource(10, live=True)
    source.run = None

    class Stopping(ListSink):
        def start(self, run: Run) -> None:
            source.run = run

    def during(number: int) -> None:
        assert source.run is not None
        source.let_arrive(3)  # 1 to 3 arrive while frame 0 is computed: two of them are dropped
        source.run.stop()
        source.released = 4
        source.go.release(6)  # and all others after the end
        time.sleep(0.05)

    report = run(source, Stopping(), SlowSession(during))
    assert counts(report) == (3, 1, 2)


def test_a_live_sink_that_is_slow_loses_the_oldest_frames_only() -> None:
    source, open_gate = ListSource(12, live=True), threading.Event()
    session = SlowSession(lambda number: source.let_arrive(number + 1) if number < 11 else open_gate.set())
    sink = ListSink(lambda index: open_gate.wait(20))
    report = run(source, sink, session)
    assert counts(report) == (12, 12, 0), "the engine does not wait for a sink"
    assert sink.indices[0] == 0 and sink.indices[-1] == 11
    assert report.statistics.skipped == {"sink": 12 - len(sink.indices)}


def test_time_to_the_mask_of_a_live_source_counts_from_capture() -> None:
    source = ListSource(2, live=True)

    def during(number: int) -> None:
        if number == 0:
            source.let_arrive(1)
            time.sleep(0.05)

    waited: list[float] = []

    class Waits(ListSink):
        def write(self, frame: SegmentedFrame) -> None:
            waited.append(frame.camera_to_mask_ms)

    report = run(source, Waits(), SlowSession(during))
    assert waited[1] >= 50, "frame 1 waited while frame 0 was in the engine"
    assert report.statistics.stages["queue"].p99 >= 49


def test_a_run_ends_after_its_duration() -> None:
    source = ListSource(10**6)
    report = run(source, ListSink(lambda index: time.sleep(0.001)), duration_s=0.2)
    assert 0 < report.statistics.frames < 10**6
    assert report.statistics.seconds >= 0.2
    assert not report.interrupted


def test_a_pause_holds_the_frames_of_a_file() -> None:
    class Pausing(ListSink):
        held = -1

        def start(self, run: Run) -> None:
            self.run = run

        def poll(self) -> None:
            if self.run.paused and self.run.statistics.frames == self.held:
                self.run.pause(False)
            elif self.run.paused:
                self.held = self.run.statistics.frames
                time.sleep(0.05)

    sink = Pausing(lambda index: sink.run.pause() if index == 10 else None)
    report = run(ListSource(50), sink)
    assert sink.indices == list(range(50)), "nothing is lost by a pause"
    assert 11 <= sink.held < 30 and counts(report) == (50, 50, 0)


def test_a_sink_of_the_main_thread_runs_there() -> None:
    threads = set()

    class Window(ListSink):
        in_main_thread, every_frame = True, False

        def poll(self) -> None:
            threads.add(threading.current_thread())

    sink = Window(lambda index: threads.add(threading.current_thread()))
    run(ListSource(30), sink)
    assert threads == {threading.current_thread()}
    assert sink.indices[-1] == 29, "the last frame is shown"


def test_a_sink_switches_the_engine() -> None:
    class Switching(ListSink):
        def start(self, run: Run) -> None:
            self.run, self.engines = run, []

        def write(self, frame: SegmentedFrame) -> None:
            super().write(frame)
            self.engines.append(frame.engine)
            if frame.source.index == 5:
                self.run.switch_engine("b")
            with pytest.raises(InputError, match=r"no engine named c is loaded; there are a, b"):
                self.run.switch_engine("c")

    sink, sessions = Switching(), (FakeSession(), FakeSession())
    with Segmenter(sessions[0]) as one, Segmenter(sessions[1]) as other:
        run_pipeline(ListSource(60), {"a": one, "b": other}, [sink])
    assert sink.indices == list(range(60))
    assert sink.engines == sorted(sink.engines) and set(sink.engines) == {"a", "b"}
    assert len(sessions[0].runs) == sink.engines.count("a")


def test_what_a_source_reports_is_heard_at_once() -> None:
    class Reporting(ListSource):
        def __iter__(self) -> Iterator[SourceFrame]:
            self.on_note("lost the camera")
            self.on_reconnect()
            yield from super().__iter__()

    heard: list[str] = []
    report = run(Reporting(3), ListSink(), on_note=heard.append)
    assert heard == ["lost the camera"]
    assert report.statistics.reconnects == 1


def test_an_error_of_the_source_comes_after_the_frames_before_it() -> None:
    for batch in (1, 2, 5):
        sink = ListSink()
        with pytest.raises(SourceError, match="frame 3 is broken"):
            run(ListSource(10, fail_at=3), sink, FakeSession(batch=batch))
        assert sink.indices == [0, 1, 2]


def test_an_error_of_a_sink_ends_every_thread() -> None:
    def each(index: int) -> None:
        raise InputError("no room")

    with pytest.raises(InputError, match="no room"):
        run(ListSource(500), ListSink(each))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgefsa-")]


def test_an_error_of_the_engine_is_what_the_user_sees() -> None:
    def during(number: int) -> None:
        if number == 4:
            raise EngineError("the engine broke")

    sink = ListSink()
    with pytest.raises(EngineError, match="the engine broke"):
        run(ListSource(50), sink, SlowSession(during))
    assert sink.indices == list(range(len(sink.indices))) and len(sink.indices) <= 4


def test_a_source_that_hangs_does_not_keep_the_run_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefsa.segment.capture._CLOSE_TIMEOUT_S", 0.05)
    release = threading.Event()

    class Hanging(ListSource):
        def __iter__(self) -> Iterator[SourceFrame]:
            yield from super().__iter__()
            release.wait(20)

    source = Hanging(3, live=True)
    session = SlowSession(lambda number: source.let_arrive(number + 1) if number < 2 else None)
    begun_s = time.monotonic()
    report = run(source, ListSink(), session, limit=3)
    assert report.statistics.frames == 3 and time.monotonic() - begun_s < 10
    release.set()


def test_ctrl_c_finishes_the_frames_at_hand_and_stops() -> None:
    sink = ListSink(lambda index: signal.raise_signal(signal.SIGINT) if index == 4 else time.sleep(0.01))
    before = signal.getsignal(signal.SIGINT)
    source = ListSource(500)
    report = run(source, sink)
    assert report.interrupted
    assert sink.indices == list(range(report.statistics.frames)), "what has a mask is written"
    assert 5 <= report.statistics.frames < 500
    assert report.statistics.captured == report.statistics.frames
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    def each(_: int) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)  # the main thread takes one after the other

    with pytest.raises(KeyboardInterrupt):
        run(ListSource(500), ListSink(each))


def test_it_runs_outside_the_main_thread() -> None:
    sink = ListSink()
    thread = threading.Thread(target=run, args=(ListSource(5), sink))
    thread.start()
    thread.join(20)
    assert sink.indices == [0, 1, 2, 3, 4]


def test_throttling_is_said_once() -> None:
    class Hot:
        def latest(self) -> Any:
            return SimpleNamespace(throttled=True)

    heard: list[str] = []
    run(ListSource(30), ListSink(lambda index: time.sleep(0.005)), telemetry=Hot(), on_note=heard.append)
    assert len(heard) == 1 and heard[0].startswith("this machine holds its clocks down")
