"""A network camera that misbehaves as it is told: MJPEG over HTTP, of numbered frames."""

from __future__ import annotations

import base64
import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from tests.servers.bars import BITS

SIZE_HW, SMALL_HW = (96, 160), (48, 80)
_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
_LOGIN = b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="street"\r\n\r\n'
# What a connection does after its good frames, and instead of any.
FAULTS_LATER = ("end", "cut", "stall", "garbage", "damaged", "resize")
FAULTS_AT_ONCE = ("refuse", "silent", "noise", "not found", "hang up")


def bars_jpeg(number: int, size_hw: tuple[int, int]) -> bytes:
    """Encode a frame that says its number; see tests.servers.bars."""
    bits = [number >> (BITS - 1 - x * BITS // size_hw[1]) & 1 for x in range(size_hw[1])]
    frame = np.broadcast_to(np.uint8(bits)[None, :, None] * 255, (*size_hw, 3))
    return cv2.imencode(".jpg", np.ascontiguousarray(frame), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


class MjpegServer:
    """Serves frames on 127.0.0.1, by `with`, at `fps`; the next connection does the next of `faults`, then none.

    A connection with a fault of FAULTS_LATER gives `good` frames first; what the fault leaves of it ends after `lives`
    frames, if given. `refuse` closes the port for `refuse_s` seconds, once the connections before are over. Numbers go
    on from one connection to the next. Only `user` ("name:password") is let in, if given; a connection that is not has
    had its fault. `seen` lists what was done, `requests` what was asked.
    """

    def __init__(
        self,
        faults: Iterable[str] = (),
        *,
        fps: float = 50.0,
        good: int = 10,
        lives: int | None = None,
        refuse_s: float = 0.5,
        user: str | None = None,
    ) -> None:
        self._faults: Iterator[str] = itertools.chain(faults, itertools.repeat("none"))
        self._fps, self._good, self._lives, self._refuse_s = fps, good, lives, refuse_s
        self._open: list[threading.Thread] = []
        self._login = None if user is None else b"Authorization: Basic " + base64.b64encode(user.encode())
        self._numbers = itertools.count()
        self._closed = threading.Event()
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}/street.mjpg"
        self.requests: list[bytes] = []
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> MjpegServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(10)
        self._listener.close()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        listener.settimeout(0.05)
        return listener

    def _accept(self) -> None:
        fault = next(self._faults)
        while not self._closed.is_set():
            if fault == "refuse":
                self._wait_for_the_last()
                self.seen.append(fault)
                self._listener.close()
                self._closed.wait(self._refuse_s)
                self._listener = self._listen(self.port)
                fault = next(self._faults)
                continue
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self.seen.append(fault)
                self._open = [thread for thread in self._open if thread.is_alive()]
                self._open.append(threading.Thread(target=self._serve, args=(connection, fault), daemon=True))
                self._open[-1].start()
                fault = next(self._faults)

    def _wait_for_the_last(self) -> None:
        while any(thread.is_alive() for thread in self._open) and not self._closed.wait(0.01):
            pass

    def _serve(self, connection: socket.socket, fault: str) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            if fault == "hang up":
                return
            if fault == "silent":
                self._wait_for_leave(connection)
                return
            if fault == "noise":
                self._send_noise(connection)
                return
            self.requests.append(connection.recv(65536))
            if self._login is not None and self._login not in self.requests[-1]:
                connection.sendall(_LOGIN)
                return
            if fault == "not found":
                connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")
                return
            connection.sendall(_HEAD)
            self._stream(connection, fault)

    def _stream(self, connection: socket.socket, fault: str) -> None:
        begun_s = time.monotonic()
        for count in itertools.count():
            if self._closed.wait(max(0.0, begun_s + count / self._fps - time.monotonic())):
                return
            late = count >= self._good
            if fault != "none" and self._lives is not None and count >= self._lives:
                return
            jpeg = bars_jpeg(next(self._numbers), SMALL_HW if late and fault == "resize" else SIZE_HW)
            if late and fault == "end":
                connection.sendall(b"--frame--\r\n")
                return
            if late and fault == "stall":
                self._wait_for_leave(connection)
                return
            if late and fault == "garbage":
                self._send_noise(connection)
                return
            if fault == "damaged" and self._good <= count < 2 * self._good:
                jpeg = jpeg[:2] + random.Random(count).randbytes(len(jpeg) - 2)
            part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)
            if late and fault == "cut":
                connection.sendall(part[: len(part) // 2])
                return
            connection.sendall(part)

    def _send_noise(self, connection: socket.socket) -> None:
        noise = random.Random(7)
        while not self._closed.wait(0.01):
            connection.sendall(noise.randbytes(2000))

    def _wait_for_leave(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    return


def refused_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
