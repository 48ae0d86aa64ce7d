"""A float16 graph as one in float32 that rounds wherever the other does.

ONNX Runtime's CPU provider computes most float16 nodes in float32 and leaves out the roundings between them, so that it
shows neither what they cost nor where they overflow.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_HALF, _FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def rounding_in_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes each float16 node of `model` in float32 and rounds its results to float16.

    Tensors keep their names and become float32; a graph without float16 is returned as it is. Sums are those of float32
    accumulators, which is what tensor cores offer; overflow and subnormals of the results are float16's.
    """
    halves = _half_tensors(model)
    if not halves:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for item in graph.initializer:
        if item.data_type == _HALF:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float32), item.name))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _HALF:
                attribute.i = _FLOAT
        rounded = [name for name in node.output if name in halves]
        node.output[:] = [f"{name}/exact" if name in halves else name for name in node.output]
        nodes.append(node)
        for name in rounded:
            nodes.append(helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], f"{name}/rounded", to=_HALF))
            nodes.append(helper.make_node("Cast", [f"{name}/rounded"], [name], f"{name}/back", to=_FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return made


def _half_tensors(model: onnx.ModelProto) -> set[str]:
    """Return the float16 tensors that nodes of the main graph make."""
    if not any(item.data_type == _HALF for item in model.graph.initializer) and not any(
        node.op_type == "Cast" and any(item.name == "to" and item.i == _HALF for item in node.attribute)
        for node in model.graph.node
    ):
        return set()
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {item.name for item in inferred.value_info if item.type.tensor_type.elem_type == _HALF}
