"""Archives that were made to do harm, or were damaged: each is refused by the member's name."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from edgefsa.deploy import archive
from edgefsa.deploy.archive import Archive, write_archive
from edgefsa.errors import BundleError
from tests.unit.deploy.conftest import zip_of


def refusal(path: Path) -> str:
    """The one line that an archive is refused with."""
    with pytest.raises(BundleError) as caught, Archive(path):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_members_come_back_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(range(256)) * 9000)
    write_archive(tmp_path / "a.zip", {"small.json": b"{}", "large.bin": tmp_path / "source"})
    with Archive(tmp_path / "a.zip") as opened:
        assert opened.sizes == {"small.json": 2, "large.bin": 256 * 9000}
        assert opened.read("small.json", 2) == b"{}"
        found = io.BytesIO()
        assert opened.sha256("large.bin", found) == hashlib.sha256(found.getvalue()).hexdigest()
        assert found.getvalue() == (tmp_path / "source").read_bytes()
        with pytest.raises(BundleError, match=r"small\.json has 2 bytes, 1 are the most"):
            opened.read("small.json", 1)
    with zipfile.ZipFile(tmp_path / "a.zip") as other:  # any reader of zips
        assert other.testzip() is None and other.namelist() == ["small.json", "large.bin"]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "/etc/passwd",
            "../../.ssh/authorized_keys",
            "..",
            ".",
            "a/b",
            "a/../b",
            "..\\..\\x",
            "C:\\x",
            "C:x",
            "\\\\h\\s",
        ),
        *(".hidden", "-rf", "a\0b", "a\nb", "model.onnx/", " ", "", "ünï.onnx", "a\u202eb"),
    ],
)
def test_a_name_that_is_no_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    path = zip_of(tmp_path / "a.zip", [("fine", b"1"), (name, b"2")])
    assert repr(name) in refusal(path) and "no plain file name" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused_in_whatever_case(tmp_path: Path) -> None:
    for first, second in (("model.onnx", "model.onnx"), ("model.onnx", "MODEL.onnx")):
        text = refusal(zip_of(tmp_path / "a.zip", [(first, b"1"), (second, b"2")]))
        assert repr(second) in text and f"the name of {first!r} once more" in text


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (stat.S_IFLNK, "a link"),
        (stat.S_IFCHR, "a device"),
        (stat.S_IFBLK, "a device"),
        (stat.S_IFIFO, "a pipe"),
        (stat.S_IFSOCK, "a socket"),
        (stat.S_IFDIR, "a folder"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, kind: int, word: str) -> None:
    path = zip_of(tmp_path / "a.zip", [("evil", b"/etc/passwd")], mode=kind | 0o777)
    assert f"'evil' is {word}" in refusal(path)


def test_a_bomb_is_refused_by_its_compression(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = zip_of(tmp_path / "a.zip", [("zeros.bin", bytes(1 << 20))], method=method)
        assert "'zeros.bin' is compressed" in refusal(path)


def test_sizes_are_bounded_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zip_of(tmp_path / "a.zip", [("one", bytes(600)), ("two", bytes(600))])
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1000)
    assert "holds 1200 bytes, 1000 are the most" in refusal(path)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 500)
    assert "'one' has 600 bytes, 500 are the most" in refusal(path)
    many = zip_of(tmp_path / "many.zip", [(f"f{index}", b"") for index in range(archive.MAX_MEMBERS + 1)])
    assert f"has {archive.MAX_MEMBERS + 1} members" in refusal(many)


def test_a_size_that_is_a_lie_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [("a.bin", bytes(100))])
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, central + 20, 1 << 30, 1 << 30)
    path.write_bytes(data)
    assert "bytes that belong to no member" in refusal(path)


def test_bytes_between_the_members_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [("a.bin", b"1")])
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert "bytes that belong to no member" in refusal(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [("a.bin", b"1")])
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "'a.bin' is encrypted" in refusal(path)


def test_what_is_no_zip_or_cut_short(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", [("a.bin", bytes(1000))])
    whole = path.read_bytes()
    for length in (0, 3, 500, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert str(path) in refusal(path)
    assert "no such file" in refusal(tmp_path / "none.edgefsa")
    assert "directory" in refusal(tmp_path)


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    """A byte that is flipped anywhere: the archive is refused, or a member is named, or what it holds is the same."""
    path = zip_of(tmp_path / "a.zip", [("a.bin", b"hello"), ("b.bin", b"world")])
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x41
        path.write_bytes(changed)
        try:
            with Archive(path) as opened:
                found = {name: opened.read(name, 100) for name in opened.sizes}
        except BundleError:
            continue
        assert found == {"a.bin": b"hello", "b.bin": b"world"} or set(found) != {"a.bin", "b.bin"}, position
