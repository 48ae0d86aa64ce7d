"""Finding, judging and loading plugin libraries: files that carry a note, and a registry that is played."""

from __future__ import annotations

import mmap
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgefsa.artifacts import sha256_of_file
from edgefsa.engines.tensorrt.plugins import library as plugin_library
from edgefsa.engines.tensorrt.plugins import sources as plugin_sources
from edgefsa.engines.tensorrt.plugins.library import (
    LIBRARY_NAME,
    PLUGINS,
    check_plugins,
    find_library,
    load_library,
    read_library,
)
from edgefsa.engines.tensorrt.plugins.sources import source_sha256
from edgefsa.errors import PluginError
from tests.unit.engines.tensorrt.plugins.library_files import write_library

PLUGINS_FOLDER = Path(__file__).parents[5] / "plugins"


pytestmark = pytest.mark.usefixtures("empty_places")


def test_the_note_is_read_from_the_files_bytes(tmp_path: Path) -> None:
    library = read_library(write_library(tmp_path / "x.so", architectures="87,75-real,120"))
    assert (library.tensorrt, library.cudart) == ("10.13.3", 12060)
    assert library.architectures == ("75-real", "87", "120")


@pytest.mark.parametrize("content", [b"", b"\x7fELF no note", b'edgefsa-plugins-note:{"tensorrt": 1}\0'])
def test_a_file_without_a_note_is_none_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.so"
    path.write_bytes(content)
    with pytest.raises(PluginError, match=r"other\.so"):
        read_library(path)


def test_a_library_that_is_not_built_says_how_to_build_it() -> None:
    with pytest.raises(PluginError, match=r"not built; run `make plugins`"):
        find_library("10.13.3.9")


@pytest.mark.parametrize("built", ["10.14.0", "9.3.0", "11.1.0"])
def test_a_library_for_another_tensorrt_is_told_apart(tmp_path: Path, built: str) -> None:
    write_library(tmp_path / "build" / LIBRARY_NAME, tensorrt=built)
    with pytest.raises(PluginError, match=rf"built for TensorRT {built}, and this is 10\.13\.3\.9; run `make"):
        find_library("10.13.3.9")


@pytest.mark.parametrize("built", ["10.13.3", "10.13.0", "10.3.0"])
def test_a_library_for_an_older_minor_version_serves(tmp_path: Path, built: str) -> None:
    path = write_library(tmp_path / "build" / LIBRARY_NAME, tensorrt=built)
    assert find_library("10.13.3.9", "8.7").path == path


def test_a_library_from_other_sources_is_told_apart(tmp_path: Path) -> None:
    write_library(tmp_path / "build" / LIBRARY_NAME, source="0" * 64)
    with pytest.raises(PluginError, match="other sources"):
        find_library("10.13.3.9")


def test_a_gpu_older_than_every_architecture_is_told_apart(tmp_path: Path) -> None:
    write_library(tmp_path / "build" / LIBRARY_NAME, architectures="87,89")
    with pytest.raises(PluginError, match=r"compute capability 8\.7, 8\.9, and this GPU has 7\.5"):
        find_library("10.13.3.9", "7.5")
    assert find_library("10.13.3.9", "12.0")


@pytest.mark.parametrize(
    ("architectures", "capability", "serves"),
    [
        ("87-real", "8.7", True),
        ("87-real", "8.9", True),
        ("87-real", "8.6", False),
        ("87-real", "9.0", False),
        ("87-real", "12.0", False),
        ("87-virtual", "12.0", True),
        ("87", "12.0", True),
        ("87", "8.6", False),
        ("75-real,87", "8.0", False),
        ("75-real,87", "7.5", True),
        ("87-real,89-virtual", "12.0", True),
    ],
)
def test_without_ptx_a_library_serves_gpus_of_the_same_major_version(
    tmp_path: Path, architectures: str, capability: str, serves: bool
) -> None:
    library = read_library(write_library(tmp_path / LIBRARY_NAME, architectures=architectures))
    fault = library.fault("10.13.3.9", capability)
    assert (fault is None) == serves
    assert fault is None or f"and this GPU has {capability}; run `make plugins`" in fault


def test_a_library_without_ptx_says_so(tmp_path: Path) -> None:
    library = read_library(write_library(tmp_path / LIBRARY_NAME, architectures="75-real,87-real"))
    assert "compute capability 7.5 without PTX, 8.7 without PTX, and" in str(library.fault("10.13.3.9", "9.0"))


def test_the_first_library_that_fits_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = write_library(tmp_path / "cache" / "plugins" / "key" / LIBRARY_NAME)
    write_library(tmp_path / "build" / LIBRARY_NAME, tensorrt="11.1.0")
    assert find_library("10.13.3.9").path == cached
    (tmp_path / "build" / LIBRARY_NAME).write_bytes(b"cut short")
    assert find_library("10.13.3.9").path == cached
    packaged = write_library(tmp_path / "package" / LIBRARY_NAME)
    assert find_library("10.13.3.9").path == packaged
    named = write_library(tmp_path / "named.so", tensorrt="11.1.0")
    monkeypatch.setenv(plugin_library.LIBRARY_VARIABLE, str(named))
    with pytest.raises(PluginError, match=r"named\.so was built for TensorRT 11\.1\.0"):
        find_library("10.13.3.9")


