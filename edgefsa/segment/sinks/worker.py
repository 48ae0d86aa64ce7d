"""One stage of work in a thread of its own, behind a short queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Worker(Generic[Item]):
    """Calls `work` with each item in a thread, in their order; at most `room` of them wait.

    The first error ends it; `put` and `finish` raise it.
    """

    def __init__(self, name: str, work: Callable[[Item], object], room: int = 2) -> None:
        self._work, self._room = work, room
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work_off, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item, *, wait: bool = True) -> bool:
        """Queue an item; return false where there is no room, for which `wait` waits, and after the end."""
        with self._changed:
            while wait and len(self._items) >= self._room and not self._ended:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            if self._ended or len(self._items) >= self._room:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def finish(self) -> None:
        """Wait until all items are worked off, and end."""
        self._end()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Forget the items that wait, and end after the one at hand."""
        with self._changed:
            self._items.clear()
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join()

    def _work_off(self) -> None:
        while True:
            with self._changed:
                while not self._items and not self._ended:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            try:
                self._work(item)
            except BaseException as error:  # raised in the threads of those who use it
                with self._changed:
                    self._error, self._ended = error, True
                    self._items.clear()
                    self._changed.notify_all()
