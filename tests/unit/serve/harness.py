"""A live view of a run without an engine, fed by the test, and clients of it."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import httpx
import numpy as np
from websockets.sync.client import ClientConnection, connect

from edgefsa.segment import FrameSource, Run, SegmentedFrame, Segmenter, SourceFrame
from edgefsa.serve import ServeSink
from tests.unit.segment.fakes import FakeSession, moving_square

SIZE_HW = (48, 64)


class LiveSource(FrameSource):
    """What a run wants to know of a camera."""

    live, fps = True, 30.0

    def __iter__(self) -> Iterator[SourceFrame]:
        yield from ()


class Live:
    """A sink that serves, its run, and frames by `feed`."""

    def __init__(self, sink: ServeSink, size_hw: tuple[int, int] = SIZE_HW) -> None:
        self.sink, self.size_hw = sink, size_hw
        self.sessions = {name: FakeSession(size_hw) for name in ("first", "second")}
        self.segmenters = {name: Segmenter(session) for name, session in self.sessions.items()}
        self.notes: list[str] = []
        self.run = Run(LiveSource("street"), self.segmenters, on_note=self.notes.append)
        self.fed = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.sink.port}"

    def feed(self, frame: np.ndarray | None = None) -> SegmentedFrame:
        """Show a frame: what the pipeline's threads do with one."""
        frame = moving_square(self.fed, self.size_hw) if frame is None else frame
        engine = self.run.engine.name
        segmentation = self.segmenters[engine].segment(frame)
        self.sessions[engine].runs.clear()
        source = SourceFrame(frame, f"f{self.fed}", self.fed, self.fed / 30)
        shown = SegmentedFrame(source, segmentation, engine, 7.5)
        self.run.statistics.count_captured()
        self.run.statistics.add_frame({"engine": 5.0, "camera_to_mask": 7.5})
        if not self.run.paused:
            self.sink.write(shown)
            self.fed += 1
        return shown

    @contextlib.contextmanager
    def feeding(self, interval_s: float = 0.04) -> Iterator[None]:
        """Feed frames in a thread until the block ends."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(interval_s):
                self.feed()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=20, **options)

    def socket(self, **options: Any) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.sink.port}/api/live"
        return connect(url, proxy=None, max_size=None, compression=None, open_timeout=20, **options)


@contextlib.contextmanager
def serving(size_hw: tuple[int, int] = SIZE_HW, **options: Any) -> Iterator[Live]:
    """Serve on a free port until the block ends."""
    with ServeSink(**{"port": 0, **options}) as sink:
        live = Live(sink, size_hw)
        sink.start(live.run)
        yield live


@dataclass(frozen=True)
class Message:
    """What docs/serve.md says of a message with a frame, read by nothing but that."""

    engine: int
    jpeg: np.ndarray
    mask: np.ndarray
    index: int
    camera_to_mask_ms: float
    captured_s: float

    @classmethod
    def read(cls, data: bytes) -> Message:
        version, engine, start = struct.unpack_from("<BBH", data)
        assert version == 1
        width, height, mask_width, mask_height = struct.unpack_from("<4H", data, 4)
        jpeg_bytes, index = struct.unpack_from("<2I", data, 12)
        (latency_ms,), (captured_s,) = struct.unpack_from("<f", data, 20), struct.unpack_from("<d", data, 24)
        jpeg = cv2.imdecode(np.frombuffer(data, np.uint8, jpeg_bytes, start), cv2.IMREAD_COLOR)
        assert jpeg.shape == (height, width, 3)
        indices = zlib.decompress(data[start + jpeg_bytes :])
        mask = np.frombuffer(indices, np.uint8).reshape(mask_height, mask_width)
        return cls(engine, jpeg, mask, index, latency_ms, captured_s)


def next_frame(socket: ClientConnection) -> Message:
    """Receive until a frame comes, answering each message."""
    while True:
        data = socket.recv(timeout=20)
        socket.send("")
        if isinstance(data, bytes):
            return Message.read(data)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait for something that happens in another thread."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it does not happen"
        time.sleep(0.01)
