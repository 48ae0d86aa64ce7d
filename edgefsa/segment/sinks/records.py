"""Figures of each frame as JSON lines, for other programs."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgefsa.errors import OutputError
from edgefsa.segment.sinks.base import Sink

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame


class JsonLinesSink(Sink):
    """Appends one JSON object a line for each frame to a file, or writes them to standard output where `path` is "-".

    Each line is written at once and whole, so that another program can follow the file. See `record_of` for its fields.
    A reader of standard output that goes away ends the run.
    """

    name = "json"

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = None if str(path) == "-" else Path(path)
        self._file: IO[bytes] | None = None
        self._stack = contextlib.ExitStack()
        self._run: Run | None = None

    def __enter__(self) -> JsonLinesSink:
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._stack.enter_context(self.path.open("ab", buffering=0))
            except OSError as error:
                raise self._cannot(error) from error
        return self

    def __exit__(self, *error: Any) -> None:
        with self._stack:
            if self.path is not None:
                self.outputs.append(self.path)

    def start(self, run: Run) -> None:
        """Take note of the run, which a reader that goes away ends."""
        self._run = run

    def write(self, frame: SegmentedFrame) -> None:
        """Append the frame's line."""
        live = self._run is not None and self._run.live
        line = json.dumps(record_of(frame, live=live)) + "\n"
        try:
            if self._file is not None:
                self._file.write(line.encode())
            else:
                print(line, end="", flush=True)
        except BrokenPipeError:
            if self._run is None:
                raise
            self._run.stop()
        except OSError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: OSError) -> OutputError:
        reason = (error.strerror or str(error)).lower()
        return OutputError(f"cannot write {self.path or 'standard output'}: {reason}; give another path")


def record_of(frame: SegmentedFrame, *, live: bool) -> dict[str, Any]:
    """Return a frame's figures as plain values.

    `time` is when it was captured or decoded (ISO 8601, UTC), `time_s` its time from the first frame, `shares` maps
    each present class to its share of the frame (0 to 1), `latency_ms` the stages to milliseconds; `camera_to_mask` is
    there for live frames.
    """
    times = frame.segmentation.times
    latency_ms = {"prepare": times.prepare_ms, "engine": times.engine_ms, "mask": times.mask_ms}
    latency_ms |= {"frame_to_mask": times.total_ms}
    latency_ms |= {"camera_to_mask": frame.camera_to_mask_ms} if live else {}
    age_ns = time.perf_counter_ns() - frame.source.captured_ns
    captured = datetime.fromtimestamp(time.time() - age_ns / 1e9, timezone.utc)
    return {
        "time": captured.isoformat(timespec="milliseconds"),
        "time_s": round(frame.source.time_s, 6),
        "index": frame.source.index,
        "name": frame.source.name,
        "engine": frame.engine,
        "shares": {name: round(share, 6) for name, share in frame.segmentation.shares.items()},
        "latency_ms": {stage: round(value, 3) for stage, value in latency_ms.items()},
    }
