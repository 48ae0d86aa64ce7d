"""Clips encoded by PyAV itself, frame by frame, so that what is read can be held against what went in."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

Plane = npt.NDArray[Any]


def encoder(name: str) -> str:
    """Return the name of an encoder, or skip the test where this FFmpeg has none of that name."""
    if name not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {name}")
    return name


def planar_frame(planes: list[Plane], pixel_format: str) -> Any:
    """Make a frame of planar YCbCr from its planes (uint8 or uint16)."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        row = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        row[:, : values.shape[1]] = values
        plane.update(row.tobytes())
    return frame


def write_clip(
    path: Path,
    frames: list[Any],
    codec: str = "libx264",
    times_s: list[float] | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
    **context: Any,
) -> Path:
    """Encode frames (av.VideoFrame) at their times, 25 a second without; `context` is set on the codec."""
    clock = Fraction(1, 25) if times_s is None else Fraction(1, 90_000)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder(codec), rate=25, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = frames[0].format.name
        stream.codec_context.time_base = clock
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for index, frame in enumerate(frames):
            frame.pts = index if times_s is None else round(times_s[index] / clock)
            frame.time_base = clock
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def grey_frames(levels: list[int], size_hw: tuple[int, int] = (48, 64), pixel_format: str = "yuv420p") -> list[Any]:
    """Make frames of one luma level each (limited range, 8 bits, scaled where the format has more)."""
    wide = "10le" in pixel_format
    kind, scale = (np.uint16, 4) if wide else (np.uint8, 1)
    half = ((size_hw[0] + 1) // 2, (size_hw[1] + 1) // 2)
    return [
        planar_frame(
            [np.full(size_hw, level * scale, kind), *[np.full(half, 128 * scale, kind) for _ in range(2)]],
            pixel_format,
        )
        for level in levels
    ]
