"""Frames to masks to sinks, as fast as they come: capture, engine and each sink in a thread of its own.

From a live source only the newest frame is kept, so a mask is never of a frame that has long passed; from files every
frame is taken, in order, as many at a time as the engine's batch holds. The caller's thread waits, takes Ctrl-C, and
serves the sinks that must live in the main thread (windows).
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgefsa.errors import InputError
from edgefsa.segment.capture import Capture
from edgefsa.segment.delivery import Delivery
from edgefsa.segment.run import CanaryFigures, Run, SegmentedFrame
from edgefsa.segment.segmenter import IN_FLIGHT, Segmenter, SegmenterTicket
from edgefsa.segment.sinks import Sink
from edgefsa.segment.sources import Failure, FrameSource, SourceFrame
from edgefsa.segment.statistics import Snapshot

if TYPE_CHECKING:
    from edgefsa.machine.telemetry import Telemetry

# Files: the engine always has the next batch waiting. Live: the newest frame at the moment the engine is free beats one
# that waited inside it; what is left to do for the frame before overlaps with the run (docs/decisions/0020).
IN_FLIGHT_LIVE = 1
_POLL_S = 0.02

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PipelineReport:
    """What a run did: `statistics` at its end, frames a second from the first mask to the last (`fps`), whether Ctrl-C
    ended it (`interrupted`), what a canary found, the source's `notes` and `failures`.
    """

    statistics: Snapshot
    fps: float
    interrupted: bool = False
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    canary: CanaryFigures | None = None


def run_pipeline(
    source: FrameSource,
    segmenter: Segmenter | Mapping[str, Segmenter],
    sinks: Sequence[Sink],
    *,
    limit: int | None = None,
    duration_s: float | None = None,
    in_flight: int | None = None,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
    telemetry: Telemetry | None = None,
) -> PipelineReport:
    """Segment the frames of an open source and hand them to open sinks, until the end, `limit`, or Ctrl-C.

    `segmenter` is an open one, or several by name, of which the first is used until a sink switches. `limit` counts
    masks, `duration_s` seconds; `in_flight` is how many runs of the engine are under way at once. `progress` is called
    with (done, total or 0), `on_note` with what a user should know, as it happens. `telemetry` is for sinks to show.

    Ctrl-C (in the main thread) finishes the frames at hand and returns, so that sinks can complete their files;
    a second one interrupts at once. Errors of the source, the engine and the sinks are raised here, the first of them,
    and InputError for a `limit` below 1.
    """
    for name, value in (("limit", limit), ("duration", duration_s), ("in flight", in_flight)):
        if value is not None and value <= 0:
            raise InputError(f"{name} is {value}, which leaves nothing to segment; give more than 0")
    segmenters = segmenter if isinstance(segmenter, Mapping) else {_name_of(segmenter): segmenter}
    run = Run(source, segmenters, on_note=on_note, telemetry=telemetry)
    source.on_note, source.on_reconnect = run.note, run.statistics.count_reconnect
    source.on_drop = run.statistics.count_left_out
    depth = in_flight or (IN_FLIGHT_LIVE if source.live else IN_FLIGHT)
    batch = 1 if source.live else min(segmenter.batch for segmenter in segmenters.values())
    deliveries = [Delivery(sink, run) for sink in sinks]
    total = min((count for count in (source.total, limit) if count is not None), default=0)
    with _stop_on_interrupt(run) as interrupted, contextlib.ExitStack() as stack:
        _start(deliveries, run)
        capture = stack.enter_context(Capture(source, run, limit, batch))
        engine = threading.Thread(
            target=_EngineStage(capture, run, segmenters, deliveries, limit, depth).work, name="edgefsa-engine"
        )
        engine.start()
        try:
            _attend(engine, deliveries, run, duration_s, progress, total)
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            engine.join()
    failure = run.error or capture.error
    if failure is not None:
        raise failure
    return PipelineReport(
        statistics=run.statistics.snapshot(),
        fps=run.statistics.mean_fps(),
        interrupted=interrupted.is_set(),
        notes=list(source.notes),
        failures=list(source.failures),
        canary=run.canary,
    )


def _start(deliveries: Sequence[Delivery], run: Run) -> None:
    """Start the sinks and wait until they are ready, so that no live frame is dropped for one that is being made."""
    try:
        for delivery in deliveries:
            delivery.start()
        while not all(delivery.started for delivery in deliveries):
            time.sleep(_POLL_S / 10)
    except BaseException as error:
        run.fail(error)
        raise


def _attend(
    engine: threading.Thread,
    deliveries: Sequence[Delivery],
    run: Run,
    duration_s: float | None,
    progress: Progress | None,
    total: int,
) -> None:
    """Wait in the caller's thread until the engine and every sink are done."""
    end_s = None if duration_s is None else time.monotonic() + duration_s
    shown, throttled = 0, False
    while engine.is_alive() or not all(delivery.done for delivery in deliveries):
        for delivery in deliveries:
            delivery.poll()
        if end_s is not None and time.monotonic() >= end_s:
            run.stop()
        if run.throttled and not throttled:
            throttled = True
            run.note("this machine holds its clocks down, by heat or a power limit: the figures are not its best")
        done = run.statistics.frames
        if progress is not None and done != shown:
            progress(done, total)
            shown = done
        engine.join(_POLL_S) if engine.is_alive() else time.sleep(_POLL_S / 10)
    if progress is not None and run.statistics.frames != shown:
        progress(run.statistics.frames, total)


