"""Videos of what is seen: drawing and encoding each in a thread of its own, so that the slower one sets the pace."""

from __future__ import annotations

import contextlib
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import atomic_file
from edgefsa.media.frames import Frame
from edgefsa.media.recording import VideoWriter, check_fps, encoder_for
from edgefsa.segment.figures import LiveFigures
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.sinks.base import Sink
from edgefsa.segment.sinks.worker import Worker

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame


class Recorder:
    """Writes frames of a run to a video from now on; the file appears, whole, when it is closed.

    `style` is how masks are drawn over the frames, None for the bare frames; `fps` the nominal rate: each frame is
    shown at its own time, counted from the first. A live run's video has the time of day of its beginning in its
    metadata. Raises InputError for a suffix or rate that
    cannot be written, OutputError where no encoder is there or the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, style: OverlayStyle | None = None, run: Run | None = None) -> None:
        self.path = Path(path)
        self.style = style
        live = run if run is not None and run.live else None
        self._figures = LiveFigures(live) if live is not None and style is not None and style.figures else None
        self._stack = contextlib.ExitStack()
        created = datetime.now(timezone.utc) if live is not None else None
        with contextlib.ExitStack() as stack:
            writer = VideoWriter(stack.enter_context(atomic_file(self.path)), fps, created=created)
            stack.callback(writer.abandon)
            self._stack = stack.pop_all()
        self._writer = writer
        self._first_s: float | None = None
        self._encoding: Worker[tuple[Frame, float]] = Worker("edgefsa-encode", lambda shown: writer.write(*shown))
        self._drawing: Worker[SegmentedFrame] = Worker("edgefsa-draw", self._draw)

    def write(self, frame: SegmentedFrame, *, wait: bool = True) -> bool:
        """Hand a frame over; without `wait` it is left out, and false returned, where the ones before are not done."""
        return self._drawing.put(frame, wait=wait)

    def close(self) -> Path | None:
        """Complete the file and return its path, None where no frame came; OutputError where it cannot be written."""
        try:
            self._drawing.finish()
            self._encoding.finish()
        except BaseException:
            self.abandon()
            raise
        if self._first_s is None:
            self.abandon()
            return None
        with self._stack:
            self._writer.close()
        return self.path

    def abandon(self) -> None:
        """End without a file."""
        self._drawing.abandon()
        self._encoding.abandon()
        with contextlib.suppress(_Abandoned), self._stack:
            raise _Abandoned

    def _draw(self, frame: SegmentedFrame) -> None:
        source = frame.source
        if self._first_s is None:
            self._first_s = source.time_s
        shown = source.frame
        if self.style is not None:
            rows = self._figures.rows() if self._figures is not None else ()
            shown = frame.segmentation.overlay(shown, self.style, rows)
        self._encoding.put((shown, source.time_s - self._first_s))


class _Abandoned(Exception):  # noqa: N818 no error: it leaves the context of a file that is not wanted
    """What a recording that is given up is left with."""


class VideoSink(Sink):
    """Writes overlays as a video, each shown at its frame's own time (see `Recorder`).

    `fps` is the nominal rate, that of the source where it is None. The file appears when the sink is left. Where a run
    over files fails there is none; of a live run what was recorded is kept.
    """

    name = "video"

    def __init__(self, path: str | Path, fps: float | None = None, style: OverlayStyle | None = None) -> None:
        super().__init__(style)
        self.path = Path(path)
        self._fps = fps if fps is None else check_fps(fps)
        encoder_for(self.path)
        self._run: Run | None = None
        self._recorder: Recorder | None = None
        self._lock = threading.Lock()  # a run that is broken off leaves the sink while a frame may be on its way
        self._left = False

    def start(self, run: Run) -> None:
        """Take note of the run, for its rate and its figures."""
        self._run = run

    def write(self, frame: SegmentedFrame) -> None:
        """Append one frame."""
        with self._lock:
            if self._recorder is None and not self._left:
                fps = self._fps or (self._run.source_fps if self._run is not None else None) or 1.0
                self._recorder = Recorder(self.path, fps, self.style, self._run)
            recorder = self._recorder
        if recorder is not None:
            recorder.write(frame)

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            recorder, self._recorder, self._left = self._recorder, None, True
        if recorder is None:
            return
        failed = error[0] is not None
        if failed and (self._run is None or not self._run.live):
            recorder.abandon()
            return
        # Where the run has failed its own error is what the user sees.
        with contextlib.suppress(Exception) if failed else contextlib.nullcontext():
            written = recorder.close()
            self.outputs += [written] if written is not None else []
