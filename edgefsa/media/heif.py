"""HEIC and AVIF pictures by FFmpeg, which decodes their parts; how the parts belong together is read here.

A HEIF file (ISO/IEC 23008-12) holds items. The primary one is a coded picture, or a grid whose tiles are others (what
phones write); properties of it say how it is turned. Boxes: ISO/IEC 14496-12.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from edgefsa.errors import SourceError
from edgefsa.media.colour import bgr_from_video
from edgefsa.media.frames import Frame
from edgefsa.media.orientation import upright

_BRANDS = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1"), "heic")
_PROBE = np.arange(6).reshape(2, 3)


def heif_brand(data: bytes) -> str | None:
    """Return "avif" or "heic" for the first bytes of such a picture, else None."""
    return _BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None


def read_heif(path: str | Path, data: bytes) -> tuple[Frame, int]:
    """Decode the primary picture, uint8 [H, W, 3] BGR as it is stored, and its orientation as EXIF counts (1 to 8).

    Raises SourceError where the file is damaged, cut short, or made of parts in a way that is not read here.
    """
    try:
        items = _items(data)
        frame = _primary(items, data)
    except (av.error.FFmpegError, OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SourceError(f"{path} is damaged or cut short ({reason}); copy or export it again") from error
    return frame, _orientation(items.transforms)


@dataclass
class _Items:
    """The primary item of a file: the items of its tiles, their grid, and the turns of the whole."""

    primary: int = 0
    types: dict[int, bytes] = field(default_factory=dict)
    tiles: dict[int, list[int]] = field(default_factory=dict)
    payloads: dict[int, bytes] = field(default_factory=dict)
    transforms: list[tuple[bytes, int]] = field(default_factory=list)


class _Bytes:
    """Unsigned big-endian numbers in turn."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        if self._place + size > len(self._data):
            raise ValueError("its index ends early")
        self._place += size
        return self._data[self._place - size : self._place]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and the content of each box."""
    place = 0
    while place + 8 <= len(data):
        size, kind, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        size = len(data) - place if size == 0 else size
        if size < head:
            raise ValueError("its index is broken")
        yield kind, data[place + head : place + size]
        place += size


def _items(data: bytes) -> _Items:
    items = _Items()
    meta = dict(_boxes(next(content for kind, content in _boxes(data) if kind == b"meta")[4:]))
    items.primary = int.from_bytes(meta[b"pitm"][4:], "big")
    for _, entry in _boxes(meta[b"iinf"][6 if meta[b"iinf"][0] == 0 else 8 :]):
        size = 2 if entry[0] < 3 else 4
        items.types[int.from_bytes(entry[4 : 4 + size], "big")] = entry[6 + size : 10 + size]
    references = meta.get(b"iref", bytes(4))
    size = 2 if references[0] == 0 else 4
    for kind, content in _boxes(references[4:]):
        reference = _Bytes(content)
        source, count = reference.number(size), reference.number(2)
        if kind == b"dimg":
            items.tiles[source] = [reference.number(size) for _ in range(count)]
    items.payloads = dict(_payloads(meta, data))
    items.transforms = list(_transforms(meta, items.primary))
    return items


def _payloads(meta: dict[bytes, bytes], data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each item's own bytes (`iloc`), from the file or from `idat`."""
    table = _Bytes(meta[b"iloc"])
    version, _ = table.number(1), table.take(3)
    sizes, more = table.number(1), table.number(1)
    wide = 4 if version == 2 else 2
    for _ in range(table.number(wide)):
        item = table.number(wide)
        inside = table.number(2) & 15 if version else 0
        table.take(2)
        base = table.number(more >> 4)
        parts = []
        for _ in range(table.number(2)):
            if version:
                table.take(more & 15)
            start, length = base + table.number(sizes >> 4), table.number(sizes & 15)
            parts.append((meta[b"idat"] if inside == 1 else data)[start : start + length])
        yield item, b"".join(parts)


def _transforms(meta: dict[bytes, bytes], primary: int) -> Iterator[tuple[bytes, int]]:
    """Yield the turns (`irot`) and mirrorings (`imir`) of the primary item in their order."""
    properties = dict(_boxes(meta[b"iprp"]))
    listed = list(_boxes(properties[b"ipco"]))
    table = _Bytes(properties[b"ipma"])
    version, flags = table.number(1), table.number(3)
    for _ in range(table.number(4)):
        item = table.number(4 if version else 2)
        for _ in range(table.number(1)):
            index = table.number(2) & 0x7FFF if flags & 1 else table.number(1) & 0x7F
            if item == primary and index and listed[index - 1][0] in (b"irot", b"imir"):
                kind, content = listed[index - 1]
                yield kind, content[0]


def _orientation(transforms: list[tuple[bytes, int]]) -> int:
    """Return the EXIF orientation that does what `transforms` do one after the other."""
    turned = _PROBE
    for kind, value in transforms:
        # A turn counts quarters counterclockwise; a mirroring is of top and bottom, or of left and right.
        turned = np.rot90(turned, value & 3) if kind == b"irot" else np.flip(turned, value & 1)
    return next(each for each in range(1, 9) if np.array_equal(upright(_PROBE, each), turned))


def _primary(items: _Items, data: bytes) -> Frame:
    if items.types[items.primary] != b"grid":
        return _decoded(data, [items.primary])[0]
    grid = _Bytes(items.payloads[items.primary])
    size = 4 if grid.number(2) & 1 else 2
    rows, columns = grid.number(1) + 1, grid.number(1) + 1
    width, height = grid.number(size), grid.number(size)
    tiles = _decoded(data, items.tiles[items.primary])
    lines: list[npt.NDArray[np.uint8]] = [np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)]
    whole = np.vstack(lines)
    if whole.shape[0] < height or whole.shape[1] < width:
        raise ValueError(f"its tiles make {whole.shape[0]}x{whole.shape[1]} of {height}x{width} pixels")
    return np.ascontiguousarray(whole[:height, :width])


def _decoded(data: bytes, wanted: list[int]) -> list[Frame]:
    """Decode the coded pictures of some items, in their order; FFmpeg gives each item a stream of its number."""
    found: dict[int, Frame] = {}
    with av.open(io.BytesIO(data)) as container:
        streams = [stream for stream in container.streams.video if stream.id in wanted]
        for packet in container.demux(streams):
            for frame in packet.decode():
                found.setdefault(packet.stream.id, bgr_from_video(frame))
    return [found[item] for item in wanted]
