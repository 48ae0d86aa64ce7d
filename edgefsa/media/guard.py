"""A device or decoder that one thread reads and any thread may close."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class ReadGuard:
    """Releases a handle once, and never while a read is inside it.

    `with guard.reading() as open:` surrounds each read; `open` is false once `close` was called. Where a read is under
    way (a camera may hang in its driver for seconds), `close` returns at once and the reading thread releases.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._inside = threading.Lock()
        self._closed = False
        self._released = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[bool]:
        """Hold the handle for one read."""
        try:
            with self._inside:
                yield not self._closed
        finally:
            if self._closed:
                self._release_if_free()

    def close(self) -> None:
        """Release the handle now, or at the end of the read that is under way."""
        self._closed = True
        self._release_if_free()

    def _release_if_free(self) -> None:
        # Whoever fails here has a reader inside, which comes by once it has left.
        if self._inside.acquire(blocking=False):
            try:
                if not self._released:
                    self._released = True
                    self._release()
            finally:
                self._inside.release()
