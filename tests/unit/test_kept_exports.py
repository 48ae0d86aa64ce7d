"""A model by name is exported once; what may be another one tomorrow is exported each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgefsa import kept_exports
from edgefsa.build import ModelRequest
from edgefsa.kept_exports import export_once

Build = Callable[[ModelRequest], bytes]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cache that is still empty."""
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "exports"


@pytest.fixture
def exported(cache: Path, tmp_path: Path) -> Build:
    """Return what the ONNX file of a request holds: the number of the export that wrote it."""
    exports = iter(range(100))

    def file_of(request: ModelRequest) -> bytes:
        output = tmp_path / "model.onnx"
        output.unlink(missing_ok=True)
        export_once(request, output, lambda: output.write_bytes(b"%d" % next(exports)))
        return output.read_bytes()

    return file_of


def test_the_same_request_is_exported_once(exported: Build) -> None:
    assert [exported(ModelRequest("fsanet-edge")) for _ in range(3)] == [b"0"] * 3


@pytest.mark.parametrize(
    "other",
    [
        ModelRequest("spanet-edge"),
        ModelRequest("fsanet-edge", size_hw=(64, 96)),
        ModelRequest("fsanet-edge", options={"k": 4}),
        ModelRequest("fsanet-edge", fit="crop"),
        ModelRequest("fsanet-edge", batch=2),
        ModelRequest("fsanet-edge", equalise=True),
    ],
    ids=lambda request: repr(request)[13:60],
)
def test_another_request_is_another_file(exported: Build, other: ModelRequest) -> None:
    assert [exported(request) for request in (ModelRequest("fsanet-edge"), other) * 2] == [b"0", b"1"] * 2


@pytest.mark.parametrize("file", ["checkpoint", "classes"])
def test_files_of_the_user_are_read_each_time(exported: Build, cache: Path, file: str) -> None:
    request = ModelRequest("fsanet-edge", **{file: Path("theirs")})
    assert [exported(request), exported(request)] == [b"0", b"1"]
    assert not cache.exists()


def test_another_program_exports_anew(exported: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(ModelRequest())
    monkeypatch.setattr(kept_exports, "exporter_sha256", lambda: "another")
    assert exported(ModelRequest()) == b"1"


def test_the_program_s_hash_follows_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("1")
    monkeypatch.setattr(kept_exports, "_PACKAGE", tmp_path)
    found = set()
    for change in ("1", "2"):
        (tmp_path / "a.py").write_text(change)
        kept_exports.exporter_sha256.cache_clear()
        found.add(kept_exports.exporter_sha256())
    kept_exports.exporter_sha256.cache_clear()
    assert len(found) == 2


def test_those_used_longest_ago_go(exported: Build, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_exports, "_KEPT", 3)
    for batch in range(1, 6):
        exported(ModelRequest(batch=batch))
    assert len(list(cache.glob("*.onnx"))) == 3
    assert exported(ModelRequest(batch=5)) == b"4" and exported(ModelRequest(batch=1)) == b"5"


def test_large_files_are_not_kept(exported: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_exports, "_LARGEST_BYTES", 0)
    assert [exported(ModelRequest()), exported(ModelRequest())] == [b"0", b"1"]


def test_a_cache_that_cannot_be_written_is_done_without(exported: Build, cache: Path) -> None:
    cache.parent.write_text("a file in the folder's place")
    assert [exported(ModelRequest()), exported(ModelRequest())] == [b"0", b"1"]
