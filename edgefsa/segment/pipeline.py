"""Frames to masks to files, as fast as they come.

One thread reads frames while the main one segments and writes. From a live source only the newest frame is kept, so
a mask is never of a frame that has long passed; from files every frame is taken, in order, as many at a time as the
engine's batch holds.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgefsa.errors import InputError, SourceError
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.segmenter import Segmenter
from edgefsa.segment.sinks import VIDEO_SUFFIXES, FolderSink, Sink, VideoSink
from edgefsa.segment.sources import Failure, FrameSource, SourceFrame, open_source

_READ_AHEAD = 4
_POLL_S = 0.1
_LATENCIES_KEPT = 10_000

Progress = Callable[[int, int], None]


@dataclass
class PipelineReport:
    """What a run did: frames captured = processed + dropped (a live frame that a newer one replaced).

    `latencies_ms` has, for each frame processed (the last 10000 of them), the time to its mask: from its capture
    for a live source, from its turn for files (a frame of a batch has the time of the batch). `interrupted` is true
    after Ctrl-C; `notes` and `failures` are the source's.
    """

    captured: int = 0
    processed: int = 0
    dropped: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def run_pipeline(
    source: FrameSource,
    segmenter: Segmenter,
    sinks: Sequence[Sink],
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> PipelineReport:
    """Segment the frames of an open source and hand them to open sinks, until the end, `limit`, or Ctrl-C.

    Ctrl-C (in the main thread) finishes the frames at hand and returns, so that sinks can complete their files;
    a second one interrupts at once. Errors of the source, the engine and the sinks are raised here, and InputError
    for a `limit` below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"a limit of {limit} frames leaves nothing to segment; give 1 or more")
    batch = 1 if source.live else segmenter.batch  # a live frame does not wait for others
    report = PipelineReport()
    start_s = time.monotonic()
    total = min((count for count in (source.total, limit) if count is not None), default=0)
    with _stop_on_interrupt() as stop, _Capture(source, limit, batch) as capture:
        while report.processed != limit and (captured := capture.next(stop)):
            segmentations = segmenter.segment_batch([frame.frame for frame in captured])
            done_ns = time.perf_counter_ns()
            for frame, segmentation in zip(captured, segmentations, strict=True):
                waited_ms = (done_ns - frame.captured_ns) / 1e6
                report.latencies_ms.append(waited_ms if source.live else segmentation.latency_ms)
                for sink in sinks:
                    sink.write(frame, segmentation)
                report.processed += 1
                if progress is not None:
                    progress(report.processed, total)
    report.captured, report.dropped = capture.captured, capture.dropped
    report.seconds = time.monotonic() - start_s
    report.interrupted = stop.is_set()
    report.notes, report.failures = list(source.notes), list(source.failures)
    return report


def predict_source(
    engine: str | Path,
    source: str | Path,
    output: str | Path,
    *,
    style: OverlayStyle | None = None,
    limit: int | None = None,
    orientation: str = "exif",
    bits: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Segment `source` (see `open_source`) into `output`; return what was done, as plain values.

    Images give NAME_overlay.jpg and NAME_mask.png in the folder `output`; a video, a camera or the synthetic
    street gives the video NAME_overlay.mp4 there, or `output` itself where that is named like a video. `failed` lists
    the files of a folder that could not be read, with the reason of each.
    """
    with (
        open_source(source, orientation=orientation, bits=bits) as frames,
        Segmenter(engine) as segmenter,
        _sink_for(frames, Path(output), style) as sink,
    ):
        report = run_pipeline(frames, segmenter, [sink], limit=limit, progress=progress)
    if report.processed == 0 and not report.interrupted:
        raise SourceError(f"{source} gave no frame; nothing was written")
    return {
        "engine": str(engine),
        "source": str(source),
        "frames": report.processed,
        "dropped": report.dropped,
        "seconds": round(report.seconds, 3),
        "median_latency_ms": round(statistics.median(report.latencies_ms or [0.0]), 3),
        "interrupted": report.interrupted,
        "notes": report.notes,
        "failed": [asdict(failure) for failure in report.failures],
        "outputs": [str(path) for path in sink.outputs],
    }


def _sink_for(source: FrameSource, output: Path, style: OverlayStyle | None) -> Sink:
    if output.suffix.lower() in VIDEO_SUFFIXES and not output.is_dir():
        return VideoSink(output, source.fps or 1.0, style)
    if source.fps is not None:
        return VideoSink(output / f"{source.name}_overlay.mp4", source.fps, style)
    return FolderSink(output, style)


class _Capture:
    """Reads a source in a thread of its own; `next` gives what it has read, `batch` frames at a time."""

    def __init__(self, source: FrameSource, limit: int | None, batch: int) -> None:
        self.captured = 0
        self.dropped = 0
        self._source = source
        self._batch = batch
        self._read_ahead = max(_READ_AHEAD, batch)
        self._limit = None if source.live else limit  # dropped frames do not count towards the limit
        self._frames: deque[SourceFrame] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="edgefsa-capture", daemon=True)

    def __enter__(self) -> _Capture:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # A camera that hangs in its driver must not keep the program from ending: it is released after that read.
        self._thread.join(timeout=5.0)
        self.captured -= len(self._frames)  # read ahead and never asked for

    def next(self, stop: threading.Event) -> list[SourceFrame]:
        """Wait for frames: a batch, the rest at the end, none once `stop` is set.

        An error of the source is raised after the frames before it.
        """
        with self._changed:
            while len(self._frames) < self._batch and not self._ended and not stop.is_set():
                self._changed.wait(_POLL_S)
            if stop.is_set():
                return []
            if not self._frames and self._error is not None:
                raise self._error
            self._changed.notify_all()
            return [self._frames.popleft() for _ in range(min(self._batch, len(self._frames)))]

    def _read(self) -> None:
        try:
            for frame in self._source:
                if not self._put(frame):
                    break
        except BaseException as error:  # handed to the thread that asks for frames
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: SourceFrame) -> bool:
        """Queue a frame; false where no more are wanted."""
        with self._changed:
            if self._source.live:
                self.dropped += len(self._frames)
                self._frames.clear()
            while len(self._frames) >= self._read_ahead and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self.captured += 1
            self._frames.append(frame)
            self._changed.notify_all()
            return self.captured != self._limit


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; the second one raises KeyboardInterrupt."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
