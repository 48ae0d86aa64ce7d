"""What systemd hears of a run, through a socket as systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgefsa.machine.notify import notify, watchdog_interval_s
from edgefsa.segment.sinks import manager as manager_module
from edgefsa.segment.sinks.manager import ManagerSink
from edgefsa.segment.statistics import Statistics


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The manager's end; its address is in the environment."""
    name = f"@edgefsa-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield end


def messages(end: socket.socket) -> list[str]:
    """All that came, in order."""
    found = []
    while True:
        try:
            found.append(end.recv(4096).decode())
        except BlockingIOError:
            return found


def test_text_arrives_whole(heard: socket.socket) -> None:
    assert notify("READY=1\nSTATUS=eins und zwei: ½")
    assert messages(heard) == ["READY=1\nSTATUS=eins und zwei: ½"]


def test_where_nobody_listens_nothing_fails(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert not notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1234"})


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_a_sign_is_due_twice_as_often_as_it_is_waited_for(environment: dict[str, str], wanted: float | None) -> None:
    assert watchdog_interval_s(environment) == wanted


def test_the_sign_of_life_stops_where_frames_come_in_and_no_mask_comes_out(
    heard: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    now = 0.0
    monkeypatch.setattr(manager_module, "time", SimpleNamespace(monotonic=lambda: now))
    statistics = Statistics()
    run = SimpleNamespace(source_name="front", statistics=statistics, paused=False)

    def after_half_a_minute(captured: int, masks: int) -> list[str]:
        nonlocal now
        now += 30
        statistics.count_captured(captured)
        for _ in range(masks):
            statistics.add_frame({"frame_to_mask": 4.0})
        sink.poll()
        return [text.partition("=")[0] for text in messages(heard)]

    with ManagerSink() as sink:
        sink.start(run)
        assert messages(heard) == ["READY=1\nSTATUS=no mask yet"]
        sink.poll()
        assert messages(heard) == []  # nothing is due
        assert after_half_a_minute(100, 99) == ["WATCHDOG", "STATUS"]
        assert after_half_a_minute(0, 0) == ["WATCHDOG", "STATUS"]  # the source gives nothing: it is opened again
        assert after_half_a_minute(100, 0) == ["STATUS"]  # the engine hangs
        run.paused = True
        assert after_half_a_minute(100, 0) == ["WATCHDOG", "STATUS"]
        run.paused = False
        assert after_half_a_minute(100, 1) == ["WATCHDOG", "STATUS"]
        now += 30
        sink.poll()
        assert messages(heard)[-1].startswith("STATUS=100 masks, ")
    assert messages(heard) == ["STOPPING=1"]
