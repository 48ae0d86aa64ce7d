"""The library of TensorRT plugins: find it, tell whether it fits, load it, and check what it registered.

Looked for in this order: the file that EDGEFSA_PLUGIN_LIBRARY names (then nothing else is tried), the one that
`pip install .` put into the package, the one that `make plugins` left in the checkout, the cache of
`plugin_build.build_library`. Each library carries a note of what it was made of, which is read from the file's bytes.
"""

from __future__ import annotations

import importlib.metadata
import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefsa.artifacts import sha256_of_file
from edgefsa.cache import cache_folder
from edgefsa.engines.tensorrt.plugins.sources import checkout_build_folder, source_sha256
from edgefsa.errors import PluginError
from edgefsa.graph.operators import OPERATORS

LIBRARY_NAME = "libedgefsa_plugins.so"
LIBRARY_VARIABLE = "EDGEFSA_PLUGIN_LIBRARY"
# ONNX operator -> version of its plugin. The ONNX parser looks for them where a node's attributes say.
PLUGINS = {name: item.plugin_version for name, item in OPERATORS.items()}
NAMESPACE = "edgefsa"
MEND = "run `make plugins` in a checkout, or `edgefsa plugins --build`"

_NOTE = re.compile(rb"edgefsa-plugins-note:(\{[^\x00]*\})\x00")


@dataclass(frozen=True)
class PluginLibrary:
    """A library file and its note: TensorRT's version, CUDA's as 12060, architectures as CMake has them, sources' hash.

    An architecture is "87", or "87-real" without PTX, or "87-virtual" with PTX alone.
    """

    path: Path
    tensorrt: str
    cudart: int
    architectures: tuple[str, ...]
    source_sha256: str

    def fault(self, tensorrt: str | None, capability: str | None = None) -> str | None:
        """Return why it does not serve a TensorRT ("10.13.3.9") on a GPU ("8.9"), None for any; None where it does."""
        if tensorrt is not None and not serves(self.tensorrt, tensorrt):
            return f"{self.path} was built for TensorRT {self.tensorrt}, and this is {tensorrt}; {MEND}"
        if self.source_sha256 != source_sha256():
            return f"{self.path} was built from other sources than these of edgefsa; {MEND}"
        if capability is not None and not any(_runs_on(item, capability) for item in self.architectures):
            made_for = ", ".join(map(_capability_text, self.architectures))
            return f"{self.path} was built for compute capability {made_for}, and this GPU has {capability}; {MEND}"
        return None

    def as_manifest(self) -> list[dict[str, Any]]:
        """Return one entry per plugin for an engine's manifest."""
        digest = sha256_of_file(self.path)
        return [
            {"name": name, "version": version, "namespace": NAMESPACE, "tensorrt": self.tensorrt, "sha256": digest}
            for name, version in PLUGINS.items()
        ]


@dataclass(frozen=True)
class _Loaded:
    """A library that this process has loaded, and the hash that its file had then."""

    path: Path
    sha256: str


# TensorRT neither unloads a library nor says where a plugin came from.
_loaded: _Loaded | None = None


def serves(built: str, running: str) -> bool:
    """Return whether plugins for one version of TensorRT can be loaded by another.

    TensorRT keeps the plugin interface within a major version, so an older minor one will do.
    """
    return major_minor(built)[0] == major_minor(running)[0] and major_minor(built) <= major_minor(running)


def architecture_number(capability: str) -> int:
    """Return the compute capability "8.7" as CMake and nvcc count it, 87; PluginError for another text."""
    if re.fullmatch(r"\d+\.\d", capability) is None:
        raise PluginError(f"the compute capability is {capability!r}; give one as 8.7")
    return int(capability.replace(".", ""))


