"""What every source of frames is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgefsa.media.frames import Frame

_NOTES_KEPT = 100


@dataclass(frozen=True)
class SourceFrame:
    """A frame uint8 [H, W, 3] BGR, a name for its files, its index, and its time from the first frame, in seconds.

    `captured_ns` is when it was captured, received or decoded, by `time.perf_counter_ns`; `device_time_s` the time that
    the camera or stream itself gives it, on a clock of its own.
    """

    frame: Frame
    name: str
    index: int
    time_s: float
    captured_ns: int = field(default_factory=time.perf_counter_ns)
    device_time_s: float | None = None


@dataclass(frozen=True)
class Failure:
    """A file that could not be used, and why."""

    file: str
    reason: str


class FrameSource(ABC):
    """Frames in order, once through.

    `total` is the number of frames as far as it is known beforehand; `fps` is None where frames have no
    rate (images); `live` frames come whether they are taken or not (a camera). `notes` says what a user should know,
    the last hundred, and `failures` lists the files that were left out. `on_note` is called with a note at once,
    `on_reconnect` when a source that was lost is back, `on_drop` with how many frames a live source left out to keep
    up. The pipeline sets them before the first frame is asked for.
    """

    name: str
    total: int | None = None
    fps: float | None = None
    live: bool = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []
        self.failures: list[Failure] = []
        self.on_note: Callable[[str], None] = lambda note: None
        self.on_reconnect: Callable[[], None] = lambda: None
        self.on_drop: Callable[[int], None] = lambda frames: None

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def __iter__(self) -> Iterator[SourceFrame]:
        """Yield the frames; SourceError where not one can be read."""

    def note(self, text: str) -> None:
        """Record what a user should know, in one line."""
        self.notes.append(text)
        del self.notes[:-_NOTES_KEPT]
        self.on_note(text)

    def note_once(self, text: str) -> None:
        """Record what a user should know, unless it is recorded."""
        if text not in self.notes:
            self.note(text)

    def keep_rate(self) -> None:  # noqa: B027 most sources are read fast enough
        """Make ready to be read at a rate: who is going to do that calls it before the first frame."""

    def interrupt(self) -> None:  # noqa: B027 most sources never wait for long
        """Ask a read that is under way in another thread to end soon, and no other to begin."""

    def close(self) -> None:  # noqa: B027 most sources hold nothing open
        """Release a file or a device; another thread may be reading it."""
