"""Graphs that take several numbers of frames a run: their batch is a name instead of a number."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edgefsa.graph.editing import GraphEditor
from edgefsa.metadata import FRAMES

BATCH = "batch"
_COUNT = "frames/Shape"
# Where a stored shape stands among the inputs of a node.
_SHAPED_BY = {"Expand": 1, "Reshape": 1, "Resize": 3}


def free_batch(model: onnx.ModelProto) -> None:
    """Open the batch of a graph that was traced with a number of frames of two or more, in place.

    The number stands in the tensors' shapes, and in the stored shapes that some nodes read. Whoever calls this runs the
    graph with other batches afterwards: a number that hides elsewhere shows there.
    """
    graph = model.graph
    traced = graph.input[0].type.tensor_type.shape.dim[0].dim_value
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    batched = {item.name for item in [*graph.input, *inferred.value_info, *graph.output] if _first(item) == traced}
    editor = GraphEditor(model)
    nodes: list[onnx.NodeProto] = []
    for node in editor.nodes:
        at = _SHAPED_BY.get(node.op_type)
        if at is not None and at < len(node.input) and editor.is_stored(node.input[at]):
            carrier = node.output[0] if node.op_type == "Expand" else node.input[0]
            nodes += _free_shape(editor, node, at, traced) if carrier in batched else []
        nodes.append(node)
    if any(_COUNT in node.input for node in nodes):
        # Of the cast frames, as TensorRT lets uint8 meet nothing but Cast.
        at = next(index for index, node in enumerate(nodes) if FRAMES in node.input)
        nodes.insert(at + 1, helper.make_node("Shape", [nodes[at].output[0]], [_COUNT], _COUNT, start=0, end=1))
    editor.set_nodes(nodes)
    for item in [*graph.input, *graph.output, *graph.value_info]:
        if item.name in batched:
            item.type.tensor_type.shape.dim[0].dim_param = BATCH


def _free_shape(editor: GraphEditor, node: onnx.NodeProto, at: int, traced: int) -> list[onnx.NodeProto]:
    """Let a node read a shape that begins with the batch; return the node that makes it, if there is one."""
    shape = editor.array(node.input[at])
    if not shape.size or int(shape[0]) != traced:
        return []
    if node.op_type == "Reshape":  # a 0 copies what the input has there
        node.input[at] = editor.store(f"{node.name}.free_shape", np.array([0, *shape[1:]], np.int64))
        return []
    rest = editor.store(f"{node.name}.rest_of_shape", shape[1:])
    joined = helper.make_node("Concat", [_COUNT, rest], [f"{node.name}/Concat"], f"{node.name}/Concat", axis=0)
    node.input[at] = joined.output[0]
    return [joined]


def fixed_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return a copy of a graph in which an open batch is `batch`; one that is fixed keeps its own."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for item in [*fixed.graph.input, *fixed.graph.output, *fixed.graph.value_info]:
        for dim in item.type.tensor_type.shape.dim:
            if dim.dim_param == BATCH:
                dim.dim_value = batch
    return fixed


def _first(item: onnx.ValueInfoProto) -> int:
    dims = item.type.tensor_type.shape.dim
    return int(dims[0].dim_value) if dims else 0
