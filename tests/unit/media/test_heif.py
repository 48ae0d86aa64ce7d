"""HEIC and AVIF by FFmpeg: against Pillow's own decoder, and a grid of tiles written box by box."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, features

from edgefsa.errors import SourceError
from edgefsa.media.colour import BT601, FULL, video_from_bgr
from edgefsa.media.heif import read_heif
from edgefsa.media.orientation import upright
from edgefsa.media.pictures import read_picture
from tests.unit.media.clips import encoder

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow writes no AVIF")


def scene(height: int, width: int) -> np.ndarray:
    """Smooth colours, another in each corner, uint8 [H, W, 3] RGB."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, 128 + 0 * rows], -1).astype(np.uint8)


@needs_avif
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_read_as_pillow_reads_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.avif"
    Image.fromarray(scene(48, 80)).save(path, exif=exif, quality=95)
    frame, found = read_heif(path, path.read_bytes())
    assert found == orientation
    pillow = read_picture(path)
    assert np.abs(upright(frame, found).astype(int) - pillow.frame).max() <= 6


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def number(value: int, size: int = 2) -> bytes:
    return value.to_bytes(size, "big")


def hevc_picture(rgb: np.ndarray, pixel_format: str) -> tuple[bytes, bytes]:
    """Encode one picture; returns its decoder configuration (hvcC) and its sample."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        options = {"x265-params": "log-level=none:lossless=1:bframes=0"}
        stream = output.add_stream(encoder("libx265"), rate=1, options=options)
        stream.width, stream.height, stream.pix_fmt = rgb.shape[1], rgb.shape[0], pixel_format
        stream.codec_context.color_range, stream.codec_context.colorspace = 2, 5
        frame = video_from_bgr(rgb[..., ::-1], pixel_format, BT601, FULL)
        frame.pts, frame.time_base = 0, Fraction(1)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    data = file.getvalue()
    with av.open(io.BytesIO(data)) as container:
        sample = next(bytes(packet) for packet in container.demux(video=0) if packet.size)
    place = data.index(b"hvcC")
    size = int.from_bytes(data[place - 4 : place], "big")
    return data[place + 4 : place - 4 + size], sample


def heic_grid(rgb: np.ndarray, tile: int, pixel_format: str, quarters: int = 0) -> bytes:
    """Write an image as phones do: square tiles, the last ones reaching over the edge, and a rotation property."""
    height, width = rgb.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(rgb, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge")
    coded = [
        hevc_picture(padded[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile], pixel_format)
        for y in range(rows)
        for x in range(columns)
    ]
    tiles = range(1, len(coded) + 1)
    grid_item = len(coded) + 1
    grid = bytes([0, 0, rows - 1, columns - 1]) + number(width) + number(height)
    infe = [box(b"infe", b"\x02\x00\x00\x00", number(item), number(0), b"hvc1\x00") for item in tiles]
    infe.append(box(b"infe", b"\x02\x00\x00\x00", number(grid_item), number(0), b"grid\x00"))
    properties = box(
        b"ipco",
        box(b"hvcC", coded[0][0]),
        box(b"ispe", bytes(4), number(tile, 4), number(tile, 4)),
        box(b"ispe", bytes(4), number(width, 4), number(height, 4)),
        box(b"irot", bytes([quarters])),
    )
    uses = [number(item) + bytes([2, 0x81, 2]) for item in tiles] + [number(grid_item) + bytes([2, 3, 0x84])]
    ipma = box(b"ipma", bytes(4), number(len(uses), 4), *uses)
    dimg = box(b"dimg", number(grid_item), number(len(coded)), *map(number, tiles))

    def meta(first_sample: int) -> bytes:
        entries, place = b"", first_sample
        for item, (_, sample) in zip(tiles, coded, strict=True):
            entries += number(item) + number(0) + number(0) + number(1) + number(place, 4) + number(len(sample), 4)
            place += len(sample)
        entries += number(grid_item) + number(1) + number(0) + number(1) + number(0, 4) + number(len(grid), 4)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), number(grid_item)),
            box(b"iloc", b"\x01\x00\x00\x00\x44\x00", number(len(coded) + 1), entries),
            box(b"iinf", bytes(4), number(len(infe)), *infe),
            box(b"iref", bytes(4), dimg),
            box(b"iprp", properties, ipma),
            box(b"idat", grid),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *[sample for _, sample in coded])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_heic_of_tiles_is_put_together_and_turned(tmp_path: Path, pixel_format: str, quarters: int) -> None:
    rgb = scene(100, 150)
    path = tmp_path / "phone.heic"
    path.write_bytes(heic_grid(rgb, 64, pixel_format, quarters))
    picture = read_picture(path)
    wanted = np.rot90(rgb, quarters)
    assert picture.frame.shape == wanted.shape
    assert np.abs(picture.frame[..., ::-1].astype(int) - wanted).max() <= 8
    assert picture.turned is (quarters != 0)
    raw: Any = read_picture(path, orientation="raw").frame
    assert np.abs(raw[..., ::-1].astype(int) - rgb).max() <= 8


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_heic_cut_short_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], share: float) -> None:
    data = heic_grid(scene(100, 150), 64, "yuv420p")
    (tmp_path / "cut.heic").write_bytes(data[: int(share * len(data))])
    with pytest.raises(SourceError, match=r"cut\.heic is damaged or cut short"):
        read_picture(tmp_path / "cut.heic")
    assert capfd.readouterr() == ("", "")
