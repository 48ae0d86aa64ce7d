"""A stage of work: in order, bounded, and with errors that come back."""

from __future__ import annotations

import threading

import pytest

from edgefsa.segment.sinks.worker import Worker

WAIT_S = 20


def test_items_are_worked_off_in_order() -> None:
    done: list[int] = []
    worker = Worker("test", done.append)
    assert all(worker.put(item) for item in range(100))
    worker.finish()
    assert done == list(range(100))
    assert not worker.put(100), "nothing is taken after the end"


def test_no_more_items_wait_than_there_is_room_for() -> None:
    begun, go = threading.Event(), threading.Event()

    def work(item: int) -> None:
        begun.set()
        assert go.wait(WAIT_S)

    worker = Worker("test", work, room=2)
    assert worker.put(0)
    assert begun.wait(WAIT_S)
    assert worker.put(1) and worker.put(2)
    assert not worker.put(3, wait=False)
    waiting = threading.Thread(target=worker.put, args=(3,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive(), "a put that waits does so until there is room"
    go.set()
    waiting.join(WAIT_S)
    assert not waiting.is_alive()
    worker.finish()


def test_the_first_error_ends_it_and_is_raised() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        done.append(item)
        if item == 3:
            raise LookupError("three")

    worker = Worker("test", work)
    with pytest.raises(LookupError, match="three"):
        for item in range(100):
            worker.put(item)
    with pytest.raises(LookupError, match="three"):
        worker.finish()
    assert done == [0, 1, 2, 3]


def test_abandoned_items_are_forgotten() -> None:
    begun, go, done = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        begun.set()
        assert go.wait(WAIT_S)
        done.append(item)

    worker = Worker("test", work)
    for item in range(3):
        worker.put(item)
        assert begun.wait(WAIT_S)
    threading.Timer(0.05, go.set).start()
    worker.abandon()
    assert done == [0]