def _runs_on(architecture: str, capability: str) -> bool:
    """Return whether code for one architecture runs on a GPU: PTX on every newer one, machine code within its major."""
    built, running = _number_of(architecture), architecture_number(capability)
    return built <= running and (not architecture.endswith("-real") or built // 10 == running // 10)


def _capability_text(architecture: str) -> str:
    text = f"{_number_of(architecture) / 10:.1f}"
    return f"{text} without PTX" if architecture.endswith("-real") else text


def _number_of(architecture: str) -> int:
    return int(architecture.partition("-")[0])


def read_library(path: str | Path) -> PluginLibrary:
    """Read the note of a library without loading it; PluginError where the file is missing, or is none of ours."""
    path = Path(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _NOTE.search(data)
            note = json.loads(found[1]) if found else {}
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise PluginError(f"cannot read the plugin library {path}: {reason}; {MEND}") from None
    try:
        architectures = tuple(sorted(note["architectures"].split(","), key=_number_of))
        return PluginLibrary(path, note["tensorrt"], int(note["cudart"]), architectures, note["source_sha256"])
    except (KeyError, ValueError, AttributeError):
        raise PluginError(f"{path} is no plugin library of edgefsa; {MEND}") from None


def find_library(tensorrt: str | None, capability: str | None = None) -> PluginLibrary:
    """Return the first library that serves this TensorRT and GPU, each None for any: kernels need no TensorRT.

    Raises PluginError: the library is not built, or the first one found is damaged, or was built for another
    TensorRT, another GPU or from other sources.
    """
    if capability is not None:
        architecture_number(capability)
    faults = []
    for path in _candidates():
        try:
            library = read_library(path)
        except PluginError as error:  # a damaged one may lie before one that fits
            faults.append(str(error))
            continue
        fault = library.fault(tensorrt, capability)
        if fault is None:
            return library
        faults.append(fault)
    raise PluginError(faults[0] if faults else f"the plugin library is not built; {MEND}")


def _candidates() -> Iterator[Path]:
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        yield Path(named)
        return
    fixed = [Path(__file__).parent / LIBRARY_NAME]
    build = checkout_build_folder()
    if build is not None:
        fixed.append(build / LIBRARY_NAME)
    yield from (path for path in fixed if path.is_file())
    yield from sorted(cache_folder("plugins").glob(f"*/{LIBRARY_NAME}"))


def load_library(tensorrt: Any, library: PluginLibrary) -> None:
    """Load a library into the registry of the module `tensorrt`, and check its plugins; a loaded one stays as it is.

    Raises PluginError where TensorRT refuses it, a plugin is not registered afterwards, or the plugins that are
    registered in this process already are not this file's.
    """
    global _loaded
    registry, wanted = tensorrt.get_plugin_registry(), _Loaded(library.path, sha256_of_file(library.path))
    if not missing_plugins(registry, PLUGINS):
        _check_loaded(wanted)
        return
    if registry.load_library(str(library.path)) is None:
        raise PluginError(
            f"TensorRT {tensorrt.__version__} refuses the plugin library {library.path} (is a part of it loaded "
            f"already?); {MEND}"
        )
    check_plugins(tensorrt, PLUGINS)
    _loaded = wanted


def _check_loaded(wanted: _Loaded) -> None:
    """Raise PluginError where the plugins that this process has are of another file than `wanted`."""
    another = f"start a new process for {wanted.path}"
    if _loaded is None:
        # Somebody else registered them: as a dynamic plugin of a tool, or linked into the program.
        if str(Path(wanted.path).resolve()) not in _mapped_files():
            raise PluginError(f"plugins of these names are registered in this process, of no known file; {another}")
    elif _loaded.sha256 != wanted.sha256:
        raise PluginError(
            f"this process has loaded the plugin library {_loaded.path} ({_loaded.sha256[:12]}), and "
            f"{wanted.path} is another one now ({wanted.sha256[:12]}); {another}"
        )


def _mapped_files() -> set[str]:
    """Return the files in this process's memory; the name of one that was replaced since ends in " (deleted)"."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {fields[5] for fields in (line.split(maxsplit=5) for line in lines) if len(fields) == 6}


def check_plugins(tensorrt: Any, operators: Iterable[str]) -> None:
    """Raise PluginError naming the operators that no registered plugin computes."""
    missing = missing_plugins(tensorrt.get_plugin_registry(), operators)
    if missing:
        raise PluginError(
            f"no plugin is registered for {', '.join(missing)} (version {PLUGINS.get(missing[0], '1')}); edgefsa has "
            f"plugins for {', '.join(PLUGINS)}: update edgefsa, then {MEND}"
        )


def missing_plugins(registry: Any, operators: Iterable[str]) -> list[str]:
    """Return the operators for which a registry has no plugin in our namespace."""
    # Not get_creator: it logs an error for each plugin that is not there.
    registered = {(item.name, item.plugin_version, item.plugin_namespace) for item in registry.all_creators}
    return [name for name in operators if (name, PLUGINS.get(name, "1"), NAMESPACE) not in registered]


def library_facts(capability: str | None = None) -> dict[str, Any]:
    """Say for the doctor which library would be used: {"path", "tensorrt", "architectures", "why_not"}.

    Raises PluginError where `capability` is none.
    """
    if capability is not None:
        architecture_number(capability)
    running = tensorrt_version()
    facts: dict[str, Any] = {"path": None, "tensorrt": None, "architectures": None, "why_not": None}
    if not running:
        return {**facts, "why_not": "the package tensorrt is not installed, and only it uses them"}
    try:
        library = find_library(running, capability)
    except PluginError as error:
        return {**facts, "why_not": str(error)}
    found = {"path": str(library.path), "tensorrt": library.tensorrt, "architectures": list(library.architectures)}
    return {**facts, **found}


def tensorrt_version() -> str:
    """Return the version of the installed Python package tensorrt, or ""; pip also has it by its CUDA's version."""
    for name in ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def major_minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version, "10.13.3.9" as (10, 13)."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
