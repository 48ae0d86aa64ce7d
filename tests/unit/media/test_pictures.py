"""Picture files: read and written as they are, with palettes, orientation and damage taken into account."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError, OutputError, SourceError
from edgefsa.media import pictures

PALETTE = [(128, 128, 128), (200, 0, 10), (0, 60, 250), (255, 255, 0)]


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    """Parse a PNG by its specification: each chunk's CRC is checked, IDAT bodies are joined."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, found = 8, {}
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (crc,) = struct.unpack_from(">I", data, position + 8 + length)
        assert crc == zlib.crc32(kind + body), kind
        found[kind] = found.get(kind, b"") + body
        position += 12 + length
    return found


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
    found = chunks_of(pictures.indexed_png(mask, PALETTE))
    width, height, depth, colour_type = struct.unpack(">IIBB", found[b"IHDR"][:10])
    assert (height, width, depth, colour_type) == (15, 35, 8, 3)
    assert found[b"PLTE"] == bytes(value for colour in PALETTE for value in colour)
    assert list(found)[:2] == [b"IHDR", b"PLTE"]
    assert np.array_equal(unfilter(zlib.decompress(found[b"IDAT"]), 15, 35), mask)


def test_indexed_png_shows_its_colours_in_a_viewer() -> None:
    mask = random_mask((31, 17))
    shown = cv2.imdecode(np.frombuffer(pictures.indexed_png(mask, PALETTE), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(shown[..., ::-1], np.array(PALETTE, np.uint8)[mask])


def test_indexed_png_shows_ignored_pixels_black(tmp_path: Path) -> None:
    mask = np.array([[0, 255], [3, 4]], np.uint8)
    path = pictures.write_label(tmp_path / "m.png", mask, PALETTE)
    shown = pictures.read_image(path)[..., ::-1]
    assert shown[0, 1].tolist() == shown[1, 1].tolist() == [0, 0, 0]
    assert shown[1, 0].tolist() == [255, 255, 0]
    assert np.array_equal(pictures.read_label(path), mask)


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int64), np.zeros((0, 4), np.uint8)]
)
def test_indexed_png_refuses_what_is_no_mask(mask: np.ndarray) -> None:
    with pytest.raises(InputError):
        pictures.indexed_png(mask, PALETTE)


@pytest.mark.parametrize("colours", [[], [(0, 0, 0)] * 257])
def test_indexed_png_refuses_an_impossible_palette(colours: list[tuple[int, int, int]]) -> None:
    with pytest.raises(InputError, match=str(len(colours))):
        pictures.indexed_png(random_mask((2, 2)), colours)


@pytest.mark.parametrize(("depth", "classes"), [(1, 2), (2, 4), (4, 4), (8, 4)])
@pytest.mark.parametrize("transparent", [False, True])
def test_read_label_gives_indices_of_palette_images(
    tmp_path: Path, depth: int, classes: int, transparent: bool
) -> None:
    mask = random_mask((9, 13), classes)
    path = tmp_path / "label.png"
    path.write_bytes(palette_png(mask, depth, transparent=transparent))
    assert np.array_equal(pictures.read_label(path), mask)


@pytest.mark.parametrize("filter_type", [1, 2])
def test_read_label_undoes_filters(tmp_path: Path, filter_type: int) -> None:
    mask = random_mask((9, 13))
    path = tmp_path / "label.png"
    path.write_bytes(palette_png(mask, filter_type=filter_type))
    assert np.array_equal(pictures.read_label(path), mask)


def test_read_label_gives_grey_values_as_they_are(tmp_path: Path) -> None:
    mask = random_mask((9, 13), 256)
    cv2.imwrite(str(tmp_path / "grey.png"), mask)
    assert np.array_equal(pictures.read_label(tmp_path / "grey.png"), mask)


def test_read_label_refuses_colours_and_damage(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "colour.png"), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(SourceError, match=r"uint8 \[4, 5, 3\]"):
        pictures.read_label(tmp_path / "colour.png")
    whole = palette_png(random_mask((40, 40)))
    (tmp_path / "cut.png").write_bytes(whole[:-40])
    with pytest.raises(SourceError, match=r"cut\.png is not an image that can be decoded"):
        pictures.read_label(tmp_path / "cut.png")


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"\x89PNG\r\n\x1a\n", b"hello, this is text"])
def test_files_that_are_no_images_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    for read in (pictures.read_image, pictures.read_label):
        with pytest.raises(SourceError, match=r"bad\.png is not an image"):
            read(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_picture_is_told_by_us_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, share: float
) -> None:
    data = bytes(cv2.imencode(suffix, np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8))[1])
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    for read in (pictures.read_image, pictures.read_label):
        with pytest.raises(SourceError, match=rf"cut\{suffix} is not an image"):
            read(path)
    assert capfd.readouterr() == ("", "")


def test_a_png_with_a_changed_byte_is_told_by_us_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = pictures.indexed_png(random_mask((40, 40)), PALETTE)
    path = tmp_path / "changed.png"
    for position in range(8, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(SourceError, match=r"changed\.png is not an image"):
            pictures.read_image(path)
    path.write_bytes(whole + b"what some writers append")
    assert pictures.read_image(path).shape == (40, 40, 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.full((2, 3), 77, np.uint8), (77, 77, 77)),
        (np.full((2, 3, 3), 0xABCD, np.uint16), (0xAB, 0xAB, 0xAB)),
        (np.full((2, 3, 4), (1, 2, 3, 0), np.uint8), (1, 2, 3)),
    ],
    ids=["grey", "16 bits", "alpha"],
)
def test_read_image_gives_three_channels_of_8_bits(tmp_path: Path, stored: np.ndarray, expected: tuple) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    read = pictures.read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8
    assert np.array_equal(read, np.full((2, 3, 3), expected))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.jpg: no such file"):
        pictures.read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(SourceError, match="is a directory"):
        pictures.read_image(tmp_path)


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = (0, 0, 255)
    sideways = cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = cv2.imencode(".jpg", sideways, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    # One TIFF entry: tag 0x0112 (orientation), type 3 (short), count 1, value 6 (turn 90 degrees clockwise).
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "phone.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    read = pictures.read_image(tmp_path / "phone.jpg")
    assert read.shape == (40, 60, 3)
    assert np.abs(read.astype(int) - upright)[5:15, 5:25].max() < 30


def test_write_image_keeps_colour_order(tmp_path: Path) -> None:
    frame = np.zeros((3, 5, 3), np.uint8)
    frame[..., 0] = 200  # blue
    pictures.write_image(tmp_path / "deep" / "blue.png", frame)
    found = chunks_of((tmp_path / "deep" / "blue.png").read_bytes())
    assert zlib.decompress(found[b"IDAT"])[1:4] == bytes([0, 0, 200])


def test_write_image_names_a_bad_suffix_and_an_empty_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.xyz"):
        pictures.write_image(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="shape"):
        pictures.write_image(tmp_path / "a.png", np.zeros((0, 2, 3), np.uint8))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        pictures.write_image(tmp_path / "file" / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
