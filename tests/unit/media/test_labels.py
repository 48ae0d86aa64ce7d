"""Labels: class indices as they are stored, whatever the bit depth, palette or filter."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefsa.errors import InputError, SourceError
from edgefsa.media.labels import indexed_png, read_label, read_label_colours, write_label
from edgefsa.media.pictures import read_image
from tests.unit.media.png import chunks_of

PALETTE = [(128, 128, 128), (200, 0, 10), (0, 60, 250), (255, 255, 0)]


def paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    distances = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    return (left, up, corner)[distances.index(min(distances))]


def unfilter(raw: bytes, height: int, width: int) -> np.ndarray:
    """Undo the five PNG filters for one byte a pixel, as the specification's section 9.2 gives them."""
    rows = np.zeros((height + 1, width + 1), int)
    for y in range(1, height + 1):
        line = raw[(y - 1) * (width + 1) : y * (width + 1)]
        for x in range(1, width + 1):
            left, up, corner = rows[y, x - 1], rows[y - 1, x], rows[y - 1, x - 1]
            guess = (0, left, up, (left + up) // 2, paeth(left, up, corner))[line[0]]
            rows[y, x] = (line[x] + guess) % 256
    return rows[1:, 1:].astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def palette_png(mask: np.ndarray, depth: int = 8, filter_type: int = 0, transparent: bool = False) -> bytes:
    """Write a palette PNG by hand: any bit depth, and filter 1 (left difference) or 2 (up) for 8 bits."""
    height, width = mask.shape
    lines = b""
    for y, row in enumerate(mask):
        if filter_type == 1:
            row = np.diff(row, prepend=np.uint8(0))
        elif filter_type == 2 and y:
            row = row - mask[y - 1]
        bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
        lines += bytes([filter_type]) + np.packbits(bits.reshape(-1)).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)
    colours = bytes(value for colour in PALETTE for value in colour)
    parts = [chunk(b"IHDR", header), chunk(b"PLTE", colours), chunk(b"tRNS", b"\x00") if transparent else b""]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def random_mask(size_hw: tuple[int, int], classes: int = 4) -> np.ndarray:
    return np.random.default_rng(7).integers(0, classes, size_hw, dtype=np.uint8)


def test_indexed_png_holds_indices_and_palette() -> None:
    mask = np.kron(random_mask((5, 7)), np.ones((3, 5), np.uint8))
    found = chunks_of(indexed_png(mask, PALETTE))
    width, height, depth, colour_type = struct.unpack(">IIBB", found[b"IHDR"][:10])
    assert (height, width, depth, colour_type) == (15, 35, 8, 3)
    assert found[b"PLTE"].startswith(bytes(value for colour in PALETTE for value in colour))
    assert list(found)[:2] == [b"IHDR", b"PLTE"]
    assert np.array_equal(unfilter(zlib.decompress(found[b"IDAT"]), 15, 35), mask)


def test_indexed_png_shows_its_colours_in_a_viewer() -> None:
    mask = random_mask((31, 17))
    shown = cv2.imdecode(np.frombuffer(indexed_png(mask, PALETTE), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(shown[..., ::-1], np.array(PALETTE, np.uint8)[mask])


def test_indexed_png_shows_ignored_pixels_black(tmp_path: Path) -> None:
    mask = np.array([[0, 255], [3, 4]], np.uint8)
    path = write_label(tmp_path / "m.png", mask, PALETTE)
    shown = read_image(path)[..., ::-1]
    assert shown[0, 1].tolist() == shown[1, 1].tolist() == [0, 0, 0]
    assert shown[1, 0].tolist() == [255, 255, 0]
    assert np.array_equal(read_label(path), mask)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64), np.zeros((0, 4), np.uint8)]
)
def test_indexed_png_refuses_what_is_no_mask(mask: np.ndarray) -> None:
    with pytest.raises(InputError):
        indexed_png(mask, PALETTE)


@pytest.mark.parametrize("colours", [[], [(0, 0, 0)] * 257])
def test_indexed_png_refuses_an_impossible_palette(colours: list[tuple[int, int, int]]) -> None:
    with pytest.raises(InputError, match=str(len(colours))):
        indexed_png(random_mask((2, 2)), colours)


