"""Streams from real servers that end, stall, send garbage, change size, refuse, and come back."""

from __future__ import annotations

import functools
import itertools
import re
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa.errors import InputError, SourceError
from edgefsa.segment import SourceOptions, open_source
from edgefsa.segment.sources import Patience, SourceFrame, StreamSource
from tests.servers.bars import number_of
from tests.servers.mjpeg import FAULTS_AT_ONCE, FAULTS_LATER, SIZE_HW, SMALL_HW, MjpegServer, refused_port
from tests.servers.rtsp import RtspServer
from tests.unit.segment.sources.test_files import place_of_square

QUICK = Patience(open_s=20.0, silent_s=20.0, retry_s=0.05, longest_retry_s=0.1)
IMPATIENT = replace(QUICK, silent_s=1.0)


def watched(address: str, patience: Patience = QUICK) -> tuple[StreamSource, list[str]]:
    """Open a source, and list what it says as it happens: notes, and "reconnect" once it is back."""
    source = StreamSource(address, patience)
    said: list[str] = []
    source.on_note = said.append
    source.on_reconnect = lambda: said.append("reconnect")
    return source, said


def until(source: StreamSource, done: Any, limit_s: float = 60.0) -> list[SourceFrame]:
    """Take frames until `done()` says so, and fail where that takes too long."""
    frames, begun = [], time.monotonic()
    for frame in source:
        frames.append(frame)
        if done():
            return frames
        assert time.monotonic() - begun < limit_s, f"after {len(frames)} frames, notes: {source.notes}"
    raise AssertionError(f"the source ended: {source.notes}")


def numbers(frames: list[SourceFrame]) -> list[int]:
    """Read the frames' numbers, each of which must be whole: no frame is made up."""
    read = [number_of(frame.frame) for frame in frames]
    assert None not in read
    return [number for number in read if number is not None]


def test_a_stream_of_pictures_is_live() -> None:
    with MjpegServer() as server, open_source(server.address) as source:
        frames = list(itertools.islice(source, 20))
        now_ns = time.perf_counter_ns()
    assert (source.live, source.total, source.name) == (True, None, "127.0.0.1")
    read = numbers(frames)
    assert read == sorted(set(read))
    assert [frame.index for frame in frames] == list(range(20))
    assert frames[3].name == "127.0.0.1_000003"
    times = [frame.time_s for frame in frames]
    assert times[0] == 0.0
    assert times == sorted(times)
    assert 0 <= now_ns - frames[-1].captured_ns < 5e9
    assert {frame.device_time_s for frame in frames} == {None}, "such streams have no clock of their own"


LOST = {
    "end": "the connection broke off",
    "cut": "the connection broke off",
    "stall": "(gave no frame|nothing came) for 1 s",
    "garbage": "what it sends is no video",
}


@pytest.mark.parametrize("fault", sorted(LOST))
def test_a_stream_that_is_lost_is_said_and_comes_back(fault: str) -> None:
    with MjpegServer([fault]) as server:
        source, said = watched(server.address, IMPATIENT if fault == "stall" else QUICK)
        with source:
            frames = until(source, lambda: "reconnect" in said)
            frames += until(source, lambda: True)
    undecoded = [note for note in said if "decoded" in note]
    assert bool(undecoded) == (fault == "cut"), "the half of a picture"
    said = [note for note in said if note not in undecoded]
    lost = rf"{server.address} is lost \({LOST[fault]}\); it is opened again as soon as that works"
    assert re.fullmatch(lost, said[0])
    assert said[1].startswith(f"{server.address} is back after ")
    assert said[2:] == ["reconnect"]
    read = numbers(frames)
    assert read == sorted(set(read)), "none twice, and none of before once it is back"
    assert server.seen == [fault, "none"]


def test_a_change_of_size_is_taken_and_said() -> None:
    with MjpegServer(["resize"]) as server:
        source, said = watched(server.address)
        with source:
            frames = until(source, lambda: said)
    assert said == [f"{server.address} changed from 160x96 to 80x48"]
    assert {frame.frame.shape[:2] for frame in frames} == {SIZE_HW, SMALL_HW}
    numbers(frames)


def test_damaged_pictures_are_left_out_and_counted() -> None:
    with MjpegServer(["damaged"], good=5) as server:
        source, said = watched(server.address)
        with source:
            read = []
            for frame in source:
                read.append(number_of(frame.frame))
                if len(read) == 30:
                    source.interrupt()
    assert set(read) & set(range(5, 10)) == set(), "the damaged ones"
    assert None not in read
    assert read == sorted(set(read))
    assert said == [
        f"{server.address}: packets that cannot be decoded are left out",
        f"{server.address}: packets of the last connection that could not be decoded: 5",
    ]


