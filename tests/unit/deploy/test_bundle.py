"""Bundles: what is in them, that the same engine makes the same bytes, and what is refused of those from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefsa.artifacts import Manifest, sha256_of_bytes
from edgefsa.deploy import bundle as bundle_module
from edgefsa.deploy.bundle import read_bundle, unpack_bundle, write_bundle
from edgefsa.errors import BundleError, EdgeFsaError, EngineError
from edgefsa.quantize import Ranges, read_recipe
from tests.unit.deploy.conftest import Rewrite, zip_of
from tests.unit.engines import tiny

MEMBERS = {
    *("bundle.json", "model.onnx", "int8.onnx", "ranges.json", "recipe.toml", "manifest.json", "palette.json"),
    *("golden.npz", "edgefsa-0.1.0-py3-none-any.whl"),
}


def refusal(path: Path, **options: object) -> str:
    """The one line that a bundle is refused with, by reading and by unpacking alike; nothing is unpacked."""
    with pytest.raises(BundleError) as read:
        read_bundle(path, **options)
    folder = path.parent / "unpacked"
    with pytest.raises(BundleError) as unpacked:
        unpack_bundle(path, folder, **options)
    assert str(read.value) == str(unpacked.value) and "\n" not in str(read.value)
    assert not folder.exists() and not list(path.parent.glob(".unpacked*"))
    return str(read.value)


def test_it_holds_what_another_machine_needs(bundle_file: Path, tiny_engine: Path, tmp_path: Path) -> None:
    folder = unpack_bundle(bundle_file, tmp_path / "b").path
    assert {path.name for path in folder.iterdir()} == MEMBERS
    for name in ("model.onnx", "manifest.json", "golden.npz", "ranges.json"):
        assert (folder / name).read_bytes() == (tiny_engine / name).read_bytes()
    model = onnx.load(folder / "model.onnx")
    assert [function.name for function in model.functions] == ["UpsampleArgmax"], "the body that a plugin replaces"
    kinds = {node.op_type for node in onnx.load(folder / "int8.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    palette = json.loads((folder / "palette.json").read_text())
    assert [row["class"] for row in palette] == tiny.METADATA["classes"]
    assert [row["rgb"] for row in palette] == tiny.METADATA["palette"]
    recipe, ranges = read_recipe(folder / "recipe.toml"), Ranges.read(folder / "ranges.json")
    assert (recipe.model, recipe.data, recipe.frames) == ("tiny", "synthetic", 4)
    assert recipe.method == ranges.method
    with np.load(folder / "golden.npz") as golden:
        assert golden["frames"].shape == (1, 1, *tiny.SIZE_HW, 3)
    read_bundle(folder)


def test_the_same_engine_makes_the_same_bytes(bundle_file: Path, tiny_engine: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(tiny_engine, tmp_path / "elsewhere" / tiny_engine.name))
    for path in copied.iterdir():
        os.utime(path, (1, 1))
    assert write_bundle(copied, tmp_path / "again.edgefsa").path.read_bytes() == bundle_file.read_bytes()


def test_a_damaged_engine_makes_no_bundle(tiny_engine: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(tiny_engine, tmp_path / "engine"))
    (copied / "model.onnx").write_bytes(b"x")
    with pytest.raises(EngineError, match=r"model\.onnx was changed"):
        write_bundle(copied, tmp_path / "b.edgefsa")
    assert not (tmp_path / "b.edgefsa").exists()


def test_an_engine_of_before_its_ranges_were_kept(tiny_engine: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(tiny_engine, tmp_path / "engine"))
    (copied / "ranges.json").unlink()
    manifest = Manifest.read(copied)
    del manifest.files["ranges.json"]
    manifest.write(copied)
    with pytest.raises(EngineError, match=r"has no ranges\.json.*build it again"):
        write_bundle(copied, tmp_path / "b.edgefsa")


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_each_damaged_member_is_named(bundle_file: Path, rewrite: Rewrite, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(bundle_file) as archive:
        start = archive.getinfo(name).header_offset + 30 + len(name)
        middle = start + archive.getinfo(name).file_size // 2
    damaged = bytearray(bundle_file.read_bytes())
    damaged[middle] ^= 1
    (tmp_path / "damaged.edgefsa").write_bytes(damaged)
    assert f"{name} is damaged" in refusal(tmp_path / "damaged.edgefsa")

    def change(members: dict[str, bytes]) -> None:  # and by someone who mends the zip's own sums
        data = bytearray(members[name])
        data[len(data) // 2] ^= 1
        members[name] = bytes(data)

    # A changed index no longer fits some member, whichever it is about.
    assert ("changed after the bundle was made" if name == "bundle.json" else name) in refusal(rewrite(change))


def test_members_that_are_missing_or_of_another_size(rewrite: Rewrite) -> None:
    for name in sorted(MEMBERS - {"bundle.json"}):
        assert f"{name} has nothing" in refusal(rewrite(lambda members, name=name: members.pop(name)))
    assert "has no bundle.json" in refusal(rewrite(lambda members: members.pop("bundle.json")))
    longer = rewrite(lambda members: members.update({"golden.npz": members["golden.npz"] + b"x"}))
    assert "golden.npz has" in refusal(longer)


def test_a_member_that_the_index_does_not_list(rewrite: Rewrite) -> None:
    assert "'run.sh' is not in bundle.json" in refusal(rewrite(lambda members: members.update({"run.sh": b"rm -r ~"})))


def test_a_member_that_no_bundle_has(rewrite: Rewrite) -> None:
    """Listed, with its right hash: still nothing that edgefsa knows."""

    def change(members: dict[str, bytes]) -> None:
        members["sitecustomize.py"] = b"print('hello')"
        edit_index(members, lambda index: index["members"].update({"sitecustomize.py": facts_of(b"print('hello')")}))

    assert "the member 'sitecustomize.py', which no bundle has" in refusal(rewrite(change))


def facts_of(data: bytes) -> dict:
    return {"bytes": len(data), "sha256": sha256_of_bytes(data)}


def edit_index(members: dict[str, bytes], change: object) -> None:
    index = json.loads(members["bundle.json"])
    change(index)
    members["bundle.json"] = json.dumps(index).encode()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format 2, and this edgefsa reads 1"),
        ({"wheel": "../x.whl"}, "that is no name"),
        ({"wheel": "x.tar.gz"}, "members without their bytes"),
        ({"engine": 7}, "that is no name"),
        ({"members": []}, "members without their bytes"),
        ({"members": {"model.onnx": {"bytes": "1", "sha256": ""}}}, "members without their bytes"),
        ({"more": 1}, "other fields than an index has"),
        ({"wheel": "other.whl"}, "the member 'edgefsa-0.1.0-py3-none-any.whl', which no bundle has"),
    ],
)
def test_an_index_of_another_kind(rewrite: Rewrite, changes: dict, said: str) -> None:
    path = rewrite(lambda members: edit_index(members, lambda index: index.update(changes)))
    assert said in refusal(path)


def test_a_link_in_a_bundle_is_refused_by_its_name(bundle_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle_file) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    path = zip_of(tmp_path / "linked.edgefsa", members, mode=stat.S_IFLNK | 0o777)
    assert "'bundle.json' is a link" in refusal(path)


def test_a_folder_that_was_unpacked_is_checked_alike(bundle_file: Path, tmp_path: Path) -> None:
    folder = unpack_bundle(bundle_file, tmp_path / "b").path
    (folder / "golden.npz").rename(folder / "aside.npz")
    with pytest.raises(BundleError, match=r"golden\.npz is missing"):
        read_bundle(folder)
    (folder / "golden.npz").symlink_to("aside.npz")
    with pytest.raises(BundleError, match=r"golden\.npz is missing, or no plain file"):
        read_bundle(folder)
    (folder / "golden.npz").unlink()
    (folder / "golden.npz").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"golden\.npz was changed"):
        read_bundle(folder)
    with pytest.raises(BundleError, match="give a bundle, or the folder one was unpacked to"):
        read_bundle(tmp_path)


def test_unpacking_leaves_what_is_there(bundle_file: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("kept")
    with pytest.raises(EdgeFsaError, match="exists already"):
        unpack_bundle(bundle_file, tmp_path / "b")
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["mine"]
    unpack_bundle(bundle_file, tmp_path / "b", overwrite=True)
    assert {path.name for path in (tmp_path / "b").iterdir()} == MEMBERS


def test_signatures(bundle_file: Path, tiny_engine: Path, keys: Path, tmp_path: Path) -> None:
    signed = write_bundle(tiny_engine, tmp_path / "signed.edgefsa", sign_with=keys / "ann")
    assert signed.signed_by is not None and signed.signed_by.startswith("key SHA256:")
    assert read_bundle(signed.path, allowed_signers=keys / "allowed").signed_by == "ann@example.org"
    folder = unpack_bundle(signed.path, tmp_path / "b", allowed_signers=keys / "allowed").path
    assert read_bundle(folder, allowed_signers=keys / "allowed").signed_by == "ann@example.org"
    assert "is signed by none of" in refusal(signed.path, allowed_signers=keys / "other")
    assert "is not signed, and --allowed-signers demands it" in refusal(bundle_file, allowed_signers=keys / "allowed")


def test_a_signed_bundle_with_another_index_is_refused_before_its_members_are_read(
    tiny_engine: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = write_bundle(tiny_engine, tmp_path / "signed.edgefsa", sign_with=keys / "ann").path
    with zipfile.ZipFile(signed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    evil = members["edgefsa-0.1.0-py3-none-any.whl"] + b"evil"
    members["edgefsa-0.1.0-py3-none-any.whl"] = evil
    edit_index(members, lambda index: index["members"].update({index["wheel"]: facts_of(evil)}))
    path = zip_of(tmp_path / "evil.edgefsa", list(members.items()))
    monkeypatch.setattr(bundle_module.Archive, "sha256", None)  # no member is read
    assert "the signature of ann@example.org does not hold" in refusal(path, allowed_signers=keys / "allowed")
    assert "its signature does not hold" in refusal(path)
