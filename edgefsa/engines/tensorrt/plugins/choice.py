"""Which plugins an engine of TensorRT gets: of the library, as kernels in the engine, or none but the bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.tensorrt.plugins import aot_plugins
from edgefsa.engines.tensorrt.plugins.library import (
    LIBRARY_VARIABLE,
    NAMESPACE,
    PLUGINS,
    PluginLibrary,
    find_library,
    load_library,
)
from edgefsa.errors import EngineError, PluginError
from edgefsa.machine import driver_cuda

LIBRARY, KERNELS, NONE = "library", "kernels", "none"
# Where the plugins of an entry are, beside the library and the engine: the library's file lies in the plan.
PLAN = "plan"
_COMPARED = ("version", "tensorrt", "sha256")


@dataclass(frozen=True)
class PluginChoice:
    """The operators that become plugins, and why these; `kind` is "library", "kernels" or "none".

    `entries` are those of the engine's manifest: {"name", "version", "namespace", "where"} and what names the library.
    """

    kind: str
    why: str
    operators: tuple[str, ...] = ()
    entries: list[dict[str, Any]] = field(default_factory=list)
    library: PluginLibrary | None = None

    def serialized(self) -> PluginChoice:
        """Return the choice with the library's file inside the plan."""
        return replace(self, entries=[{**entry, "where": PLAN} for entry in self.entries])

    @property
    def take_int8(self) -> bool:
        """Whether the plugins read and write quantised maps; kernels inside an engine do not."""
        return self.kind == LIBRARY

    def register(self, tensorrt: Any, capability: str) -> None:
        """Let the module `tensorrt` know the plugins; PluginError where it cannot."""
        if self.library is not None:
            load_library(tensorrt, self.library)
        elif self.kind == KERNELS:
            aot_plugins.register_aot_plugins(tensorrt, capability, driver_cuda())


def choose_plugins(asked: str, operators: Sequence[str], tensorrt: str, capability: str) -> PluginChoice:
    """Choose for a graph with `operators`, a version of TensorRT and a GPU ("8.7").

    `asked` is "library", "kernels", "none", or "auto": the library where one serves, else the bodies, with the reason.
    Raises PluginError where what was asked for cannot be had.
    """
    if asked == NONE:
        return PluginChoice(NONE, "asked for")
    known = PLUGINS if asked != KERNELS else aot_plugins.OPERATORS
    chosen = tuple(name for name in operators if name in known)
    if not chosen:
        reason = f"the graph has none of {', '.join(known)}"
        if asked != "auto":
            raise PluginError(f"{reason}, so --plugins {asked} has nothing to do; leave it out")
        return PluginChoice(NONE, reason)
    if asked == KERNELS:
        return PluginChoice(KERNELS, "asked for", chosen, [_kernel_entry(name, capability) for name in chosen])
    try:
        library = find_library(tensorrt, capability)
    except PluginError as error:
        if asked != "auto":
            raise
        return PluginChoice(NONE, str(error))
    entries = [{**entry, "where": LIBRARY} for entry in library.as_manifest() if entry["name"] in chosen]
    return PluginChoice(LIBRARY, "asked for" if asked != "auto" else f"{library.path} serves", chosen, entries, library)


def _kernel_entry(name: str, capability: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": PLUGINS[name],
        "namespace": NAMESPACE,
        "where": "engine",
        "compute_capability": capability,
    }


def load_plugins(tensorrt: Any, manifest: Manifest, capability: str) -> None:
    """Load the library that an engine was built with, before its plan is read; nothing where it needs none.

    Raises EngineError where another library is found than the one in the manifest, PluginError where none is.
    """
    needed = [entry for entry in manifest.plugins if entry.get("where") == LIBRARY]
    if not needed:
        return
    library = find_library(tensorrt.__version__, capability)
    found = {entry["name"]: entry for entry in library.as_manifest()}
    for entry in needed:
        here = found.get(entry["name"], {})
        differing = [key for key in _COMPARED if here.get(key) != entry[key]]
        if differing:
            facts = ", ".join(f"{key} {_short(entry[key])} there and {_short(here.get(key))} here" for key in differing)
            raise EngineError(
                f"the engine was built with another plugin library than {library.path} ({entry['name']}: {facts}); set "
                f"{LIBRARY_VARIABLE} to the file it was built with, or rebuild it here with `edgefsa build`"
            )
    load_library(tensorrt, library)


def _short(value: object) -> str:
    return "none" if value is None else str(value)[:12]
