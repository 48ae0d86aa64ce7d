"""Picture files: frames and labels, read and written.

PNG chunks and colour types: the PNG specification (W3C), sections 5 and 11.2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import atomic_file
from edgefsa.errors import InputError, SourceError
from edgefsa.media.frames import Frame, Mask
from edgefsa.media.quiet import quiet_opencv

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_COLOUR, _PALETTE_COLOUR = 0, 3


def read_image(path: str | Path) -> Frame:
    """Read an image file as uint8 [H, W, 3] BGR, turned upright by its EXIF orientation.

    Grey gives three equal channels, 16 bits their upper 8, and alpha is left out. Raises SourceError where the
    file is missing, empty, truncated, or no image.
    """
    image = _decode(_read_bytes(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SourceError(f"{path} is not an image that can be decoded; give a JPEG, PNG, BMP, WebP or TIFF file")
    return _uint8(image)


def read_label(path: str | Path) -> Mask:
    """Read a PNG of class indices, grey or with a palette, as uint8 [H, W] of the stored indices.

    Raises SourceError where the file is missing, no image, or holds colours instead of indices.
    """
    data = _read_bytes(path)
    steps_per_index = 1
    if data[:8] == _PNG_SIGNATURE:
        data, steps_per_index = _as_grey_png(data)
    label = _decode(data, cv2.IMREAD_UNCHANGED)
    if label is None:
        raise SourceError(f"{path} is not an image that can be decoded; a label is an 8-bit PNG of class indices")
    if label.ndim != 2 or label.dtype != np.uint8:
        kind = f"{label.dtype} {list(label.shape)}"
        raise SourceError(f"{path} holds {kind}; a label is an 8-bit single-channel PNG of class indices")
    return label if steps_per_index == 1 else label // np.uint8(steps_per_index)


def write_image(path: str | Path, image: Frame | Mask) -> Path:
    """Write BGR uint8 [H, W, 3] (or grey [H, W]) whole or not at all; the suffix picks the format."""
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path.name}: cannot write that format; use one of {', '.join(IMAGE_SUFFIXES)}")
    data = _encode(path.suffix.lower(), image)
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return path


def write_label(path: str | Path, mask: Mask, palette_rgb: Sequence[tuple[int, int, int]]) -> Path:
    """Write class indices uint8 [H, W] as an indexed PNG, whole or not at all (see `indexed_png`)."""
    data = indexed_png(mask, palette_rgb)
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return Path(path)


def indexed_png(mask: Mask, palette_rgb: Sequence[tuple[int, int, int]]) -> bytes:
    """Encode class indices uint8 [H, W] as an 8-bit palette PNG: viewers show colours, the pixels stay indices.

    Indices beyond the palette (an ignored class, say) are shown black.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise InputError(f"a mask is uint8 [H, W], not {mask.dtype} {list(mask.shape)}; give class indices")
    if not 0 < len(palette_rgb) <= 256:
        raise InputError(f"a palette has 1 to 256 colours, not {len(palette_rgb)}; give one colour for each class")
    colours = np.zeros((max(len(palette_rgb), int(mask.max(initial=0)) + 1), 3), np.uint8)
    colours[: len(palette_rgb)] = palette_rgb
    # An 8-bit grey PNG and an 8-bit palette PNG hold the same scan lines: only the colour type and PLTE differ.
    grey = _encode(".png", mask)
    kind, header = next(_png_chunks(grey))
    recoloured = _png_chunk(kind, header[:9] + bytes([_PALETTE_COLOUR]) + header[10:])
    return grey[:8] + recoloured + _png_chunk(b"PLTE", colours.tobytes()) + grey[8 + 12 + len(header) :]


def _as_grey_png(data: bytes) -> tuple[bytes, int]:
    """Relabel a palette PNG as a grey one, so that a decoder gives its indices and not its colours.

    Returns the data and how much grey one index makes: a decoder stretches 1, 2 or 4 bits to 0..255.
    """
    chunks = _png_chunks(data)
    kind, header = next(chunks, (b"", b""))
    indexed = kind == b"IHDR" and len(header) == 13 and header[9] in (_GREY_COLOUR, _PALETTE_COLOUR)
    if not indexed or header[8] not in (1, 2, 4, 8):
        return data, 1
    parts = [_PNG_SIGNATURE, _png_chunk(kind, header[:9] + bytes([_GREY_COLOUR]) + header[10:])]
    parts += [_png_chunk(kind, body) for kind, body in chunks if kind in (b"IDAT", b"IEND")]
    return b"".join(parts), 255 // ((1 << header[8]) - 1)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give (type, body) of each whole chunk; a damaged one ends the list."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if data[position + 8 + length : position + 12 + length] != _png_crc(kind, body):
            return
        yield kind, body
        position += 12 + length


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + _png_crc(kind, body)


def _png_crc(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(kind + body))


def _decode(data: bytes, flags: int) -> npt.NDArray[Any] | None:
    if not data or (data[:8] == _PNG_SIGNATURE and not _is_whole_png(data)):
        return None
    try:
        with quiet_opencv():
            image: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # larger than OpenCV allows, or a damaged header
        return None
    return image


def _is_whole_png(data: bytes) -> bool:
    # libpng prints of damage to standard error past OpenCV's log, so it must not get to see any.
    return any(kind == b"IEND" for kind, _ in _png_chunks(data))


def _encode(suffix: str, image: npt.NDArray[np.uint8]) -> bytes:
    try:
        done, encoded = cv2.imencode(suffix, image)
    except cv2.error:
        done = False
    if not done:
        raise InputError(f"cannot encode an image of shape {list(image.shape)} as {suffix}; give one with pixels")
    return bytes(encoded)


def _uint8(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return image.astype(np.uint8, copy=False)


def _read_bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot read {path}: {reason.lower()}; check the path") from error
