"""Streams from the network: rtsp://, rtsps://, http://, https://."""

from __future__ import annotations

from collections.abc import Iterator

from edgefsa.media.address import name_of, redacted
from edgefsa.media.camera import CapturedFrame
from edgefsa.media.feed import Feed
from edgefsa.media.stream import Arrival, Backlog, Stream, StreamDecoder
from edgefsa.segment.sources.live import LiveSource, Patience

SCHEMES = ("rtsp", "rtsps", "http", "https")


class StreamSource(LiveSource[Arrival]):
    """A stream by its address. `name` is its host, `label` the address without credentials.

    One thread takes packets off the network as they come, so that the server never waits and nothing drifts; frames
    are decoded in the thread that iterates. `duration_s` is that of a whole file, None of what goes on.
    """

    def __init__(self, address: str, patience: Patience | None = None) -> None:
        self._address = address
        self._size_hw: tuple[int, int] | None = None
        super().__init__(name_of(address), redacted(address), patience)

    def _connect(self) -> Feed[Arrival]:
        self._stream: Stream | None = None
        self._decoder: StreamDecoder | None = None
        self._backlog = Backlog()
        return Feed(self._open, self._backlog)

    def _open(self) -> Stream:
        stream = Stream(self._address, self._patience.open_s, self._patience.silent_s)
        self.fps, self.duration_s = stream.fps, stream.duration_s
        self._stream = stream
        return stream

    def _converted(self, item: Arrival) -> Iterator[CapturedFrame]:
        if self._decoder is None:
            assert self._stream is not None, "packets come from an open stream"
            self._decoder = StreamDecoder(self._stream)
        for captured in self._decoder.decode(item, hurried=self._feed.waiting > 1):
            self._compare_size((captured.frame.shape[0], captured.frame.shape[1]))
            yield captured
        if self._decoder.errors:
            self.note_once(f"{self.label}: packets that cannot be decoded are left out")

    def _left_out(self) -> int:
        return self._backlog.dropped + (0 if self._decoder is None else self._decoder.unconverted)

    def _disconnected(self) -> None:
        errors = 0 if self._decoder is None else self._decoder.errors
        if errors:
            self.note(f"{self.label}: packets of the last connection that could not be decoded: {errors}")

    def _compare_size(self, size_hw: tuple[int, int]) -> None:
        if self._size_hw is not None and size_hw != self._size_hw:
            (height, width), (new_height, new_width) = self._size_hw, size_hw
            self.note(f"{self.label} changed from {width}x{height} to {new_width}x{new_height}")
        self._size_hw = size_hw
