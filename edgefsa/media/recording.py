"""Videos out: H.264 that browsers and phones play, with the time of each frame kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2

from edgefsa.errors import InputError, OutputError
from edgefsa.media.colour import BT601, BT709, FULL, LIMITED, video_from_bgr
from edgefsa.media.frames import Frame, resize_frame

_CLOCK = Fraction(1, 90_000)


@dataclass(frozen=True)
class _Form:
    """How a container is filled: the first encoder that is there, its pixels and options."""

    container: str
    encoders: tuple[str, ...]
    pixel_format: str = "yuv420p"
    matrix: int = BT709
    colour_range: int = LIMITED
    constant_rate: bool = False
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)


_H264 = ("libx264", "libopenh264")
# Without B-frames the last frame in the file is the last one shown, and an MP4's duration counts it.
_X264 = {"crf": "20", "preset": "veryfast", "bf": "0"}
_INDEX_FIRST = {"movflags": "+faststart"}
_FORMS = {
    ".mp4": _Form("mp4", _H264, options=_X264, container_options=_INDEX_FIRST),
    ".mov": _Form("mov", _H264, options=_X264, container_options=_INDEX_FIRST),
    ".mkv": _Form("matroska", _H264, options=_X264),
    ".webm": _Form("webm", ("libvpx-vp9",), options={"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}),
    # An AVI has one rate: times are rounded to it, and gaps are filled.
    ".avi": _Form(
        "avi",
        ("mjpeg",),
        pixel_format="yuvj420p",
        matrix=BT601,
        colour_range=FULL,
        constant_rate=True,
        options={"qmin": "2", "qmax": "3"},
    ),
}
VIDEO_SUFFIXES = tuple(_FORMS)


class VideoWriter:
    """Writes frames as a video to `path`, whose suffix picks the container; a file that is whole once it is closed.

    The size is that of the first frame, made even by repeating the last row or column (codecs take no odd sizes);
    later frames of another size are resized. `fps` is the nominal rate: a frame lasts until the next one's time, the
    last one 1 / fps. `created`, the time of day of the first frame, becomes part of the metadata. Raises InputError for
    a suffix or a rate that cannot be written, OutputError where no encoder is there or the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, *, created: datetime | None = None) -> None:
        self.path = Path(path)
        self._form = form_of(self.path)
        self._encoder = encoder_for(self.path)
        self._created = created
        self._rate = Fraction(check_fps(fps)).limit_denominator(1001)
        self._clock = 1 / self._rate if self._form.constant_rate else _CLOCK
        self._container: Any = None
        self._stream: Any = None
        self._size_hw = (0, 0)
        self._last = -1

    def write(self, frame: Frame, time_s: float) -> None:
        """Append a frame uint8 [H, W, 3] BGR that is shown from `time_s` on, in seconds from the beginning."""
        try:
            if self._container is None:
                self._open((frame.shape[0], frame.shape[1]))
            form = self._form
            fitted = _even(resize_frame(frame, self._size_hw))
            picture = video_from_bgr(fitted, form.pixel_format, form.matrix, form.colour_range)
            self._last = max(round(time_s / self._clock), self._last + 1)
            picture.pts, picture.time_base = self._last, self._clock
            picture.duration = max(1, round(1 / (self._rate * self._clock)))
            self._container.mux(self._stream.encode(picture))
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot(error) from error

    def close(self) -> None:
        """Write what the encoder still holds, and the index; OutputError where there is no room for it."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            container.mux(self._stream.encode(None))
            container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot(error) from error

    def abandon(self) -> None:
        """Close the file without what is missing."""
        container, self._container = self._container, None
        if container is not None:
            try:
                container.close()
            except (av.error.FFmpegError, OSError):
                return  # the reason that it was abandoned for is on its way

    def _open(self, size_hw: tuple[int, int]) -> None:
        form = self._form
        self._size_hw = size_hw
        self._container = av.open(str(self.path), "w", format=form.container, options=dict(form.container_options))
        if self._created is not None:
            self._container.metadata["creation_time"] = self._created.isoformat()
        stream = self._container.add_stream(self._encoder, rate=self._rate, options=dict(form.options))
        stream.height, stream.width = (side + side % 2 for side in size_hw)
        stream.pix_fmt = form.pixel_format
        context = stream.codec_context
        context.time_base = self._clock
        context.color_range, context.colorspace = form.colour_range, form.matrix
        if form.matrix == BT709:
            context.color_primaries = context.color_trc = BT709
        self._stream = stream

    def _cannot(self, error: OSError) -> OutputError:
        reason = (error.strerror or str(error)).lower()
        return OutputError(f"cannot write {self.path}: {reason}; free space or choose another place with -o")


def form_of(path: Path) -> _Form:
    """Return how a video of this name is written; InputError for a suffix that cannot be."""
    form = _FORMS.get(path.suffix.lower())
    if form is None:
        raise InputError(f"{path.name}: cannot write that video format; use {', '.join(VIDEO_SUFFIXES)}")
    return form


def encoder_for(path: Path) -> str:
    """Return the encoder that a video of this name is written with; OutputError where FFmpeg has none."""
    encoders = form_of(path).encoders
    encoder = next((name for name in encoders if name in av.codecs_available), None)
    if encoder is None:
        raise OutputError(f"cannot write {path}: this FFmpeg encodes none of {', '.join(encoders)}; use .avi")
    return encoder


def check_fps(fps: float) -> float:
    """Return `fps`, or raise InputError where no video can have it."""
    if not 0 < fps < float("inf"):
        raise InputError(f"a video of {fps} frames a second cannot be written; give a rate above 0")
    return fps


def _even(frame: Frame) -> Frame:
    odd_rows, odd_columns = frame.shape[0] % 2, frame.shape[1] % 2
    if not odd_rows and not odd_columns:
        return frame
    padded: Frame = cv2.copyMakeBorder(frame, 0, odd_rows, 0, odd_columns, cv2.BORDER_REPLICATE)
    return padded