def test_reasons_are_said_again_only_where_they_change() -> None:
    with MjpegServer(["end", "not found", "not found", "hang up", "refuse"]) as server:
        source, said = watched(server.address)
        with source:
            until(source, lambda: "reconnect" in said)
    still = [note.partition(" still lost: ")[2] for note in said if "still lost" in note]
    assert still[0] == "cannot be opened: server returned 404 not found"
    assert "cannot be opened: connection refused" in still
    assert len(still) == len(set(still)) == 3
    assert said[-1] == "reconnect"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refuse", "connection refused"),
        ("silent", "nothing came for 1 s"),
        ("noise", "nothing came for 1 s"),
        ("not found", "server returned 404 not found"),
        ("hang up", ""),
    ],
)
def test_a_first_connection_that_fails_is_an_error_at_once(fault: str, reason: str) -> None:
    begun = time.monotonic()
    with MjpegServer([fault], refuse_s=20.0) as server:
        while fault == "refuse" and not server.seen:
            time.sleep(0.01)
        with pytest.raises(SourceError, match=f"mjpg cannot be opened: {reason}.*; check the address"):
            StreamSource(server.address, Patience(open_s=1.0, silent_s=1.0))
    assert time.monotonic() - begun < 20


def test_every_fault_has_a_test() -> None:
    assert {*LOST, "resize", "damaged"} == set(FAULTS_LATER)
    assert {"refuse", "silent", "noise", "not found", "hang up"} == set(FAULTS_AT_ONCE)


def test_credentials_are_nowhere_to_be_read() -> None:
    secret = "hunter2"
    with MjpegServer(["none", "end", "none", "not found", "none"], user=f"root:{secret}") as server:
        address = server.address.replace("http://", f"http://root:{secret}@") + f"?pwd={secret}"
        source, said = watched(address)
        with source:
            frames = until(source, lambda: "reconnect" in said)
        assert secret.encode() in server.requests[-1], "what is not shown is sent all the same"
        with pytest.raises(SourceError, match="401 unauthorized"):
            StreamSource(server.address, QUICK)
    shown = [*said, *source.notes, source.name, source.label, *(frame.name for frame in frames)]
    assert all(secret not in text for text in shown)
    assert all("root" not in text for text in shown)
    for wrong in (address, f"rtsp://root:{secret}@127.0.0.1:{refused_port()}/s"):
        with pytest.raises(SourceError) as raised:
            StreamSource(wrong, QUICK)
        error: BaseException | None = raised.value
        while error is not None:
            assert secret not in repr(error)
            error = error.__cause__ or error.__context__


def test_a_wait_is_ended_by_an_interrupt() -> None:
    with MjpegServer(["stall"]) as server:
        source, _ = watched(server.address, Patience(silent_s=100.0))
        with source:
            threading.Timer(0.5, source.interrupt).start()
            begun = time.monotonic()
            numbers(list(source))
            assert time.monotonic() - begun < 20


def test_an_interrupt_ends_the_tries() -> None:
    with MjpegServer(["end"]) as server:
        source, said = watched(server.address, Patience(retry_s=100.0, longest_retry_s=100.0))
        with source:
            threading.Timer(0.5, source.interrupt).start()
            begun = time.monotonic()
            list(source)
            assert time.monotonic() - begun < 20
    assert "is lost" in said[0]


def test_notes_are_bounded() -> None:
    with MjpegServer(itertools.cycle(["end"]), good=3, fps=500.0) as server:
        source, said = watched(server.address, Patience(retry_s=1e-3, longest_retry_s=1e-3))
        with source:
            until(source, lambda: len(said) > 310)
    assert len(source.notes) == 100


