"""From the colours that codecs store (YCbCr of some matrix, range and depth) to BGR, and back.

ITU-R BT.601, BT.709 and BT.2020; ISO/IEC 23091-2 numbers the matrices, ranges and transfers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefsa.media.frames import Frame

BT709, BT601 = 1, 5
LIMITED, FULL = 1, 2
# FFmpeg's SWS_BILINEAR | SWS_FULL_CHR_H_INT | SWS_ACCURATE_RND: without the latter two a colour is off by up to 3.
_EXACT = 0x2 | 0x2000 | 0x40000
# Matrices by their number in a stream, as FFmpeg's scaler numbers them.
_MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: 9, 10: 9}
_HD_ROWS = 720
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


def bgr_from_video(frame: Any) -> Frame:
    """Convert an av.VideoFrame of any pixel format to uint8 [H, W, 3] BGR, with the matrix and range that it names.

    A frame that names no matrix has BT.709's from 720 rows on, else BT.601's; one that names no range has the
    limited one, but grey frames and JPEG's formats the full one.
    """
    if frame.format.is_rgb:
        return np.asarray(frame.reformat(format="bgr24").to_ndarray(), np.uint8)
    matrix = _MATRICES.get(int(frame.colorspace), BT709 if frame.height >= _HD_ROWS else BT601)
    converted = frame.reformat(
        format="bgr24",
        src_colorspace=matrix,
        dst_colorspace=_of_rgb(matrix),
        src_color_range=_range_of(frame),
        dst_color_range=FULL,
        interpolation=_EXACT,
    )
    return np.asarray(converted.to_ndarray(), np.uint8)


def video_from_bgr(frame: Frame, pixel_format: str, matrix: int, colour_range: int) -> Any:
    """Convert uint8 [H, W, 3] BGR to an av.VideoFrame that is marked with its matrix and range."""
    import av

    source = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")
    converted = source.reformat(
        format=pixel_format,
        src_colorspace=_of_rgb(matrix),
        dst_colorspace=matrix,
        src_color_range=FULL,
        dst_color_range=colour_range,
        interpolation=_EXACT,
    )
    converted.colorspace, converted.color_range = matrix, colour_range
    return converted


def hdr_transfer(codec: Any) -> str | None:
    """Return "PQ" or "HLG" for the codec context of a video of high dynamic range, else None."""
    return _HDR_TRANSFERS.get(int(codec.color_trc))


def _of_rgb(matrix: int) -> int:
    """Return the matrix to name for the RGB side, where it means nothing."""
    # PyAV 15 heeds no matrix and no range where those of both sides are equal.
    return BT601 if matrix == BT709 else BT709


def _range_of(frame: Any) -> int:
    named = int(frame.color_range)
    if named in (LIMITED, FULL):
        return named
    return FULL if frame.format.name.startswith(("yuvj", "gray", "ya", "mono")) else LIMITED
