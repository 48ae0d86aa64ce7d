"""Viewers each at their own pace: what they see is whole and new, and one that reads nothing is in nobody's way."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import sys
import threading
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from edgefsa.serve import server, viewers
from edgefsa.serve.encoding import Encoder
from tests.unit.segment.fakes import NAMES, moving_square
from tests.unit.serve.harness import Live, Message, next_frame, serving, wait_until

NOISE = np.random.default_rng(3).integers(0, 255, (480, 640, 3), dtype=np.uint8)


def test_a_viewer_gets_the_frame_and_its_mask(live: Live) -> None:
    before_s = time.time()
    shown = live.feed()
    with live.socket() as viewer:
        hello = json.loads(viewer.recv(timeout=20))
        viewer.send("")
        message = next_frame(viewer)
    assert (hello["type"], hello["source"], hello["live"]) == ("hello", "street", True)
    assert hello["figures"]["frames"] == 1
    assert [engine["name"] for engine in hello["engines"]] == ["first", "second"]
    assert hello["engines"][0]["names"] == list(NAMES)
    assert np.array_equal(message.mask, shown.segmentation.mask)
    assert np.abs(message.jpeg.astype(int) - shown.source.frame).mean() < 4
    assert (message.engine, message.index, message.camera_to_mask_ms) == (0, 0, 7.5)
    assert before_s - 1 < message.captured_s <= time.time()


def test_a_viewer_gets_newer_frames_and_figures_as_they_come(live: Live) -> None:
    with live.feeding(), live.socket() as viewer:
        indices, figures = [], None
        while len(indices) < 10 or figures is None:
            data = viewer.recv(timeout=20)
            viewer.send("")
            if isinstance(data, bytes):
                message = Message.read(data)
                indices.append(message.index)
                assert np.array_equal(message.mask, moving_square(message.index)[..., 0] // 64)
            elif json.loads(data)["type"] == "figures":
                figures = json.loads(data)
    assert indices == sorted(set(indices))
    assert figures["times_ms"]["camera_to_mask"]["median"] == pytest.approx(7.5, rel=0.02)
    assert figures["viewers"] == 1 and figures["frames"] > 0
    assert sum(figures["histograms"]["engine"]) == figures["times_ms"]["engine"]["count"]


def test_a_slow_viewer_skips_to_the_newest_frame(live: Live) -> None:
    live.feed()
    with live.socket() as viewer:
        assert json.loads(viewer.recv(timeout=20))["type"] == "hello"  # not answered: one more message may come
        assert isinstance(viewer.recv(timeout=20), str | bytes)
        for _ in range(20):
            live.feed()
        with pytest.raises(TimeoutError):
            viewer.recv(timeout=0.5)
        viewer.send("")
        viewer.send("")
        while not isinstance(data := viewer.recv(timeout=20), bytes) or Message.read(data).index == 0:
            viewer.send("")
    assert Message.read(data).index == 20


def test_all_viewers_share_one_encoding(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = Encoder.message

    def counted(self: Encoder, shown: object) -> bytes:
        encoded.append(threading.current_thread().name)
        return encode(self, shown)

    monkeypatch.setattr(Encoder, "message", counted)
    for _ in range(5):
        live.feed()
    time.sleep(0.1)
    assert encoded == [], "nobody looks"
    with serving() as shared, contextlib.ExitStack() as stack:
        shared.feed()
        all_of_them = [stack.enter_context(shared.socket()) for _ in range(5)]
        assert {next_frame(viewer).index for viewer in all_of_them} == {0}
    assert len(encoded) == 1 and encoded[0].startswith("edgefsa-serve-encode")


def test_frames_come_no_faster_than_views_are_wanted() -> None:
    with serving(max_fps=10) as live, live.feeding(0.005), live.socket() as viewer:
        next_frame(viewer)
        begin_s = time.monotonic()
        for _ in range(5):
            next_frame(viewer)
        assert time.monotonic() - begin_s > 0.4


def test_the_last_frame_is_shown_though_it_came_too_early() -> None:
    with serving(max_fps=4) as live, live.socket() as viewer:
        live.feed()
        assert next_frame(viewer).index == 0
        last = live.feed()
        assert next_frame(viewer).index == last.source.index


def test_a_snapshot_takes_no_frame_from_viewers() -> None:
    with serving(max_fps=4) as live, live.client() as client, live.socket() as viewer:
        live.feed()
        assert next_frame(viewer).index == 0
        live.feed()
        assert client.get("/snapshot.jpg").status_code == 200
        assert next_frame(viewer).index == 1


def test_there_is_an_end_to_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers.Crowd.__init__, "__defaults__", (2,))
    with serving() as live, live.socket() as one, live.socket() as two, live.client() as client:
        live.feed()
        assert next_frame(one).index == next_frame(two).index == 0
        with live.socket() as third, pytest.raises(ConnectionClosed) as closed:
            third.recv(timeout=20)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        assert client.get("/stream.mjpg").status_code == 503
        live.feed()
        assert next_frame(one).index == next_frame(two).index == 1


def test_a_viewer_that_answers_what_was_not_said_is_shut_out(live: Live) -> None:
    with live.socket() as viewer, pytest.raises(ConnectionClosed) as closed:
        while True:
            viewer.send("")
            viewer.send("")
            viewer.recv(timeout=20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


def test_a_message_that_is_too_long_ends_the_connection(live: Live) -> None:
    with live.socket() as viewer, pytest.raises(ConnectionClosed) as closed:
        viewer.send("x" * 2000)
        while True:
            viewer.recv(timeout=20)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def unread(live: Live, request: bytes) -> socket.socket:
    """Connect and never read: the kernel's buffers fill, and no acknowledgement ever comes."""
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", live.sink.port))
    stalled.sendall(request)
    return stalled