@dataclass(frozen=True)
class _UnderWay:
    """Frames in an engine; `taken_ns` is when they left the queue."""

    engine: str
    frames: list[SourceFrame]
    taken_ns: int
    ticket: SegmenterTicket


class _EngineStage:
    """Takes frames, keeps `depth` runs of the engine under way, and hands masks to the sinks.

    At any time one further run may be computed and not handed on yet: that is done while the engine has the next one.
    """

    def __init__(
        self,
        capture: Capture,
        run: Run,
        segmenters: Mapping[str, Segmenter],
        deliveries: Sequence[Delivery],
        limit: int | None,
        depth: int,
    ) -> None:
        self._capture, self._run, self._segmenters = capture, run, segmenters
        self._deliveries, self._depth = deliveries, depth
        self._left = limit
        self._under_way: deque[_UnderWay] = deque()

    def work(self) -> None:
        """Run until the source ends or the run is stopped."""
        try:
            while self._step():
                pass
        except BaseException as error:  # raised in the thread of the caller
            self._run.fail(error)
        finally:
            for note in {note: None for segmenter in self._segmenters.values() for note in segmenter.session.notes}:
                self._run.note(note)
            self._run.stop()
            for delivery in self._deliveries:
                delivery.end()

    def _step(self) -> bool:
        """Submit the next frames, if they are there, and finish the oldest ones; return whether others may follow."""
        if len(self._under_way) >= self._depth:
            oldest = self._under_way[0]
            self._segmenters[oldest.engine].wait(oldest.ticket)
        frames = self._next_frames()
        if frames:
            self._submit(frames)
        if self._under_way and (len(self._under_way) > self._depth or not frames):
            self._finish()
        return bool(frames or self._under_way) or not (self._run.stopped or self._left == 0 or self._capture.exhausted)

    def _next_frames(self) -> list[SourceFrame]:
        if self._left == 0:
            return []
        if self._run.paused:
            if not self._under_way:
                self._run.wait_while_paused(_POLL_S)
            return []
        return self._capture.next(self._left, wait=not self._under_way)

    def _submit(self, frames: list[SourceFrame]) -> None:
        engine = self._run.engine.name
        taken_ns = time.perf_counter_ns()
        ticket = self._segmenters[engine].submit([frame.frame for frame in frames])
        self._under_way.append(_UnderWay(engine, frames, taken_ns, ticket))
        if self._left is not None:
            self._left -= len(frames)

    def _finish(self) -> None:
        """Collect the oldest run and hand its masks on."""
        done = self._under_way.popleft()
        segmentations = self._segmenters[done.engine].collect(done.ticket)
        now_ns = time.perf_counter_ns()
        for frame, segmentation in zip(done.frames, segmentations, strict=True):
            times = segmentation.times
            stages = {
                "prepare": times.prepare_ms,
                "engine": times.engine_ms,
                "mask": times.mask_ms,
                "frame_to_mask": times.total_ms,
            }
            camera_to_mask_ms = (now_ns - frame.captured_ns) / 1e6
            if times.copy_ms:
                stages["copy"] = times.copy_ms
            if self._run.live:
                stages["queue"] = (done.taken_ns - frame.captured_ns) / 1e6
                stages["camera_to_mask"] = camera_to_mask_ms
            self._run.statistics.add_frame(stages)
            result = SegmentedFrame(frame, segmentation, done.engine, camera_to_mask_ms)
            for delivery in self._deliveries:
                delivery.put(result)


def _name_of(segmenter: Segmenter) -> str:
    manifest = segmenter.session.manifest
    return f"{manifest.target}-{manifest.precision}"


@contextlib.contextmanager
def _stop_on_interrupt(run: Run) -> Iterator[threading.Event]:
    """Stop the run at the first Ctrl-C, and yield an event that says so; the second one raises KeyboardInterrupt."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def interrupt(*_: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        run.stop()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