def test_waits_double_up_to_a_bound_and_differ() -> None:
    patience = Patience(retry_s=1.0, longest_retry_s=10.0)
    for number, longest in enumerate((1, 2, 4, 8, 10, 10)):
        waits = [patience.before_try(number) for _ in range(100)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert patience.before_try(10_000) <= 10


def test_options_of_files_and_cameras_are_refused() -> None:
    with MjpegServer() as server:
        for options, flag in (
            (SourceOptions(rate=30.0), "--rate"),
            (SourceOptions(loop=True), "--loop"),
            (SourceOptions(camera_size_hw=(720, 1280)), "--camera-size"),
            (SourceOptions(bits=12), "--bits"),
        ):
            with pytest.raises(InputError, match=f"{flag} means nothing for {server.address}"):
                open_source(server.address, options)


@pytest.fixture
def folder_address(tmp_path: Path) -> Iterator[str]:
    """The address of a web server that serves `tmp_path`."""
    handler = functools.partial(SilentHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(20)


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_video_file_behind_http_is_played_as_a_file(folder_address: str, make_video: Any, tmp_path: Path) -> None:
    shutil.copy(make_video("a.mkv", "mp4v"), tmp_path / "street.mkv")
    address = folder_address.replace("//", "//root:hunter2@") + "/street.mkv"
    with open_source(address, SourceOptions(loop=True)) as source:
        frames = list(itertools.islice(source, 30))
    assert (source.live, source.fps, source.name) == (False, 25.0, "127.0.0.1")
    assert [place_of_square(frame.frame) for frame in frames] == [*range(20), *range(10)]
    cut = (tmp_path / "street.mkv").read_bytes()
    (tmp_path / "street.mkv").write_bytes(cut[: len(cut) // 2])
    with open_source(address) as source:
        assert 1 <= len(list(source)) < 20
    assert source.notes[0].startswith(f"{folder_address.replace('//', '//***@')}/street.mkv is cut short")


def test_what_is_no_video_behind_http_is_named(folder_address: str, tmp_path: Path) -> None:
    (tmp_path / "street.mkv").write_text("no video at all")
    with pytest.raises(SourceError, match=r"street\.mkv cannot be opened: what it sends is no video"):
        open_source(folder_address + "/street.mkv")


@pytest.fixture(scope="module")
def rtsp() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


def test_an_rtsp_stream_loses_no_frame_and_has_its_own_clock(rtsp: RtspServer) -> None:
    source, said = watched(rtsp.address)
    left_out: list[int] = []
    source.on_drop = left_out.append
    with source:
        frames = list(itertools.islice(source, 40))
    read = numbers(frames)
    assert read[-1] - read[0] == len(read) - 1 + sum(left_out)
    assert source.fps == 25.0
    device = [frame.device_time_s for frame in frames]
    assert np.diff([time_s for time_s in device if time_s is not None]) == pytest.approx(np.diff(read) / 25, abs=2e-3)
    assert said == []


def test_a_slow_taker_gets_new_frames_and_never_falls_behind(rtsp: RtspServer) -> None:
    source, _ = watched(rtsp.address)
    ages_s, left_out = [], []
    source.on_drop = left_out.append
    with source:
        for frame in itertools.islice(source, 15):
            ages_s.append((time.perf_counter_ns() - frame.captured_ns) / 1e9)
            assert number_of(frame.frame) is not None
            time.sleep(0.25)
    assert max(ages_s) < 2.0, "3.75 s of waiting have not added up"
    assert sum(left_out) >= 15, "about five of six are left out, and counted"


def test_an_rtsp_server_killed_and_started_again() -> None:
    with RtspServer() as server:
        source, said = watched(server.address)
        with source:
            before = numbers(list(itertools.islice(source, 30)))
            server.kill()
            threading.Timer(0.5, server.start).start()
            after = numbers(until(source, lambda: "reconnect" in said))[-1:]
            after += numbers(list(itertools.islice(source, 20)))
    assert "is lost" in said[0]
    assert before == sorted(set(before))
    assert after == sorted(set(after))
    assert after[0] < before[-1], "the new server counts from the beginning"


def test_an_rtsp_stream_that_changes_its_size() -> None:
    with RtspServer("--resize-after", "60") as server:
        source, said = watched(server.address)
        with source:
            frames = until(source, lambda: said)
            frames += list(itertools.islice(source, 10))
    assert said == [f"{server.address} changed from 160x96 to 80x48"]
    assert [frame.frame.shape[:2] for frame in frames[-10:]] == [SMALL_HW] * 10
    numbers(frames)


def test_an_rtsp_server_that_asks_for_a_password() -> None:
    with RtspServer("--user", "root:hunter2") as server:
        with pytest.raises(SourceError, match="401 unauthorized"):
            StreamSource(server.address, QUICK)
        source, _ = watched(server.address.replace("//", "//root:hunter2@"))
        with source:
            numbers(list(itertools.islice(source, 5)))
    assert source.label == server.address.replace("//", "//***@")


def test_an_rtsp_stream_that_ends_is_opened_again() -> None:
    with RtspServer("--end-after", "60") as server:
        source, said = watched(server.address)
        with source:
            until(source, lambda: "reconnect" in said)
    assert "is lost" in said[0]