@dataclass
class Registry:
    """TensorRT's registry, as far as it is used; `holds` is what the library brings."""

    holds: list[str]
    accepts: bool = True
    all_creators: list[Any] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def load_library(self, path: str) -> object | None:
        self.loads.append(path)
        names = self.holds if self.accepts else []
        self.all_creators += [SimpleNamespace(name=n, plugin_version="1", plugin_namespace="edgefsa") for n in names]
        return object() if self.accepts else None


def tensorrt_with(registry: Registry) -> Any:
    return SimpleNamespace(get_plugin_registry=lambda: registry, __version__="10.13.3.9")


def test_a_library_is_loaded_once_and_its_plugins_are_checked(tmp_path: Path) -> None:
    library = read_library(write_library(tmp_path / LIBRARY_NAME))
    registry = Registry(list(PLUGINS))
    load_library(tensorrt_with(registry), library)
    load_library(tensorrt_with(registry), library)
    assert registry.loads == [str(library.path)]


def test_a_file_that_was_replaced_since_it_was_loaded_is_not_taken_for_it(tmp_path: Path) -> None:
    library = read_library(write_library(tmp_path / LIBRARY_NAME))
    registry = Registry(list(PLUGINS))
    load_library(tensorrt_with(registry), library)
    loaded = sha256_of_file(library.path)
    write_library(library.path, architectures="87,89")
    here = sha256_of_file(library.path)
    message = rf"has loaded .*{LIBRARY_NAME} \({loaded[:12]}\).* another one now \({here[:12]}\); start a new process"
    with pytest.raises(PluginError, match=message):
        load_library(tensorrt_with(registry), read_library(library.path))
    # The same bytes at another place are the same plugins.
    write_library(library.path)
    load_library(tensorrt_with(registry), read_library(shutil.copy(library.path, tmp_path / "copy.so")))
    assert registry.loads == [str(library.path)]


def test_plugins_of_an_unknown_file_are_not_taken_for_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_library, "_loaded", None)
    library = read_library(write_library(tmp_path / LIBRARY_NAME))
    registry = Registry(list(PLUGINS))
    registry.load_library("somewhere")
    with pytest.raises(PluginError, match=f"of no known file; start a new process for .*{LIBRARY_NAME}"):
        load_library(tensorrt_with(registry), library)
    with library.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        load_library(tensorrt_with(registry), library)
        write_library(tmp_path / "new.so", architectures="89").replace(library.path)
        with pytest.raises(PluginError, match="of no known file"):
            load_library(tensorrt_with(registry), library)


def test_a_library_without_an_operator_is_refused(tmp_path: Path) -> None:
    library = read_library(write_library(tmp_path / LIBRARY_NAME))
    with pytest.raises(PluginError, match="no plugin is registered for SpectralMask"):
        load_library(tensorrt_with(Registry(["TruncatedDctAttention", "UpsampleArgmax"])), library)
    with pytest.raises(PluginError, match=r"TensorRT 10\.13\.3\.9 refuses"):
        load_library(tensorrt_with(Registry(list(PLUGINS), accepts=False)), library)


def test_an_operator_that_has_no_plugin_is_named() -> None:
    registry = Registry(list(PLUGINS))
    registry.load_library("")
    check_plugins(tensorrt_with(registry), PLUGINS)
    with pytest.raises(PluginError, match=r"for WaveletMask .* TruncatedDctAttention, SpectralMask, UpsampleArgmax"):
        check_plugins(tensorrt_with(registry), ["SpectralMask", "WaveletMask"])


def test_the_manifest_names_plugins_versions_and_the_hash(tmp_path: Path) -> None:
    path = write_library(tmp_path / LIBRARY_NAME)
    entries = read_library(path).as_manifest()
    assert {(entry["name"], entry["version"]) for entry in entries} == set(PLUGINS.items())
    assert {entry["sha256"] for entry in entries} == {sha256_of_file(path)}


def test_the_plugins_are_those_that_the_export_writes() -> None:
    from edgefsa.graph import functions

    assert {functions.upsample_argmax().name, functions.spectral_mask().name} < set(PLUGINS)
    assert functions.truncated_dct_attention("linsoftmax", 2).name in PLUGINS


def test_cmake_computes_the_same_hash_over_the_sources(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake; there is none on the PATH")
    script = tmp_path / "hash.cmake"
    script.write_text(
        f'set(CMAKE_CURRENT_SOURCE_DIR "{PLUGINS_FOLDER}")\ninclude("{PLUGINS_FOLDER}/cmake/sources.cmake")\n'
        'message("${source_sha256}")\n'
    )
    done = subprocess.run(["cmake", "-P", str(script)], capture_output=True, text=True, cwd=PLUGINS_FOLDER)
    assert done.stderr.split()[-1] == source_sha256()


def test_the_hash_changes_with_any_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PLUGINS_FOLDER, tmp_path / "plugins")
    monkeypatch.setattr(plugin_sources, "sources_folder", lambda: tmp_path / "plugins")
    before = source_sha256.__wrapped__()
    assert before == source_sha256()
    (tmp_path / "plugins" / "tensorrt" / "README.md").write_text("no source")
    assert source_sha256.__wrapped__() == before
    types = tmp_path / "plugins" / "kernels" / "types.h"
    types.write_text(types.read_text() + "\n")
    assert source_sha256.__wrapped__() != before


@pytest.mark.parametrize("capability", ["87", "sm_87", "8.x", ""])
def test_a_compute_capability_that_is_none_is_told(capability: str) -> None:
    with pytest.raises(PluginError, match=r"the compute capability is .*; give one as 8\.7"):
        find_library("10.13.3.9", capability)
