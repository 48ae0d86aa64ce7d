"""Picture files: read and written as they are, with palettes, orientation and damage taken into account."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefsa.errors import InputError, OutputError, SourceError
from edgefsa.media import pictures
from edgefsa.media.labels import read_label
from edgefsa.media.pictures import read_image, read_picture, value_bits
from tests.unit.media.png import chunks_of

NOISE = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\x00" * 100, "is not a picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged or cut short"),
        (b"hello, this is text", "is not a picture .it begins with b'hello, this '"),
        (b"\xff\xd8\xff\xe0 broken", "damaged or cut short"),
    ],
)
def test_files_that_are_no_pictures_are_named(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    for read in (read_image, read_label):
        with pytest.raises(SourceError, match=rf"bad\.png.*{told}") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", ".bmp", ".avif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_picture_cut_short_is_told_by_us_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, share: float
) -> None:
    whole = io.BytesIO()
    Image.fromarray(NOISE).save(whole, Image.registered_extensions()[suffix])
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    with pytest.raises(SourceError, match=rf"cut\{suffix} is damaged or cut short"):
        read_image(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_with_a_changed_byte_is_told_by_us_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], dtype: type
) -> None:
    whole = bytes(cv2.imencode(".png", NOISE[:20, :20].astype(dtype))[1])
    path = tmp_path / "changed.png"
    for position in range(8, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(SourceError, match=r"changed\.png is damaged"):
            read_image(path)
    path.write_bytes(whole + b"what some writers append")
    assert read_image(path).shape == (20, 20, 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("stored", "expected", "notes"),
    [
        (np.full((2, 3), 77, np.uint8), (77, 77, 77), 0),
        (np.full((2, 3, 3), 0xABCD, np.uint16), (0xAB, 0xAB, 0xAB), 1),
        (np.full((2, 3, 4), (1, 2, 3, 0), np.uint8), (1, 2, 3), 1),
        (np.full((2, 3, 4), (1, 2, 3, 255), np.uint8), (1, 2, 3), 0),
    ],
    ids=["grey", "16 bits", "transparent", "opaque"],
)
def test_a_frame_has_three_channels_of_8_bits(
    tmp_path: Path, stored: np.ndarray, expected: tuple[int, ...], notes: int
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    picture = read_picture(tmp_path / "a.png")
    assert picture.frame.dtype == np.uint8
    assert np.array_equal(picture.frame, np.full((2, 3, 3), expected))
    assert len(picture.notes) == notes


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "LA", "RGBA", "CMYK"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_mode_shows_the_picture_that_was_stored(tmp_path: Path, mode: str, suffix: str) -> None:
    rows, columns = np.mgrid[:40, :60]
    rgb = np.stack([rows * 6, columns * 4, (rows + columns) * 2], -1).astype(np.uint8)
    image = Image.fromarray(rgb).convert("L" if mode == "1" else "RGB")
    stored = image.convert(mode) if mode != "PA" else image.convert("P")
    if (mode, suffix) == ("CMYK", ".png"):
        pytest.skip("PNG has no CMYK")
    stored.save(tmp_path / f"a{suffix}")
    wanted = 255 * np.asarray(stored)[..., None].repeat(3, 2) if mode == "1" else np.asarray(stored.convert("RGB"))
    read = read_picture(tmp_path / f"a{suffix}")
    assert np.array_equal(read.frame[..., ::-1], wanted)
    assert read.notes == ()


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (200, 60, 20)).convert("CMYK").save(tmp_path / "print.jpg", quality=98)
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - (20, 60, 200)).max() < 8


def test_transparent_palettes_warn_nobody(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    image = Image.fromarray(NOISE[..., 0] % 4)
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    image.save(tmp_path / "a.png", transparency=bytes([0, 255, 128, 255]))
    picture = read_picture(tmp_path / "a.png")
    palette = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [1, 2, 3]])
    assert np.array_equal(picture.frame[..., ::-1], palette[NOISE[..., 0] % 4])
    assert picture.notes == ("transparency is left out",)
    assert not recwarn.list


@pytest.mark.parametrize(("largest", "bits"), [(255, 8), (256, 10), (1023, 10), (4095, 12), (16383, 14), (65535, 16)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_values_of_10_to_14_bits_fill_the_range(
    tmp_path: Path, largest: int, bits: int, suffix: str, channels: int
) -> None:
    values = np.random.default_rng(1).integers(0, largest + 1, (16, 20, channels))
    values[0, 0] = largest
    cv2.imwrite(str(tmp_path / f"a{suffix}"), values.astype(np.uint16).squeeze())
    picture = read_picture(tmp_path / f"a{suffix}")
    wanted = np.rint(values[..., :3].astype(np.float64) * 255 / (2.0**bits - 1))
    assert np.array_equal(picture.frame, np.broadcast_to(wanted, (16, 20, 3)))
    assert picture.bits == bits
    assert f"read as {bits} bits" in picture.notes[0]


def test_the_bits_of_a_folder_come_from_its_largest_value(tmp_path: Path) -> None:
    for index, largest in enumerate((900, 4000, 200)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((4, 4), largest, np.uint16))
    cv2.imwrite(str(tmp_path / "8bit.png"), np.full((4, 4), 200, np.uint8))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    paths = sorted(tmp_path.iterdir())
    assert value_bits(paths) == 12
    assert value_bits([tmp_path / "8bit.png", tmp_path / "bad.png"]) is None
    dark = read_picture(tmp_path / "2.png", bits=12)
    assert dark.frame[0, 0, 0] == round(200 * 255 / 4095)
    with pytest.raises(SourceError, match=r"1\.png holds the value 4000.* 10 bits .*give --bits 12"):
        read_picture(tmp_path / "1.png", bits=10)
    with pytest.raises(InputError, match="7 bits"):
        read_picture(tmp_path / "1.png", bits=7)


def test_many_deep_files_are_sampled(tmp_path: Path) -> None:
    for index in range(40):
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), np.full((2, 2), 3000, np.uint16))
    assert value_bits(sorted(tmp_path.iterdir())) == 12


@pytest.mark.parametrize(("dtype", "channels"), [(np.float32, 1), (np.float32, 3), (np.int32, 1), (np.float64, 1)])
def test_values_without_black_and_white_are_refused_with_their_range(
    tmp_path: Path, dtype: type, channels: int
) -> None:
    values = np.linspace(-1, 7, 4 * 5 * channels).reshape(4, 5, channels).squeeze().astype(dtype)
    cv2.imwrite(str(tmp_path / "depth.tif"), values)
    with pytest.raises(SourceError, match=rf"depth\.tif holds {dtype.__name__} values from -1 to 7"):
        read_image(tmp_path / "depth.tif")


def test_the_first_of_several_pages_is_taken_and_said(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    picture = read_picture(tmp_path / "scan.tif")
    assert picture.frame[0, 0].tolist() == [0, 0, 255]
    assert picture.notes == ("the first of 2 pages is taken",)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.jpg: no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(SourceError, match="is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, suffix: str) -> None:
    scene = np.zeros((48, 80, 3), np.uint8)
    scene[:24, :40], scene[24:, :40], scene[:24, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Another decoder's word for it: OpenCV turns JPEGs as their EXIF says.
    Image.fromarray(scene).save(tmp_path / "same.jpg", exif=exif, quality=95)
    Image.fromarray(scene).save(tmp_path / f"phone{suffix}", exif=exif, quality=95)
    wanted = cv2.imread(str(tmp_path / "same.jpg"))
    picture = read_picture(tmp_path / f"phone{suffix}")
    assert picture.frame.shape == wanted.shape
    assert np.mean(np.abs(picture.frame.astype(int) - wanted) > 60) < 0.02
    assert (picture.orientation, picture.turned) == (orientation, orientation != 1)
    assert [("turned upright" in note) for note in picture.notes] == [True] * picture.turned
    raw = read_picture(tmp_path / f"phone{suffix}", orientation="raw")
    assert np.mean(np.abs(raw.frame[..., ::-1].astype(int) - scene) > 60) < 0.02
    assert (raw.orientation, raw.turned, raw.notes) == (orientation, False, ())


def test_deep_pictures_are_turned_too(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
    image, exif = Image.fromarray(values), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png")[..., 0], np.rot90(np.rint(values * (255 / 4095)), -1))


def test_an_unknown_convention_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="orientation 'auto' is unknown; use exif or raw"):
        read_picture(tmp_path / "a.png", orientation="auto")


@pytest.mark.parametrize(
    ("name", "head", "found"),
    [
        ("a.HEIC", b"", True),
        ("noname", b"\x00\x00\x00\x1cftypavif", True),
        ("noname", b"\x00\x00\x00\x1cftypheic", True),
        ("noname", b"\xff\xd8\xff\xe0", True),
        ("noname", b"\x00\x00\x00\x1cftypisom", False),
        ("a.mp4", b"RIFF", False),
    ],
)
def test_pictures_are_told_from_videos(tmp_path: Path, name: str, head: bytes, found: bool) -> None:
    (tmp_path / name).write_bytes(head)
    assert pictures.is_picture(tmp_path / name) is found


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
