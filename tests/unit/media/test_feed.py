"""A thread that reads for others: what hangs in it hangs nobody."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest

from edgefsa.errors import SourceError
from edgefsa.media.feed import Feed, Newest


class Counted:
    """Give numbers up to `count`, then hang, end or fail; remembers whether it was closed under a read."""

    def __init__(self, count: int, then: str = "end") -> None:
        self.left, self.then, self.given = count, then, 0
        self.hangs, self.go = threading.Event(), threading.Event()
        self.inside = False
        self.closed: list[bool] = []

    def read(self) -> int | None:
        self.inside = True
        if self.given == self.left and self.then == "hang":
            self.hangs.set()
            assert self.go.wait(20)
        self.inside = False
        if self.given == self.left:
            if self.then == "fail":
                raise SourceError("unplugged")
            return None
        self.given += 1
        return self.given

    def close(self) -> None:
        self.closed.append(self.inside)


def keep_all(items: deque[int]) -> None:
    pass


def test_items_come_in_order_and_then_the_end() -> None:
    handle = Counted(3)
    feed = Feed(lambda: handle, keep_all)
    assert [feed.next(20) for _ in range(4)] == [1, 2, 3, None]
    assert feed.ended
    feed.close(20)
    assert feed.released
    assert handle.closed == [False]


def test_an_error_comes_after_the_items_before_it() -> None:
    feed = Feed(lambda: Counted(2, "fail"), keep_all)
    assert [feed.next(20), feed.next(20)] == [1, 2]
    assert not feed.ended
    with pytest.raises(SourceError, match="unplugged"):
        feed.next(20)


def test_a_handle_that_cannot_be_opened_raises_where_items_are_taken() -> None:
    def refuse() -> Counted:
        raise SourceError("no such device")

    with pytest.raises(SourceError, match="no such device"):
        Feed(refuse, keep_all).next(20)


def test_what_hangs_is_waited_for_no_longer_than_asked_and_never_closed_under_its_read() -> None:
    handle = Counted(0, "hang")
    feed = Feed(lambda: handle, keep_all)
    assert handle.hangs.wait(20)
    begun = time.monotonic()
    assert feed.next(0.05) is None
    feed.close(0.05)
    assert feed.next(20) is None, "a stopped feed does not wait"
    assert time.monotonic() - begun < 5
    assert (feed.ended, feed.released, handle.closed) == (True, False, [])
    handle.go.set()
    feed.close(20)
    assert feed.released
    assert handle.closed == [False]


def test_the_newest_item_alone_is_kept() -> None:
    handle, newest = Counted(50, "hang"), Newest()
    feed = Feed(lambda: handle, newest)
    assert handle.hangs.wait(20)
    assert (feed.waiting, feed.next(20), feed.waiting) == (1, 50, 0)
    assert newest.dropped == 49
    handle.go.set()
    feed.close(20)
