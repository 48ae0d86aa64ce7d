"""The ONNX graph as TensorRT takes it with plugins: an operator without its function body is a plugin node."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgefsa.engines.tensorrt.plugins.library import NAMESPACE, PLUGINS
from edgefsa.errors import PluginError
from edgefsa.graph.operators import DOMAIN, HALF_INDICES, INT8_SCALES, OPERATORS, UPSAMPLE_ARGMAX

if TYPE_CHECKING:
    import onnx

    from edgefsa.graph.editing import GraphEditor

# The parser of TensorRT looks a plugin up by a node's op_type and these attributes, never by its domain.
NAMESPACE_ATTRIBUTE = "plugin_namespace"
VERSION_ATTRIBUTE = "plugin_version"


def plugin_operators(model: onnx.ModelProto) -> list[str]:
    """List the operators of domain `edgefsa` in the main graph, each once, in graph order."""
    return list(dict.fromkeys(node.op_type for node in model.graph.node if node.domain == DOMAIN))


def plugin_graph(
    model: onnx.ModelProto, operators: Collection[str] | None = None, *, int8: bool = True
) -> onnx.ModelProto:
    """Return a copy of `model` in which `operators` (all that it has, by default) are plugin nodes.

    They compute in float32 inside whatever they read, so casts between float16 and float32 around them go away. The
    attention's out_weight goes into its value projection. With `int8`, as the library's plugins take it and kernels
    inside an engine do not, a DequantizeLinear before and a QuantizeLinear behind an operator on maps go into its node
    too, which reads and writes INT8 then. Class indices of float16 logits that are wanted as uint8 alone become
    float16, which takes one cast to uint8 in place of two. Raises PluginError for an operator without a plugin.
    """
    import onnx

    from edgefsa.graph.editing import GraphEditor

    chosen = set(plugin_operators(model) if operators is None else operators)
    unknown = sorted(chosen - set(PLUGINS))
    if unknown:
        raise PluginError(f"edgefsa has no plugin for {', '.join(unknown)}, only for {', '.join(PLUGINS)}")
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    types = _element_types(model)
    editor = GraphEditor(graph)
    for node in editor.nodes:
        if node.domain == DOMAIN and node.op_type in chosen:
            _fold_output(editor, node)
            attributes: dict[str, float | int] = {}
            if int8 and OPERATORS[node.op_type].keeps_type:
                attributes = dict.fromkeys(INT8_SCALES, 0.0) | _fold_quantisation(editor, node)
            _drop_casts(editor, node, types)
            if node.op_type == UPSAMPLE_ARGMAX.name:
                attributes = {HALF_INDICES: int(_halve_indices(editor, node, types))}
            _address(node, attributes)
    kept = [item for item in graph.functions if item.domain != DOMAIN or item.name not in chosen]
    del graph.functions[:]
    graph.functions.extend(kept)
    editor.drop_unused_tensors()
    return graph


def _address(node: onnx.NodeProto, attributes: Mapping[str, float | int]) -> None:
    """Write down everything that the parser asks for; it warns of attributes that are missing."""
    import onnx

    given = {item.name: item for item in node.attribute}
    for name, value in ((VERSION_ATTRIBUTE, PLUGINS[node.op_type]), (NAMESPACE_ATTRIBUTE, NAMESPACE)):
        given[name] = onnx.helper.make_attribute(name, value)
    for name, number in attributes.items():
        given.setdefault(name, onnx.helper.make_attribute(name, number))
    del node.attribute[:]
    node.attribute.extend(given.values())
    # An overload names one of several bodies; without bodies it means nothing.
    node.ClearField("overload")


def _fold_quantisation(editor: GraphEditor, node: onnx.NodeProto) -> dict[str, float]:
    """Let an operator between DequantizeLinear and QuantizeLinear read and write INT8; return its scales, if so."""
    before, readers = editor.producer(node.input[0]), editor.consumers(node.output[0])
    if before is None or len(readers) != 1 or editor.is_output(node.output[0]):
        return {}
    x_scale = _int8_scale(editor, before, "DequantizeLinear")
    y_scale = _int8_scale(editor, readers[0], "QuantizeLinear")
    if x_scale is None or y_scale is None:
        return {}
    source = node.input[0]
    node.input[0], node.output[0] = before.input[0], readers[0].output[0]
    editor.remove(readers[0])
    if not editor.consumers(source) and not editor.is_output(source):
        editor.remove(before)
    return dict(zip(INT8_SCALES, (x_scale, y_scale), strict=True))


def _fold_output(editor: GraphEditor, node: onnx.NodeProto) -> None:
    """Multiply the attention's out_weight into its value projection, in float64; [[1]] stands in its place then.

    The kernels have a product less to form. With fewer than half as many values as channels it would be a larger one.
    """
    places = {name: index for index, name in enumerate(OPERATORS[node.op_type].input_names)}
    folded = ("value_weight", "value_bias", "out_weight")
    if not all(name in places and editor.is_stored(node.input[places[name]]) for name in folded):
        return
    weight, bias, out = (editor.array(node.input[places[name]]).astype(np.float64) for name in folded)
    if out.size == 1 or 2 * out.shape[1] < out.shape[0]:
        return
    for name, array in zip(folded, (out @ weight, out @ bias, np.ones((1, 1))), strict=True):
        node.input[places[name]] = editor.store(node.input[places[name]], array.astype(np.float32))


def _int8_scale(editor: GraphEditor, node: onnx.NodeProto, kind: str) -> float | None:
    """Return the scale of a `kind` node where it is INT8 with one scale and zero point 0, else None."""
    if node.op_type != kind or len(node.input) < 3 or not all(editor.is_stored(name) for name in node.input[1:]):
        return None
    scale, zero = (editor.array(name) for name in node.input[1:])
    symmetric = zero.dtype == "int8" and scale.size == 1 and not zero.any()
    return float(scale.item()) if symmetric else None


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = [*inferred.input, *inferred.output, *inferred.value_info]
    return {item.name: item.type.tensor_type.elem_type for item in tensors}


def _drop_casts(editor: GraphEditor, node: onnx.NodeProto, types: dict[str, int]) -> None:
    """Let a node read float16 where its input was cast from it, if its output is only wanted as float16 too."""
    from onnx import TensorProto

    source, result = node.input[0], node.output[0]
    widening = editor.producer(source)
    if widening is None or widening.op_type != "Cast" or types.get(widening.input[0]) != TensorProto.FLOAT16:
        return
    if OPERATORS[node.op_type].keeps_type:
        readers = editor.consumers(result)
        halving = [item for item in readers if item.op_type == "Cast" and _target_of(item) == TensorProto.FLOAT16]
        if not readers or len(halving) != len(readers) or editor.is_output(result):
            return
        for cast in halving:
            if editor.is_output(cast.output[0]):
                return
        for cast in halving:
            editor.replace_input(cast.output[0], result)
            editor.remove(cast)
        _forget_shape(editor, result)
    node.input[0] = widening.input[0]
    if not editor.consumers(source) and not editor.is_output(source):
        editor.remove(widening)


def _halve_indices(editor: GraphEditor, node: onnx.NodeProto, types: dict[str, int]) -> bool:
    """Take out the float32 between class indices and their uint8, where nothing else reads either; return whether."""
    from onnx import TensorProto

    if types.get(node.input[0]) != TensorProto.FLOAT16:
        return False
    indices, widened = node.output[0], editor.consumers(node.output[0])
    if [_cast_target(item) for item in widened] != [TensorProto.FLOAT] or editor.is_output(indices):
        return False
    (widening,) = widened
    readers = editor.consumers(widening.output[0])
    if {_cast_target(item) for item in readers} != {TensorProto.UINT8} or editor.is_output(widening.output[0]):
        return False
    editor.replace_input(widening.output[0], indices)
    editor.remove(widening)
    _forget_shape(editor, indices)
    return True


def _cast_target(node: onnx.NodeProto) -> int | None:
    return _target_of(node) if node.op_type == "Cast" else None


def _target_of(cast: onnx.NodeProto) -> int:
    return int(next(item.i for item in cast.attribute if item.name == "to"))


def _forget_shape(editor: GraphEditor, tensor: str) -> None:
    # The tensor is float16 now, and its entry says float32.
    for item in [item for item in editor.graph.value_info if item.name == tensor]:
        editor.graph.value_info.remove(item)
