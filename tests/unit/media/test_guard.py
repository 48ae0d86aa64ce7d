"""A handle is released once, and never under a read."""

from __future__ import annotations

import threading

from edgefsa.media.guard import ReadGuard


def test_closing_releases_at_once_and_once() -> None:
    released: list[str] = []
    guard = ReadGuard(lambda: released.append(threading.current_thread().name))
    with guard.reading() as is_open:
        assert is_open
    guard.close()
    guard.close()
    assert released == ["MainThread"]
    with guard.reading() as is_open:
        assert not is_open


def test_a_read_under_way_ends_before_the_release() -> None:
    inside, leave, events = threading.Event(), threading.Event(), []
    guard = ReadGuard(lambda: events.append(f"released by {threading.current_thread().name}"))

    def read() -> None:
        with guard.reading():
            inside.set()
            assert leave.wait(20)
            events.append("read")

    thread = threading.Thread(target=read, name="reader")
    thread.start()
    assert inside.wait(20)
    guard.close()
    assert events == [], "close neither waits for the read nor releases under it"
    leave.set()
    thread.join(20)
    assert events == ["read", "released by reader"]


def test_an_error_in_a_read_still_releases() -> None:
    released = []
    guard = ReadGuard(lambda: released.append(True))
    try:
        with guard.reading():
            guard.close()
            raise OSError("unplugged")
    except OSError:
        pass
    assert released == [True]
