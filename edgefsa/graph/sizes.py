"""How much memory a graph's tensors take, by their shapes."""

from __future__ import annotations

import math

import onnx

from edgefsa.graph.files import inline_functions, largest_batch

_MB = 2**20


def weights_mb(model: onnx.ModelProto) -> float:
    """Return the size of a graph's stored tensors in MB (2**20 bytes)."""
    return sum(_bytes(item.data_type, item.dims) for item in model.graph.initializer) / _MB


def activations_mb(model: onnx.ModelProto) -> dict[str, float]:
    """Return tensor -> MB of all that the nodes of a graph make for the largest batch.

    The bodies of functions are included. A tensor whose type or shape cannot be inferred is left out.
    """
    graph = onnx.shape_inference.infer_shapes(inline_functions(largest_batch(model)), data_prop=True).graph
    known = [item for item in [*graph.value_info, *graph.output] if item.type.tensor_type.elem_type]
    types = {item.name: item.type.tensor_type for item in known}
    made = [name for node in graph.node for name in node.output if name in types]
    return {
        name: _bytes(types[name].elem_type, [dim.dim_value for dim in types[name].shape.dim]) / _MB for name in made
    }


def _bytes(element_type: int, shape: list[int]) -> int:
    return math.prod(shape) * int(onnx.helper.tensor_dtype_to_np_dtype(element_type).itemsize)
