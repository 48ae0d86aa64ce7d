"""Video streams by PyAV: packets as they arrive, frames from them, and what is left out to keep up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av

from edgefsa.errors import SourceError
from edgefsa.media.address import redacted
from edgefsa.media.camera import CapturedFrame
from edgefsa.media.colour import bgr_from_video
from edgefsa.media.network import open_address, reason_of
from edgefsa.media.video import DEFAULT_FPS, rate_of

# A decoder that is behind by more is too slow for the stream: it goes on at the newest key frame.
BACKLOG_S = 0.5
_BACKLOG_PACKETS = 1000
# For so long at most frames are decoded and not converted, which takes longer, because newer ones wait.
_HURRY_S = 0.1
_ARRIVALS_KEPT = 64
# Formats without times of their own: FFmpeg makes some up.
_WITHOUT_TIMES = ("mpjpeg", "mjpeg", "image2pipe", "jpeg_pipe")


@dataclass(frozen=True)
class Arrival:
    """A packet, and when it arrived by `time.perf_counter_ns`."""

    packet: Any
    captured_ns: int


class Stream:
    """A connection to `address`, of which one thread opens it and reads packets; another may decode them.

    `open_s` and `silent_s` are the longest waits in seconds: for the connection, and for each packet. `codec` decodes;
    `fps` is the rate that the stream names, else 25; `duration_s` that of a whole file, None of what goes on. Raises
    SourceError, without the credentials of the address.
    """

    def __init__(self, address: str, open_s: float, silent_s: float) -> None:
        self._label, self._silent_s = redacted(address), silent_s
        self._container = open_address(address, open_s, silent_s, live=True)
        stream = self._container.streams.best("video")
        if stream is None or stream.codec_context is None:
            self._container.close()
            raise SourceError(f"{self._label} has no video that this FFmpeg decodes; check the address")
        self.codec = stream.codec_context
        if self.codec.name == "mjpeg":
            # Else a damaged picture is filled up with grey. Other codecs would take harmless faults for damage.
            self.codec.options = {"err_detect": "explode"}
        # Threads for several frames at once would hold each back for as many.
        self.codec.thread_type = "SLICE"
        fps, known = rate_of(stream)
        self.fps = fps if known else DEFAULT_FPS
        duration = self._container.duration
        self.duration_s = duration / av.time_base if duration and duration > 0 else None
        self.time_base = None if self._container.format.name in _WITHOUT_TIMES else stream.time_base
        self._packets = self._container.demux(stream)

    def read(self) -> Arrival | None:
        """Wait for the next packet; None at the end of the stream, SourceError where it breaks off."""
        try:
            packet = next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            reason = reason_of(error, self._silent_s)
        else:
            # PyAV ends with an empty packet, which would flush the decoder.
            return None if packet is None or packet.size == 0 else Arrival(packet, time.perf_counter_ns())
        raise SourceError(f"{self._label}: {reason}")

    def close(self) -> None:
        """Close the connection; frames may still be decoded."""
        self._container.close()


class Backlog:
    """Takes out of a queue of arrivals what a decoder has no time for; `dropped` counts the packets.

    Packets that others need cannot be left out one by one: what is decoded after a gap would be grey or smeared. So
    everything before the newest key frame goes, or, where none waits, everything until the next one.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._needs_key = False

    def __call__(self, arrivals: deque[Arrival]) -> None:
        """Look at a queue after an arrival was added to it."""
        newest = arrivals[-1]
        if self._needs_key and not newest.packet.is_keyframe:
            self._drop(arrivals, len(arrivals))
            return
        self._needs_key = False
        behind_s = (newest.captured_ns - arrivals[0].captured_ns) / 1e9
        if behind_s <= BACKLOG_S and len(arrivals) <= _BACKLOG_PACKETS:
            return
        keys = [place for place, arrival in enumerate(arrivals) if arrival.packet.is_keyframe]
        self._needs_key = not keys
        self._drop(arrivals, keys[-1] if keys else len(arrivals))

    def _drop(self, arrivals: deque[Arrival], count: int) -> None:
        self.dropped += count
        for _ in range(count):
            arrivals.popleft()


class StreamDecoder:
    """Decodes the packets of one connection; `errors` counts those that cannot be, `unconverted` the frames left out.

    A damaged frame is no frame, and neither is what would be made from it: the next key frame goes on.
    """

    def __init__(self, stream: Stream) -> None:
        self._codec, self._time_base = stream.codec, stream.time_base
        self._arrivals: dict[int | None, int] = {}
        self._asked_s = 0.0
        self._needs_key = False
        self.errors = self.unconverted = 0

    def decode(self, arrival: Arrival, *, hurried: bool) -> Iterator[CapturedFrame]:
        """Yield the frames that a packet completes; those that others wait behind (`hurried`) only now and then."""
        self._arrivals[arrival.packet.pts] = arrival.captured_ns
        while len(self._arrivals) > _ARRIVALS_KEPT:
            self._arrivals.pop(next(iter(self._arrivals)))
        for frame in self._decoded(arrival.packet):
            if hurried and time.monotonic() - self._asked_s < _HURRY_S:
                self.unconverted += 1
                continue
            captured_ns = self._arrivals.get(frame.pts, arrival.captured_ns)
            timed = self._time_base is not None and frame.pts is not None
            time_s = float(frame.pts * self._time_base) if timed else None
            yield CapturedFrame(bgr_from_video(frame), captured_ns, time_s)
            self._asked_s = time.monotonic()

    def _decoded(self, packet: Any) -> list[Any]:
        if self._needs_key and not packet.is_keyframe:
            return []
        try:
            frames: list[Any] = self._codec.decode(packet)
        except (av.error.FFmpegError, OSError):
            frames = []
            self._needs_key = True
        else:
            self._needs_key = any(frame.is_corrupt for frame in frames)
        self.errors += self._needs_key
        return [] if self._needs_key else frames
