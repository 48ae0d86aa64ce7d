"""What viewers get of a frame: the message that the page paints, pictures for other programs (docs/serve.md)."""

from __future__ import annotations

import struct
import time
import zlib

import cv2
import numpy as np

from edgefsa.media.frames import Frame, Mask, resize_frame, resize_mask
from edgefsa.media.labels import indexed_png
from edgefsa.segment.figures import LiveFigures
from edgefsa.segment.overlay import OverlayStyle
from edgefsa.segment.run import Run, SegmentedFrame

# Version, engine, header's bytes; width and height of the JPEG, of the mask; the JPEG's bytes, the frame's index,
# camera to mask in ms, time of the capture in seconds since 1970. The JPEG follows, then the mask to the end.
HEADER = struct.Struct("<BBHHHHHIIfd")
VERSION = 1
_JPEG_QUALITY = 80


class Encoder:
    """Encodes a run's frames for viewers, none of them wider or higher than `view_size`."""

    def __init__(self, run: Run, view_size: int, style: OverlayStyle) -> None:
        self._engines = {name: (index, engine.size_hw) for index, (name, engine) in enumerate(run.engines.items())}
        self._view_size, self._style = view_size, style
        self._figures = LiveFigures(run) if style.figures else None

    def message(self, shown: SegmentedFrame) -> bytes:
        """Return header, JPEG and mask: bytes of class indices, row by row, compressed with zlib."""
        frame, mask = shown.source.frame, shown.segmentation.mask
        index, engine_hw = self._engines[shown.engine]
        view_hw = fitted(mask.shape, self._view_size)
        mask = resize_mask(mask, mask_size(mask.shape, engine_hw, view_hw))
        jpeg = _jpeg(resize_frame(frame, view_hw))
        age_s = (time.perf_counter_ns() - shown.source.captured_ns) / 1e9
        header = HEADER.pack(
            VERSION,
            index,
            HEADER.size,
            *(view_hw[1], view_hw[0], mask.shape[1], mask.shape[0]),
            len(jpeg),
            shown.source.index % 2**32,
            shown.camera_to_mask_ms,
            time.time() - age_s,
        )
        return b"".join((header, jpeg, _deflated(mask)))

    def frame_jpeg(self, shown: SegmentedFrame) -> bytes:
        """Return the frame as it was segmented, at its own size."""
        return _jpeg(shown.source.frame)

    def overlay_jpeg(self, shown: SegmentedFrame) -> bytes:
        """Return the frame with its mask drawn over it, fitted to the view."""
        rows = self._figures.rows() if self._figures is not None else ()
        overlay = shown.segmentation.overlay(shown.source.frame, self._style, rows)
        return _jpeg(resize_frame(overlay, fitted(overlay.shape[:2], self._view_size)))

    def mask_png(self, shown: SegmentedFrame) -> bytes:
        """Return the mask as an indexed PNG, at the frame's own size."""
        return indexed_png(shown.segmentation.mask, shown.segmentation.palette_rgb)


def fitted(size_hw: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Return a size of the same shape whose longer side is at most `longest`."""
    scale = min(1.0, longest / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def mask_size(frame_hw: tuple[int, ...], engine_hw: tuple[int, int], view_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size that loses nothing of what an engine of this input size says, within that of the view."""
    scale = max(engine_hw[0] / frame_hw[0], engine_hw[1] / frame_hw[1])
    if scale * frame_hw[0] >= view_hw[0]:
        return view_hw
    return round(frame_hw[0] * scale), round(frame_hw[1] * scale)


def _jpeg(frame: Frame) -> bytes:
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return bytes(data)


def _deflated(mask: Mask) -> bytes:
    # Runs of one class are what there is to find: at level 1 that is smaller, and faster, than a PNG (decision 23).
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return packer.compress(np.ascontiguousarray(mask).data) + packer.flush()
