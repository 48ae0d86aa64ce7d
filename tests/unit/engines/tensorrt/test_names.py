"""No name of TensorRT's Python API is used that one of the supported versions lacks."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from types import ModuleType

import pytest

from edgefsa.engines.tensorrt import builder as plan_build
from edgefsa.engines.tensorrt import rtx as tensorrt_rtx
from edgefsa.engines.tensorrt import session as plan_session
from edgefsa.engines.tensorrt import target as tensorrt
from edgefsa.engines.tensorrt import timing_cache
from edgefsa.engines.tensorrt import types as plan_types
from edgefsa.engines.tensorrt.plugins import library as plugin_library
from tests.unit.engines.tensorrt.played_machine import VERSIONS, names_of

# What the variables and attributes of our code hold, in the words of the API's list of names.
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "parser": "OnnxParser",
    "error": "ParserError",
    "layer": "ILayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "context": "IExecutionContext",
    "registry": "IPluginRegistry",
    "flags": "BuilderFlag",
    "kinds": "NetworkDefinitionCreationFlag",
}
SHARED = (plan_build, plan_session)
FULL = (*SHARED, plan_types, plugin_library, tensorrt, timing_cache)
RTX = (*SHARED, tensorrt_rtx)
# Only for networks that are not strongly typed, which TensorRT 11 and TensorRT for RTX do not have.
WEAK = {("ILayer", "precision"), ("ILayer", "set_output_type")}


def attribute_chains(module: ModuleType) -> set[tuple[str, ...]]:
    """Every dotted name in a module's code, as a tuple of its parts."""
    chains = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) and parts:
            chains.add((node.id, *parts))
    return chains


def used_names(module: ModuleType) -> set[tuple[str, str]]:
    """Return (class or "", name) of the API for each use in a module's code."""
    found = set()
    for chain in attribute_chains(module):
        for part, name, after in zip(chain, chain[1:], [*chain[2:], ""], strict=False):
            if part in ("tensorrt", "tensorrt_rtx") and not name.startswith("__"):
                found.update({("", name), (name, after)} if after else {("", name)})
            elif part.lstrip("_") in CLASSES and not (part == "error" and module is plugin_library):
                found.add((CLASSES[part.lstrip("_")], name))
    return found


@pytest.mark.parametrize(
    ("file", "modules"), [*[(f"tensorrt-{version}", FULL) for version in VERSIONS], ("tensorrt_rtx-1.7.1.116", RTX)]
)
def test_only_names_of_each_version_are_used(shared_dir: Path, file: str, modules: tuple[ModuleType, ...]) -> None:
    listed = json.loads((shared_dir / "tensorrt-api" / f"{file}.json").read_text())
    used = set().union(*(used_names(module) for module in modules))
    missing = {(owner, name) for owner, name in used if name not in (listed.get(owner, []) if owner else listed)}
    assert missing == (WEAK if file.startswith("tensorrt-11") else set())
    assert len(used) > 40 and ("IExecutionContext", "execute_async_v3") in used


@pytest.mark.parametrize("version", VERSIONS)
def test_names_that_are_looked_up_as_texts_exist_where_they_are_used(shared_dir: Path, version: str) -> None:
    """Creation and builder flags, layer types: test_tensorrt.py sees each used, and only where it is listed here."""
    listed = names_of(version, shared_dir)
    assert set(plan_types._HELPERS) <= set(listed["LayerType"])
    assert ("FP16" in listed["BuilderFlag"]) == (version != "11.4.0.106")
    assert ("PREFER_AOT_PYTHON_PLUGINS" in listed["NetworkDefinitionCreationFlag"]) == (version != "10.3.0")
