"""Sources that go on until they are stopped: what is lost is opened again."""

from __future__ import annotations

import random
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgefsa.errors import SourceError
from edgefsa.media.camera import CapturedFrame
from edgefsa.media.feed import Feed
from edgefsa.segment.sources.base import FrameSource, SourceFrame

Item = TypeVar("Item")
_CLOSE_S = 1.0


@dataclass(frozen=True)
class Patience:
    """Seconds to wait: for a connection (`open_s`), for a frame (`silent_s`), and before the next try.

    The first try comes after `retry_s`, each further one after twice the time, `longest_retry_s` at most; each wait is
    shortened by up to half at random, so that many clients of a server that comes back do not come at once.
    """

    open_s: float = 10.0
    silent_s: float = 10.0
    retry_s: float = 0.5
    longest_retry_s: float = 10.0

    def before_try(self, number: int) -> float:
        """Return how long to wait before a try, the first being number 0."""
        longest = min(self.longest_retry_s, self.retry_s * 2.0 ** min(number, 30))
        return longest * random.uniform(0.5, 1.0)


class LiveSource(FrameSource, Generic[Item]):
    """Frames of a device or a connection, opened again whenever it is lost, until `interrupt` or `close`.

    The first connection must succeed: SourceError says why it did not. Times are those of the clock.
    """

    live = True

    def __init__(self, name: str, label: str, patience: Patience | None = None) -> None:
        super().__init__(name)
        self.label = label
        self._patience = patience or Patience()
        self._interrupted = threading.Event()
        self._lost_s: float | None = None
        self._reason = ""
        self._feed = self._connect()
        try:
            # Proof that frames come; it is stale when they are asked for.
            if next(self._frames(), None) is None:
                raise SourceError(f"{label} ended before its first frame; check what it is")
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[SourceFrame]:
        first_ns = 0
        for count, captured in enumerate(self._captured()):
            first_ns = first_ns or captured.captured_ns
            yield SourceFrame(
                captured.frame,
                f"{self.name}_{count:06d}",
                count,
                (captured.captured_ns - first_ns) / 1e9,
                captured.captured_ns,
                captured.device_time_s,
            )

    def interrupt(self) -> None:
        """End the frames at once; what hangs in a driver is left to it."""
        self._interrupted.set()
        self._feed.stop()

    def close(self) -> None:
        """End the frames, and release the device or connection, at the end of a read that is under way."""
        self._interrupted.set()
        self._feed.close(_CLOSE_S)

    @abstractmethod
    def _connect(self) -> Feed[Item]:
        """Begin to open it, in another thread."""

    @abstractmethod
    def _converted(self, item: Item) -> Iterator[CapturedFrame]:
        """Yield the frames that an item of the feed completes."""

    @abstractmethod
    def _left_out(self) -> int:
        """Return how many frames this connection has left out to keep up."""

    def _disconnected(self) -> None:
        """Say what a user should know of a connection that is over."""

    def _captured(self) -> Iterator[CapturedFrame]:
        tries = 0
        while not self._interrupted.is_set():
            first_s = None
            try:
                for captured in self._of_connection():
                    first_s = first_s or time.monotonic()
                    yield captured
                reason = "it ended"
            except SourceError as error:
                # What to do about it is for who starts the source.
                reason = str(error).partition(";")[0].removeprefix(self.label).lstrip(": ")
            self._disconnected()
            if self._interrupted.is_set():
                return
            self._lost(reason)
            wait_s = self._patience.before_try(tries)
            # After one that lasted the first wait is short again; one that ends at once is asked less and less often.
            tries = 0 if first_s is not None and time.monotonic() - first_s > wait_s else tries + 1
            self._feed.stop()
            # What hangs in its driver is not opened a second time.
            while not self._interrupted.wait(wait_s) and not self._feed.released:
                wait_s = self._patience.before_try(tries)
            if not self._interrupted.is_set():
                self._feed = self._connect()

    def _of_connection(self) -> Iterator[CapturedFrame]:
        """Yield what one connection gives, say that it is there, and count what it leaves out from then on."""
        counted: int | None = None
        for captured in self._frames():
            if counted is None:
                self._connected()
                counted = self._left_out()
            yield captured
            left_out = self._left_out()
            if left_out > counted:
                self.on_drop(left_out - counted)
                counted = left_out

    def _frames(self) -> Iterator[CapturedFrame]:
        """Yield what one connection gives; SourceError where it is lost or silent for too long."""
        silent_s = self._patience.open_s + self._patience.silent_s  # the first frame comes after the opening
        last_s = time.monotonic()
        while not (self._feed.ended or self._interrupted.is_set()):
            item = self._feed.next(last_s + silent_s - time.monotonic())
            for captured in () if item is None else self._converted(item):
                yield captured
                silent_s, last_s = self._patience.silent_s, time.monotonic()
            if time.monotonic() - last_s >= silent_s:
                raise SourceError(f"{self.label} gave no frame for {silent_s:g} s; check that it is up and not in use")

    def _lost(self, reason: str) -> None:
        """Say once that it is lost, and again where the reason is another one."""
        if self._lost_s is None:
            self._lost_s = time.monotonic()
            self.note(f"{self.label} is lost ({reason}); it is opened again as soon as that works")
        elif reason != self._reason:
            self.note(f"{self.label} is still lost: {reason}")
        self._reason = reason

    def _connected(self) -> None:
        """Say that it is back, where it was lost."""
        if self._lost_s is not None:
            self.note(f"{self.label} is back after {time.monotonic() - self._lost_s:.1f} s")
            self._lost_s = None
            self.on_reconnect()
