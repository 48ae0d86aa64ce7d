"""A tiny INT8 engine, its bundle, and zips as no bundle is made."""

from __future__ import annotations

import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgefsa.build import calibrate_onnx, frames_for_proof
from edgefsa.deploy.bundle import write_bundle
from edgefsa.engines import build_engine
from edgefsa.graph.files import read_graph
from tests.unit.engines import tiny

Rewrite = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An INT8 engine of a network of a few channels, for ONNX Runtime; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    onnx.save(tiny.tiny_graph(), folder / "m.onnx")
    graph = read_graph(folder / "m.onnx")
    ranges = calibrate_onnx(graph, "synthetic", frames=4)

    def frames() -> Any:
        return frames_for_proof("synthetic", graph.metadata)

    return build_engine(graph, folder, precision="int8", target="onnxruntime", ranges=ranges, frames=frames).engine


@pytest.fixture(scope="session")
def bundle_file(tiny_engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle, not signed; not to be changed."""
    return write_bundle(tiny_engine, tmp_path_factory.mktemp("bundle") / "tiny.edgefsa").path


@pytest.fixture
def rewrite(bundle_file: Path, tmp_path: Path) -> Rewrite:
    """Write the bundle's zip anew with `change` done to its members, a dict of bytes by name."""

    def write(change: Callable[[dict[str, bytes]], object]) -> Path:
        with zipfile.ZipFile(bundle_file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        change(members)
        return zip_of(tmp_path / "changed.edgefsa", list(members.items()))

    return write


def zip_of(path: Path, members: list[tuple[str, bytes]], *, mode: int = stat.S_IFREG | 0o644, method: int = 0) -> Path:
    """Write a zip of members in this order, also of names and kinds that `write_archive` refuses to make."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            archive.writestr(info, data)
    return path


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two ssh keys, ann and bob, and allowed signers: `allowed` has ann, `other` has bob."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            pytest.skip("needs ssh-keygen: apt install openssh-client")
    for file, name in (("allowed", "ann"), ("other", "bob")):
        (folder / file).write_text(f"{name}@example.org {(folder / f'{name}.pub').read_text()}")
    return folder
