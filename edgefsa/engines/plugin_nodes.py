"""The ONNX graph as TensorRT takes it with plugins: an operator without its function body is a plugin node."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from edgefsa.engines.plugin_library import PLUGINS
from edgefsa.errors import PluginError

if TYPE_CHECKING:
    import onnx

# The parser of TensorRT looks a plugin up by a node's op_type and these attributes, never by its domain.
NAMESPACE_ATTRIBUTE = "plugin_namespace"
VERSION_ATTRIBUTE = "plugin_version"


def plugin_operators(model: onnx.ModelProto) -> list[str]:
    """List the operators of domain `edgefsa` in the main graph that have a plugin, each once, in graph order."""
    from edgefsa.export.graph import DOMAIN

    return list(dict.fromkeys(node.op_type for node in model.graph.node if node.domain == DOMAIN))


def plugin_graph(
    model: onnx.ModelProto, operators: Collection[str] | None = None, *, namespace: str = ""
) -> onnx.ModelProto:
    """Give a copy of `model` in which `operators` (all that it has, by default) are plugin nodes.

    `namespace` is where their plugins are registered: "" for the plugin library, `aot_plugins.NAMESPACE` for the
    plugins whose kernels go into the engine. Raises PluginError for an operator without a plugin.
    """
    import onnx

    from edgefsa.export.graph import DOMAIN

    chosen = set(plugin_operators(model) if operators is None else operators)
    unknown = sorted(chosen - set(PLUGINS))
    if unknown:
        raise PluginError(f"edgefsa has no plugin for {', '.join(unknown)}, only for {', '.join(PLUGINS)}")
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    for node in graph.graph.node:
        if node.domain == DOMAIN and node.op_type in chosen:
            _address(node, namespace)
    kept = [item for item in graph.functions if item.domain != DOMAIN or item.name not in chosen]
    del graph.functions[:]
    graph.functions.extend(kept)
    return graph


def _address(node: onnx.NodeProto, namespace: str) -> None:
    import onnx

    kept = [item for item in node.attribute if item.name not in (NAMESPACE_ATTRIBUTE, VERSION_ATTRIBUTE)]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.append(onnx.helper.make_attribute(VERSION_ATTRIBUTE, PLUGINS[node.op_type]))
    node.attribute.append(onnx.helper.make_attribute(NAMESPACE_ATTRIBUTE, namespace))
    # An overload names one of several bodies; without bodies it means nothing.
    node.ClearField("overload")
