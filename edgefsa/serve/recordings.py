"""Clips that viewers record: started, stopped and listed by ids that the server makes."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.errors import InputError, OutputError
from edgefsa.segment.overlay import OverlayStyle

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame
    from edgefsa.segment.sinks import Recorder

# What viewers can ask for is bounded: a clip ends by itself, and none begins on a disk that is nearly full.
LONGEST_S = 600.0
_CLIPS_LISTED = 20
_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Clip:
    """A clip that is whole: what it is called in addresses, its file, its length in seconds, its size in bytes."""

    id: str
    path: Path
    seconds: float
    size: int

    def as_json(self) -> dict[str, Any]:
        """Return what the page lists."""
        return {"id": self.id, "name": self.path.name, "seconds": round(self.seconds, 1), "bytes": self.size}


class Recordings:
    """Records to files in `folder`, one clip at a time; from any thread.

    A clip ends by itself after `longest_s` seconds and with the run. The newest clips of this run are
    listed, `written` has the files of all.
    """

    def __init__(self, folder: Path, style: OverlayStyle, longest_s: float = LONGEST_S) -> None:
        self._folder, self._style, self._longest_s = folder, style, longest_s
        self._lock = threading.Lock()
        self._recorder: Recorder | None = None
        self._start_s = 0.0
        self._clips: dict[str, Clip] = {}
        self.written: list[Path] = []

    def start(self, run: Run) -> None:
        """Begin a clip; InputError where one is under way, OutputError where it cannot be written."""
        from edgefsa.segment.sinks import Recorder

        with self._lock:
            if self._recorder is not None:
                raise InputError("a recording is under way; stop it first")
            self._folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
            if free < _FREE_BYTES:
                raise OutputError(f"{self._folder} has {free >> 20} MB free, and a clip needs {_FREE_BYTES >> 20}")
            name = f"edgefsa-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.mp4"
            self._recorder = Recorder(self._folder / name, run.source_fps or 10.0, self._style, run)
            self._start_s = time.monotonic()

    def write(self, frame: SegmentedFrame) -> None:
        """Record a frame, where a clip is under way and its encoder has room; OutputError where it cannot be."""
        with self._lock:
            recorder, elapsed_s = self._recorder, time.monotonic() - self._start_s
        if recorder is None:
            return
        recorder.write(frame, wait=False)
        if elapsed_s > self._longest_s:
            self.stop()

    def stop(self) -> Clip | None:
        """Complete the clip and return it; None where there is none, or no frame came. OutputError as `write`."""
        with self._lock:
            recorder, self._recorder = self._recorder, None
            seconds = time.monotonic() - self._start_s
        path = recorder.close() if recorder is not None else None
        if path is None:
            return None
        clip = Clip(secrets.token_urlsafe(12), path, seconds, path.stat().st_size)
        with self._lock:
            self._clips[clip.id] = clip
            self.written.append(path)
            while len(self._clips) > _CLIPS_LISTED:
                del self._clips[next(iter(self._clips))]
        return clip

    def fail(self) -> None:
        """Abandon a clip that cannot be written."""
        with self._lock:
            recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.abandon()

    def find(self, clip_id: str) -> Clip | None:
        """Return the clip of an id that the server made; None for any other text."""
        with self._lock:
            return self._clips.get(clip_id)

    def state(self) -> dict[str, Any]:
        """Return what the page shows: the seconds of a clip that is under way, and the clips that are whole."""
        with self._lock:
            seconds = round(time.monotonic() - self._start_s, 1) if self._recorder is not None else None
            return {"seconds": seconds, "clips": [clip.as_json() for clip in reversed(self._clips.values())]}
