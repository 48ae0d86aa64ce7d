"""Videos in: every codec, container and colour that FFmpeg knows, with the times that the file gives its frames.

A damaged video is used as far as it goes; `VideoReader.notes` then says what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from edgefsa.errors import SourceError
from edgefsa.media.address import redacted
from edgefsa.media.colour import bgr_from_video, hdr_transfer
from edgefsa.media.frames import Frame
from edgefsa.media.guard import ReadGuard
from edgefsa.media.network import open_address
from edgefsa.media.orientation import orientation_from_matrix, upright

DEFAULT_FPS = 25.0
_PLAUSIBLE_FPS = (0.01, 1000.0)
_NETWORK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class TimedFrame:
    """A frame uint8 [H, W, 3] BGR and its time from the first frame, in seconds."""

    frame: Frame
    time_s: float


class VideoReader:
    """The frames of a video file (a path, or an http(s) address), once through, upright, each with its own time.

    `fps` is the average rate; `total` the number of frames, or an estimate of it, as far as the file says. `close`
    may be called from any thread. Raises SourceError where not one frame can be decoded.
    """

    def __init__(self, path: Path | str) -> None:
        self.label = label = redacted(path) if isinstance(path, str) else str(path)
        self.notes: list[str] = []
        self._facts: Counter[str] = Counter()
        self._container = _open(path)
        self._guard = ReadGuard(self._container.close)
        try:
            self._stream = _video_stream(self._container, label)
            self._decoded = self._decode()
            self._first = self._next()
            if self._first is None:
                raise SourceError(f"{label}: not one frame of its video can be decoded; it is damaged or cut short")
        except BaseException:
            self.close()
            raise
        self.fps, rated = rate_of(self._stream)
        # FFmpeg shortens the duration of a file that is cut short, but not the number of frames.
        self._duration_s = max(_duration_s(self._container, self._stream), self._stream.frames / self.fps)
        self.total = self._stream.frames or round(self._duration_s * self.fps) or None
        transfer = hdr_transfer(self._stream.codec_context)
        if transfer is not None:
            self.notes.append(f"{label} is of high dynamic range ({transfer}); it is shown without tone mapping")
        if not rated:
            self.notes.append(f"{label} does not say its rate; {self.fps:g} frames a second are taken")

    def __iter__(self) -> Iterator[TimedFrame]:
        frame, first_s, previous_s, count = self._first, None, 0.0, 0
        self._first = None
        while frame is not None:
            time_s = count / self.fps if frame.pts is None else float(frame.pts * frame.time_base)
            first_s = time_s if first_s is None else first_s
            time_s -= first_s
            if count and time_s <= previous_s:  # a broken clock: go on at the average rate
                self._facts["frames with a time that goes back"] += 1
                first_s -= previous_s + 1 / self.fps - time_s
                time_s = previous_s + 1 / self.fps
            previous_s = time_s
            yield TimedFrame(self._bgr(frame), time_s)
            count += 1
            frame = self._next()
        self._ended(count, previous_s + 1 / self.fps)

    def close(self) -> None:
        """Release the file, at the end of a read that is under way."""
        self._guard.close()

    def _next(self) -> Any | None:
        with self._guard.reading() as is_open:
            return next(self._decoded, None) if is_open else None

    def _decode(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError):
                self._facts["places where the file cannot be read"] += 1
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._facts["packets that cannot be decoded"] += 1
                continue
            yield from frames

    def _bgr(self, frame: Any) -> Frame:
        if frame.is_corrupt:
            self._facts["damaged frames"] += 1
        matrix = frame.side_data.get("DISPLAYMATRIX")
        turn = 1 if matrix is None else orientation_from_matrix(np.frombuffer(bytes(matrix), np.int32)[:9].tolist())
        return upright(bgr_from_video(frame), turn)

    def _ended(self, count: int, end_s: float) -> None:
        # Durations are rounded, and counted in other ways by other writers: a frame or one in a hundred says nothing.
        if end_s < 0.99 * self._duration_s - 1 / self.fps:
            whole = f"{end_s:.2f} of its {self._duration_s:.2f} s"
            self.notes.append(f"{self.label} is cut short or damaged: {count} frames, {whole}, were read")
        self.notes += [f"{self.label} has {number} {fact}" for fact, number in self._facts.items()]


def _open(path: Path | str) -> Any:
    if isinstance(path, str):
        return open_address(path, _NETWORK_TIMEOUT_S, _NETWORK_TIMEOUT_S, live=False)
    try:
        return av.open(str(path))
    except av.error.FFmpegError as error:
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty (0 bytes); copy the file again") from error
        if _lacks_index(path):
            raise SourceError(
                f"{path} is cut short: it has no index (moov), which recorders write at the end; "
                "end the recording properly, or record to .mkv"
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise SourceError(f"{path} is no video that can be decoded ({reason}); check what the file is") from error


def _lacks_index(path: Path) -> bool:
    """Return whether an MP4 or MOV file lacks its index (ISO/IEC 14496-12, `moov`)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(12)[4:8] != b"ftyp":
            return False
        place = 0
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            if head[4:8] == b"moov":
                return False
            length = int.from_bytes(head[:4], "big")
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            if length < 8:
                break
            place += length
    return True


def _video_stream(container: Any, label: str) -> Any:
    stream = container.streams.best("video")
    if stream is None:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise SourceError(f"{label} has no video in it, only {kinds}")
    stream.thread_type = "AUTO"
    return stream


def rate_of(stream: Any) -> tuple[float, bool]:
    """Return the frames a second, and whether the file says them."""
    # The streams of raw H.264 and HEVC files have their own word for it, if any, in the codec's headers.
    raw = stream.container.format.name in ("h264", "hevc", "m4v", "mpegvideo", "vvc", "obu")
    for rate in (stream.codec_context.framerate,) if raw else (stream.average_rate, stream.guessed_rate):
        if rate and _PLAUSIBLE_FPS[0] <= rate <= _PLAUSIBLE_FPS[1]:
            return float(rate), True
    return DEFAULT_FPS, False


def _duration_s(container: Any, stream: Any) -> float:
    """Return how long the video is by its container, in seconds; 0 where that is not known of the video alone."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska's, as hours:minutes:seconds
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    alone = len(container.streams) == 1 and container.duration
    return container.duration / av.time_base if alone else 0.0
