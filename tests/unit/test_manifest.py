"""The manifest of an engine directory: written, read back, and refused where it was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgefsa.artifacts import MANIFEST_NAME, Manifest, sha256_of_bytes
from edgefsa.errors import EngineError

MODEL = {
    **{"model": "tiny", "options": {}, "family": "fsanet", "num_classes": 1, "classes": ["road"]},
    **{"palette": [[1, 2, 3]], "ignore_index": 255, "size_hw": [8, 16], "batch": 1, "outputs": "masks"},
    **{"weights": {"kind": "random"}, "tool_version": "0.1.0"},
}

DISTANCE = {"relative_l2": 0.01, "agreement": 0.99, "bound": {"relative_l2": 0.3, "agreement": 0.9}}
PROOF = {
    **{"evidence": "engine", "account": "the executed graph", "expected": 2, "proved": 2, "in_float": []},
    "numbers": {"frames": 8, "data": "noise", "float_to_converted": DISTANCE, "converted_to_engine": DISTANCE},
}


def golden(file: str) -> dict[str, Any]:
    return {"file": file, "frames": "frames", "outputs": "outputs", "agreement": 0.98}


def manifest_in(directory: Path) -> Manifest:
    (directory / "a.bin").write_bytes(b"abc")
    manifest = Manifest(
        model=MODEL,
        target="openvino",
        precision="int8",
        precision_detail={"compute": "int8", "float": "f32", "layers": {"int8": 3}},
        files={"a.bin": sha256_of_bytes(b"abc")},
        golden=golden("a.bin"),
        proof=PROOF,
    )
    manifest.write(directory)
    return manifest


def test_manifest_is_read_back(tmp_path: Path) -> None:
    written = manifest_in(tmp_path)
    read = Manifest.read(tmp_path)
    assert read == written
    read.check_files(tmp_path)


def test_manifest_tells_changed_and_missing_files(tmp_path: Path) -> None:
    manifest = manifest_in(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"abd")
    with pytest.raises(EngineError, match=r"a\.bin was changed"):
        manifest.check_files(tmp_path)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(EngineError, match=r"a\.bin is missing"):
        manifest.check_files(tmp_path)


def test_a_link_in_an_engine_is_refused(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    manifest = manifest_in(engine)
    (engine / "a.bin").rename(tmp_path / "outside")
    (engine / "a.bin").symlink_to(tmp_path / "outside")
    with pytest.raises(EngineError, match=r"a\.bin is a link"):
        manifest.check_files(engine)


def test_no_changed_byte_of_a_manifest_goes_unseen(tmp_path: Path) -> None:
    written = manifest_in(tmp_path)
    path = tmp_path / MANIFEST_NAME
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 2]) + whole[position + 1 :])
        try:
            assert Manifest.read(tmp_path) == written
        except EngineError as error:
            assert "rebuild" in str(error) or "make one" in str(error)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "null", "\x00"])
def test_other_files_are_no_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(EngineError, match="rebuild"):
        Manifest.read(tmp_path)


def test_manifest_of_another_format_and_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no engine directory"):
        Manifest.read(tmp_path)
    manifest = manifest_in(tmp_path)
    manifest.format = 99
    manifest.write(tmp_path)
    with pytest.raises(EngineError, match="format 99"):
        Manifest.read(tmp_path)
    with pytest.raises(EngineError, match="no engine directory"):
        Manifest.read(tmp_path / "a.bin")