@pytest.mark.parametrize(("depth", "classes"), [(1, 2), (2, 4), (4, 4), (8, 4)])
@pytest.mark.parametrize("transparent", [False, True])
def test_read_label_gives_indices_of_palette_images(
    tmp_path: Path, depth: int, classes: int, transparent: bool
) -> None:
    mask = random_mask((9, 13), classes)
    path = tmp_path / "label.png"
    path.write_bytes(palette_png(mask, depth, transparent=transparent))
    assert np.array_equal(read_label(path), mask)


@pytest.mark.parametrize("filter_type", [1, 2])
def test_read_label_undoes_filters(tmp_path: Path, filter_type: int) -> None:
    mask = random_mask((9, 13))
    path = tmp_path / "label.png"
    path.write_bytes(palette_png(mask, filter_type=filter_type))
    assert np.array_equal(read_label(path), mask)


def test_read_label_gives_grey_values_as_they_are(tmp_path: Path) -> None:
    mask = random_mask((9, 13), 256)
    cv2.imwrite(str(tmp_path / "grey.png"), mask)
    assert np.array_equal(read_label(tmp_path / "grey.png"), mask)


def test_read_label_undoes_the_stretch_of_few_grey_bits(tmp_path: Path) -> None:
    for depth in (1, 2, 4):
        mask = random_mask((9, 13), 1 << depth)
        data = palette_png(mask, depth)
        (tmp_path / "grey.png").write_bytes(as_grey(data))
        assert np.array_equal(read_label(tmp_path / "grey.png"), mask)


def as_grey(png: bytes) -> bytes:
    """The same scan lines under colour type 0 and without a palette."""
    found = chunks_of(png)
    header = found[b"IHDR"][:9] + b"\x00" + found[b"IHDR"][10:]
    return png[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", found[b"IDAT"]) + chunk(b"IEND", b"")


def test_a_16_bit_label_is_read_as_far_as_its_indices_are_classes(tmp_path: Path) -> None:
    mask = random_mask((9, 13))
    cv2.imwrite(str(tmp_path / "wide.png"), mask.astype(np.uint16))
    assert np.array_equal(read_label(tmp_path / "wide.png"), mask)
    cv2.imwrite(str(tmp_path / "wide.png"), np.full((2, 2), 26000, np.uint16))
    with pytest.raises(SourceError, match=r"wide\.png holds the index 26000"):
        read_label(tmp_path / "wide.png")


def test_a_label_is_turned_as_its_file_says_or_not(tmp_path: Path) -> None:
    mask = random_mask((5, 7))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(mask).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_label(tmp_path / "a.png"), np.rot90(mask, -1))
    assert np.array_equal(read_label(tmp_path / "a.png", orientation="raw"), mask)


@pytest.mark.parametrize("transparent", [False, True])
def test_colours_of_a_label_are_read_as_they_were_drawn(tmp_path: Path, transparent: bool) -> None:
    mask = random_mask((9, 13))
    drawn = np.array(PALETTE, np.uint8)[mask]
    (tmp_path / "palette.png").write_bytes(palette_png(mask, transparent=transparent))
    assert np.array_equal(read_label_colours(tmp_path / "palette.png"), drawn)
    cv2.imwrite(str(tmp_path / "rgb.png"), drawn[..., ::-1])
    assert np.array_equal(read_label_colours(tmp_path / "rgb.png"), drawn)


def test_labels_that_cannot_be_indices_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(SourceError, match=r"colour\.png holds RGB pixels \[4, 5, 3\]"):
        read_label(tmp_path / "colour.png")
    cv2.imwrite(str(tmp_path / "grey.jpg"), np.zeros((4, 5), np.uint8))
    for read in (read_label, read_label_colours):
        with pytest.raises(SourceError, match=r"grey\.jpg is a JPEG"):
            read(tmp_path / "grey.jpg")
    whole = palette_png(random_mask((40, 40)))
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    with pytest.raises(SourceError, match=r"cut\.png is damaged or cut short"):
        read_label(tmp_path / "cut.png")
