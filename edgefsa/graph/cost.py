"""The multiply-accumulates of a graph, node by node."""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx

from edgefsa.graph.files import inline_functions, largest_batch
from edgefsa.metadata import LOGITS

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_PRODUCTS = ("MatMul", "Gemm")


def macs_by_node(model: onnx.ModelProto) -> dict[str, int]:
    """Return the multiply-accumulates of each convolution and matrix product that the logits depend on.

    Counted for the whole batch, the largest that a run may take, the products inside the frequency operators included.
    What resizes the logits to the frame is left out: it is written as two products only because that is fast, and no
    runtime converts it. A node whose shapes cannot be inferred is left out as well.
    """
    inlined = inline_functions(largest_batch(model))
    graph = onnx.shape_inference.infer_shapes(inlined, data_prop=True).graph
    shapes = {item.name: list(item.dims) for item in graph.initializer}
    for item in [*graph.input, *graph.value_info, *graph.output]:
        shapes.setdefault(item.name, [dim.dim_value for dim in item.type.tensor_type.shape.dim])
    counted = {
        node.name: _macs(node, shapes)
        for node in _up_to_logits(graph.node)
        if node.op_type in (*_CONVOLUTIONS, *_PRODUCTS)
    }
    return {name: macs for name, macs in counted.items() if macs}


def _up_to_logits(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes that `logits` is computed from, the last first."""
    wanted, found = {LOGITS}, []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(node.input)
    return found


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    left, right, made = (shapes.get(name, []) for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(made) * math.prod(right[1:]) if made and right else 0
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:]) if left and right else 0
    transposed = any(item.name == "transA" and item.i for item in node.attribute)
    return math.prod(made) * left[0 if transposed else -1] if made and left else 0
