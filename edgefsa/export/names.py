"""Readable, stable names for a traced graph, and nothing in it of the machine that traced it.

A node is called after the module it came from and its operator, `layer1.0.conv1/Conv`; so is its output, and a
second one of the same name gets `_1`. Stored tensors keep their names in the module's state dict.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx

from edgefsa.graph.editing import unique_name

PREFIX = "network."  # of the names of parameters in a traced graph
_SCOPES = "pkg.torch.onnx.name_scopes"


def rename(model: onnx.ModelProto) -> None:
    """Rename nodes and tensors of the main graph; its inputs and outputs keep their names."""
    graph = model.graph
    renamed = {item.name: item.name for item in [*graph.input, *graph.output]}
    taken = set(renamed)
    for item in graph.initializer:
        if item.name.startswith(PREFIX):
            _choose(renamed, taken, item.name, item.name.removeprefix(PREFIX))
    node_names: set[str] = set()
    for node in graph.node:
        path = _module_path(node)
        node.name = unique_name(f"{path}/{node.op_type}" if path else node.op_type, node_names)
        node_names.add(node.name)
        for index, output in enumerate(node.output):
            if output and output not in renamed:
                _choose(renamed, taken, output, f"{node.name}.{index}" if index else node.name)
        _name_constants(node, {item.name for item in graph.initializer}, renamed, taken)
    _apply(graph, renamed)


def _choose(renamed: dict[str, str], taken: set[str], old: str, new: str) -> None:
    renamed[old] = unique_name(new, taken)
    taken.add(renamed[old])


def _name_constants(node: onnx.NodeProto, stored: set[str], renamed: dict[str, str], taken: set[str]) -> None:
    """Name stored tensors that are no parameters after their first reader and what it calls them."""
    for index, name in enumerate(node.input):
        if name in stored and name not in renamed:
            formal = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs if not node.domain else []
            label = formal[min(index, len(formal) - 1)].name if formal else str(index)
            _choose(renamed, taken, name, f"{node.name}.{label}")


def _module_path(node: onnx.NodeProto) -> str:
    parameters = [name for name in node.input if name.startswith(PREFIX)]
    if parameters:
        return str(parameters[0]).removeprefix(PREFIX).rpartition(".")[0]
    scopes = next((item.value for item in node.metadata_props if item.key == _SCOPES), "[]")
    modules = ast.literal_eval(scopes)[:-1]
    return (str(modules[-1]) + ".").removeprefix(PREFIX).rstrip(".") if modules else ""


def _apply(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for item in [*graph.initializer, *graph.value_info]:
        item.name = renamed.get(item.name, item.name)


def strip_provenance(model: onnx.ModelProto) -> None:
    """Remove what the exporter noted about source files, stack traces and its own graph."""
    graph = model.graph
    for item in [model, graph, *_parts(graph)]:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    for name in ("producer_name", "producer_version", "domain"):
        model.ClearField(name)
    graph.name = "edgefsa"


def _parts(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto | onnx.TensorProto | onnx.ValueInfoProto]:
    yield from graph.node
    yield from graph.initializer
    yield from [*graph.input, *graph.output, *graph.value_info]
