"""Frames in: images, folders, patterns, videos whole and damaged, rotation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edgefsa.errors import InputError, SourceError
from edgefsa.segment import SourceOptions, open_source
from tests.unit.segment.fakes import moving_square


def place_of_square(frame: np.ndarray) -> int:
    """The index of a frame of the test clip, by where its square is."""
    columns = np.nonzero(frame[8:20].mean(axis=(0, 2)) > 130)[0]
    return round(float(columns.mean() - 5.5) / 2)


def write_images(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), moving_square(index))


def test_an_image_is_one_frame(tmp_path: Path) -> None:
    write_images(tmp_path, "street.v2.PNG")
    with open_source(tmp_path / "street.v2.PNG") as source:
        (frame,) = list(source)
    assert (source.total, source.fps, source.live) == (1, None, False)
    assert (frame.name, frame.index) == ("street.v2", 0)
    assert np.array_equal(frame.frame, moving_square(0))


def test_a_folder_is_read_by_name(tmp_path: Path) -> None:
    write_images(tmp_path, "b.png", "a.png", "c.bmp", ".hidden.png")
    (tmp_path / "notes.txt").write_text("no image")
    with open_source(str(tmp_path)) as source:
        frames = list(source)
    assert source.total == 3
    assert [frame.name for frame in frames] == ["a", "b", "c"]
    assert [place_of_square(frame.frame) for frame in frames] == [1, 0, 2]


def test_files_of_one_stem_keep_apart(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "a.bmp", "b.png")
    with open_source(tmp_path) as source:
        assert [frame.name for frame in source] == ["a_bmp", "a_png", "b"]


def test_no_two_files_of_a_folder_share_a_name(tmp_path: Path) -> None:
    files = ["a.bmp", "a.png", "a_png.bmp", "b.c.bmp", "b.c.png", "b_c.bmp", "b_c.png"]
    write_images(tmp_path, *files)
    with open_source(tmp_path) as source:
        names = [frame.name for frame in source]
    assert names == ["a_bmp", "a_png_2", "a_png", "b_c_bmp", "b_c_png", "b_c_bmp_2", "b_c_png_2"]


def test_a_folder_without_images_and_a_bad_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path)
    (tmp_path / "b.png").write_bytes(b"no image at all")
    with open_source(tmp_path / "b.png") as source, pytest.raises(SourceError, match=r"b\.png is not a picture"):
        list(source)


def test_a_damaged_file_of_a_folder_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "b.png").write_bytes(b"no image at all")
    (tmp_path / "d.png").write_bytes((tmp_path / "c.png").read_bytes()[:300])
    with open_source(tmp_path) as source:
        assert [frame.name for frame in source] == ["a", "c"]
    assert [failure.file for failure in source.failures] == [str(tmp_path / "b.png"), str(tmp_path / "d.png")]
    assert "b.png is not a picture" in source.failures[0].reason
    assert "d.png is damaged or cut short" in source.failures[1].reason


def test_a_folder_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image at all")
    with open_source(tmp_path) as source, pytest.raises(SourceError, match=r"none of the 2 pictures.*a\.png is not"):
        list(source)


def test_a_folder_says_which_frames_were_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "abcde":
        Image.fromarray(moving_square(0)).save(tmp_path / f"{name}.jpg", **({} if name == "a" else {"exif": exif}))
    with open_source(tmp_path) as source:
        shapes = [frame.frame.shape[:2] for frame in source]
    assert shapes == [(48, 64)] + [(64, 48)] * 4
    (note,) = source.notes
    assert note.startswith("4 of 5 pictures (b.jpg, c.jpg, d.jpg and 1 more): turned upright by EXIF orientation")
    with open_source(tmp_path, SourceOptions(orientation="raw")) as source:
        assert {frame.frame.shape[:2] for frame in source} == {(48, 64)}
    assert source.notes == []
    with pytest.raises(InputError, match="orientation 'up'"):
        open_source(tmp_path, SourceOptions(orientation="up"))


def test_deep_pictures_of_a_folder_share_one_range(tmp_path: Path) -> None:
    for name, largest in (("dark", 300), ("light", 4000)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 4), largest, np.uint16))
    with open_source(tmp_path) as source:
        values = [int(frame.frame[0, 0, 0]) for frame in source]
    assert values == [round(300 * 255 / 4095), round(4000 * 255 / 4095)]
    (note,) = source.notes
    assert note.startswith("2 of 2 pictures (dark.png, light.png): 16-bit values are read as 12 bits (0 to 4095)")
    with open_source(tmp_path, SourceOptions(bits=10)) as source:
        assert len(list(source)) == 1
    assert "light.png holds the value 4000" in source.failures[0].reason


@pytest.mark.parametrize("spec", ["camera:", "camera:front", "camera:-1", "synthetic:x", "synthetic:1.5"])
def test_malformed_specs_are_named(spec: str) -> None:
    with pytest.raises(InputError, match=spec):
        open_source(spec)


@pytest.mark.parametrize("spec", ["", "  "])
def test_an_empty_spec_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    write_images(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the source is empty"):
        open_source(spec)


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.mp4 does not exist"):
        open_source(tmp_path / "nowhere.mp4")
    with pytest.raises(SourceError, match="camera 97 gives no frames"):
        open_source("camera:97")
    with pytest.raises(SourceError, match=r"rtsp:/\*\*\*@cam/s does not exist"):
        open_source("rtsp:/root:hunter2@cam/s")
    with pytest.raises(SourceError, match=r"no file matches rtsp:/\*\*\*@cam/s"):
        open_source("rtsp:/root:hunter2@cam/s?[12]")


def test_a_pattern_names_pictures(tmp_path: Path) -> None:
    write_images(tmp_path, "a1.png", "a0.png", "b.png")
    (tmp_path / "deep").mkdir()
    write_images(tmp_path / "deep", "a2.png")
    with open_source(str(tmp_path / "a*.png")) as source:
        assert [frame.name for frame in source] == ["a0", "a1"]
    assert (source.total, source.name) == (2, tmp_path.name)
    with open_source(str(tmp_path / "**" / "a*.png")) as source:
        assert [frame.name for frame in source] == ["a0", "a1", "a2"]
    with pytest.raises(SourceError, match=r"no file matches .*c\*\.png"):
        open_source(str(tmp_path / "c*.png"))
    write_images(tmp_path, "x[1].png")
    with open_source(tmp_path / "x[1].png") as source:
        assert [frame.name for frame in source] == ["x[1]"], "a file of that name comes first"


@pytest.mark.parametrize(
    ("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v"), ("a.webm", "VP80")]
)
def test_a_video_gives_every_frame_in_order(make_video: Any, name: str, code: str) -> None:
    with open_source(make_video(name, code)) as source:
        frames = list(source)
    assert (source.total, source.fps, source.live, source.notes) == (20, 25.0, False, [])
    assert [place_of_square(frame.frame) for frame in frames] == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert frames[7].name == "a_000007"
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(20)], abs=2e-3)


def rotated(video: Path, matrix: list[int], out: Path) -> Path:
    """Write another display matrix (ISO/IEC 14496-12, `tkhd`; 16.16 and 2.30 fixed point) into an MP4."""
    data = bytearray(video.read_bytes())
    place = data.find(b"tkhd") + 4 + 4 + 20 + 16
    assert struct.unpack(">9i", data[place : place + 36])[::4] == (0x10000, 0x10000, 0x40000000)
    data[place : place + 36] = struct.pack(">9i", *[value * 0x10000 for value in matrix[:8]], 0x40000000)
    out.write_bytes(data)
    return out


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ([0, 1, 0, -1, 0, 0, 48, 0], cv2.ROTATE_90_CLOCKWISE),
        ([-1, 0, 0, 0, -1, 0, 64, 48], cv2.ROTATE_180),
        ([0, -1, 0, 1, 0, 0, 0, 64], cv2.ROTATE_90_COUNTERCLOCKWISE),
    ],
)
def test_a_videos_rotation_is_honoured(make_video: Any, tmp_path: Path, matrix: list[int], turn: int) -> None:
    video = make_video("a.mp4", "mp4v")
    with open_source(video) as source:
        upright = [frame.frame for frame in source]
    with open_source(rotated(video, matrix, tmp_path / "phone.mp4")) as source:
        turned = [frame.frame for frame in source]
    assert len(turned) == len(upright)
    assert all(np.array_equal(cv2.rotate(a, turn), b) for a, b in zip(upright, turned, strict=True))


def test_an_avi_cut_in_the_middle_is_used_as_far_as_it_goes(make_video: Any, tmp_path: Path) -> None:
    data = make_video("a.avi", "MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    with open_source(tmp_path / "cut.avi") as source:
        frames = list(source)
    assert 5 <= len(frames) < 20
    # The picture at the cut may be damaged; all before it are as they were.
    assert [place_of_square(frame.frame) for frame in frames][:-1] == list(range(len(frames) - 1))
    assert len(source.notes) == 1
    share = f"{len(frames)} frames, {len(frames) / 25:.2f} of its 0.80 s"
    assert f"cut.avi is cut short or damaged: {share}" in source.notes[0]


def broken_videos(make_video: Any) -> Iterator[tuple[str, str, bytes]]:
    mp4, avi = make_video("a.mp4", "mp4v").read_bytes(), make_video("a.avi", "MJPG").read_bytes()
    assert mp4.find(b"moov") > len(mp4) // 2, "the index is at the end"
    yield "no_moov.mp4", "is cut short: it has no index", mp4[: len(mp4) // 2]
    yield "zeros.mp4", "is no video that can be decoded", bytes(50_000)
    yield "empty.mp4", r"is empty \(0 bytes\)", b""
    yield "text.avi", "is no video that can be decoded", b"hello\n" * 99
    yield "header_only.avi", "is no video that can be decoded", avi[:4000]


def test_videos_without_one_whole_frame_are_named_in_one_line(
    make_video: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, told, data in broken_videos(make_video):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match=f"{name}:? {told}"):
            open_source(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_hole_in_a_video_ends_in_a_note(make_video: Any, tmp_path: Path) -> None:
    data = bytearray(make_video("a.avi", "MJPG").read_bytes())
    data[len(data) // 3 : 2 * len(data) // 3] = bytes(2 * len(data) // 3 - len(data) // 3)
    (tmp_path / "hole.avi").write_bytes(data)
    with open_source(tmp_path / "hole.avi") as source:
        count = len(list(source))
    assert 0 < count <= 20
    assert bool(source.notes) == (count < 18)
