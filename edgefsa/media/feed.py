"""A device or a connection that a thread of its own opens and reads, so that nobody else has to wait for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")
ItemOut = TypeVar("ItemOut", covariant=True)


class Handle(Protocol[ItemOut]):
    """What is read: by one thread, which also opens and closes it."""

    def read(self) -> ItemOut | None:
        """Wait for the next item; None at the end, SourceError where it is lost."""

    def close(self) -> None:
        """Release it."""


class Feed(Generic[Item]):
    """What a handle gives, from the moment that it is opened on.

    A driver or a server that hangs holds the feed's thread alone: `next` and `close` return in time whatever happens,
    and the thread releases the handle as soon as its read ends. `keep` is called with the queue after each item and
    takes out what is too old to be of use.
    """

    def __init__(self, opened: Callable[[], Handle[Item]], keep: Callable[[deque[Item]], None]) -> None:
        self._opened, self._keep = opened, keep
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._stopped = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="edgefsa-feed", daemon=True)
        self._thread.start()

    def next(self, timeout_s: float) -> Item | None:
        """Return the oldest item that is left, or None where none comes in time or there are no more.

        Raises what ended it, if that was an error, after the items that came before it.
        """
        with self._changed:
            if not self._items and not self._ended and not self._stopped:
                self._changed.wait(timeout_s)
            if self._items:
                return self._items.popleft()
            if self._error is not None and not self._stopped:
                raise self._error
            return None

    @property
    def waiting(self) -> int:
        """How many items there are."""
        return len(self._items)

    @property
    def ended(self) -> bool:
        """Whether no item will follow: it came to its end, not to an error, or was stopped."""
        with self._changed:
            return self._stopped or (self._ended and self._error is None and not self._items)

    @property
    def released(self) -> bool:
        """Whether the handle is closed, and a new one may be opened."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End it, at the end of the read that is under way; does not wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self, timeout_s: float) -> None:
        """End it, and wait so long at most until the handle is released."""
        self.stop()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        try:
            handle = self._opened()
            try:
                while not self._stopped and (item := handle.read()) is not None:
                    self._put(item)
            finally:
                handle.close()
        except BaseException as error:  # raised in the thread that takes the items
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            self._keep(self._items)
            self._changed.notify_all()


class Newest:
    """Keeps the newest item of a queue alone; `dropped` counts the others."""

    def __init__(self) -> None:
        self.dropped = 0

    def __call__(self, items: deque[Any]) -> None:
        """Look at a queue after an item was added to it."""
        while len(items) > 1:
            items.popleft()
            self.dropped += 1