WEBSOCKET = (
    b"GET /api/live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MJPEG = b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("request_bytes", [WEBSOCKET, MJPEG], ids=["websocket", "mjpeg"])
def test_a_client_that_never_reads_costs_nothing_and_is_let_go(
    request_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewers, "SILENCE_S", 1.0)
    monkeypatch.setattr(server, "_UNREAD_TIMEOUT_MS", 1500)
    seen: list[int] = []
    with serving(NOISE.shape[:2], max_fps=1000) as live, live.socket() as other:
        live.feed(NOISE)
        next_frame(other)
        handles = open_handles()
        with unread(live, request_bytes):
            wait_until(lambda: viewers_of(live) == 2)
            grown_kb = -resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            while len(seen) < 200:  # a quarter of a megabyte each: 50 MB, were they kept
                live.feed(np.roll(NOISE, live.fed, axis=1))
                seen.append(next_frame(other).index)
            grown_kb += resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            wait_until(lambda: viewers_of(live) == 1)
            if sys.platform == "linux":  # its connection goes too, and what was buffered for it
                wait_until(lambda: open_handles() <= handles + 1)
    assert seen == sorted(seen), "the other viewer goes on"
    assert grown_kb < 25_000


def viewers_of(live: Live) -> int:
    time.sleep(0.1)  # more often would be too often for the server
    return int(httpx.get(f"{live.url}/api/figures", trust_env=False, timeout=20).json()["viewers"])


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_mjpeg_is_a_stream_of_overlays(live: Live) -> None:
    live.feed()
    pictures = []
    with live.client() as client, live.feeding(), client.stream("GET", "/stream.mjpg") as answer:
        kind = answer.headers["content-type"]
        boundary = kind.partition("boundary=")[2].encode()
        assert kind.startswith("multipart/x-mixed-replace") and boundary
        data = b""
        for chunk in answer.iter_raw():
            data += chunk
            while len(parts := data.split(b"--" + boundary + b"\r\n", 2)) == 3:
                head, _, body = parts[1].partition(b"\r\n\r\n")
                assert b"Content-Type: image/jpeg" in head
                pictures.append(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR))
                data = b"--" + boundary + b"\r\n" + parts[2]
            if len(pictures) >= 4:
                break
    assert {picture.shape for picture in pictures} == {(48, 64, 3)}
    assert len({picture.tobytes() for picture in pictures}) > 1


def test_asking_for_the_streams_headers_alone_ends(live: Live) -> None:
    with live.client() as client:
        answer = client.head("/stream.mjpg")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("multipart/x-mixed-replace")


def test_opencv_reads_the_stream(live: Live) -> None:
    with live.feeding():
        capture = cv2.VideoCapture(f"{live.url}/stream.mjpg")
        assert capture.isOpened()
        frames = [capture.read()[1] for _ in range(3)]
        capture.release()
    assert all(frame.shape == (48, 64, 3) for frame in frames)
