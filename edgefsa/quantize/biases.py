"""Biases as ONNX Runtime's integer kernels add them: int32, in steps of activation scale x weight scale.

A convolution's bias is rounded so by ONNX Runtime's own optimiser. A matrix product with a float bias it computes in
float altogether (the addition is merged into a float Gemm before Q/DQ pairs are looked for), so the graph has these
biases rounded. Such a step is far below one of the result's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import helper

from edgefsa.graph.editing import GraphEditor, int_attribute
from edgefsa.quantize.placement import with_bias

# Half of int32's range; the other half is for the sum of products that a bias is added to.
LARGEST_BIAS = 2**30
Operand = tuple[onnx.NodeProto, int]  # a node and the index of its input


def integer_biases(
    editor: GraphEditor, model: onnx.ModelProto, chosen: Collection[str], scales: Mapping[str, float]
) -> None:
    """Round the biases of the matrix products named in `chosen`, whose weights are dequantised already.

    `model` is the float graph, `scales` are those of the tensors that the nodes read. A channel of next to no weight
    whose bias would overflow, of a convolution too, gets a larger weight scale. A product of two-dimensional tensors
    without a bias becomes a Gemm: ONNX Runtime would make a float Gemm of it and whatever is added to its result.
    """
    nodes = [node for node in editor.nodes if node.name in chosen]
    ranks = _ranks(model) if any(node.op_type == "MatMul" for node in nodes) else {}
    biases = {node.name: operand for node in nodes if (operand := _bias_of(editor, node)) is not None}
    # All before the first is rounded: nodes may share a weight.
    for node in nodes:
        if node.name in biases:
            _make_room(editor, node, biases[node.name], scales[node.input[0]])
    made = []
    for node in editor.nodes:
        if node.name in chosen and node.op_type != "Conv":
            if node.name in biases:
                made.append(_rounded(editor, node, biases[node.name], scales[node.input[0]]))
            elif node.op_type == "MatMul" and ranks.get(node.input[0]) == 2:
                node.op_type = "Gemm"
        made.append(node)
    editor.set_nodes(made)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = [*graph.input, *graph.value_info, *graph.output]
    return {
        item.name: len(item.type.tensor_type.shape.dim) for item in tensors if item.type.tensor_type.HasField("shape")
    }


def _bias_of(editor: GraphEditor, node: onnx.NodeProto) -> Operand | None:
    """Return where a stored vector, one number per output channel, is added to the result of a node."""
    adding = with_bias(editor, node)
    stored = [index for index, name in enumerate(adding.input) if editor.is_stored(name)]
    if not stored:
        return None
    channels = editor.array(_dequantised(editor, node).input[1]).shape
    return (adding, stored[0]) if editor.array(adding.input[stored[0]]).shape == channels else None


def _dequantised(editor: GraphEditor, node: onnx.NodeProto) -> onnx.NodeProto:
    """Return the DequantizeLinear node of a weight, whose inputs are its integers and a scale per output channel."""
    source = editor.producer(node.input[1])
    assert source is not None and source.op_type == "DequantizeLinear", node.name
    return source


def _make_room(editor: GraphEditor, node: onnx.NodeProto, operand: Operand, activation_scale: float) -> None:
    source = _dequantised(editor, node)
    values, scale, bias = (
        editor.array(name).astype(np.float64) for name in (*source.input[:2], operand[0].input[operand[1]])
    )
    larger = np.maximum(scale, np.abs(bias) / (activation_scale * LARGEST_BIAS))
    if (larger == scale).all():
        return
    shape = [1] * values.ndim
    shape[int_attribute(source, "axis", 1)] = -1
    rounded = np.rint(values * (scale / larger).reshape(shape)).astype(np.int8)
    for name in source.input[:2]:
        editor.discard(name)
    editor.store(source.input[0], rounded)
    editor.store(source.input[1], larger.astype(np.float32))


def _rounded(editor: GraphEditor, node: onnx.NodeProto, operand: Operand, activation_scale: float) -> onnx.NodeProto:
    """Store a bias in integers, let its reader read them dequantised, and return the node that does that."""
    reader, index = operand
    scale = np.float32(activation_scale) * editor.array(_dequantised(editor, node).input[1]).astype(np.float32)
    steps = np.rint(editor.array(reader.input[index]).astype(np.float64) / np.where(scale > 0, scale, 1.0))
    name = f"{node.name}/Bias"
    inputs = [editor.store(f"{name}.int32", steps.astype(np.int32)), editor.store(f"{name}.scale", scale)]
    reader.input[index] = name
    return helper.make_node("DequantizeLinear", inputs, [name], name, axis=0)
