"""Sixteen-bit floats in the ONNX file itself, as strongly typed networks need them.

Norms, frequency operators, softmax, the classifier, the normalisation of the frames and what float16 cannot hold
stay in float32; the graph's inputs and outputs keep their types.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgefsa.errors import GraphError
from edgefsa.export.editing import GraphEditor
from edgefsa.export.graph import FRAMES, LOGITS
from edgefsa.quantize.placement import MULTIPLYING, reason_for_precision
from edgefsa.quantize.ranges import Ranges

# An activation this large leaves float16 only three bits before it overflows at 65504.
LARGEST_AMAX = 8192.0
_LARGEST_HALF = float(np.finfo(np.float16).max)


def fp16_onnx(model: onnx.ModelProto, ranges: Ranges | None = None) -> onnx.ModelProto:
    """Give `model` with float16 weights and activations where that is safe; `model` stays as it is.

    A node with a stored value beyond 65504 stays in float32, and with `ranges` (of the same network) one that reads
    or makes a tensor above 8192 as well. Raises RangesError where the ranges are of another network.
    """
    if ranges is not None:
        ranges.check(model)
    half = onnx.ModelProto()
    half.CopyFrom(model)
    editor = GraphEditor(half)
    types = _types(model)
    wide = set(wide_tensors(ranges)) if ranges is not None else set()
    chosen = {node.name for node in _half_nodes(editor, types, wide)}
    _convert(editor, types, chosen)
    editor.drop_unused_tensors()
    # Shapes of tensors that changed type would contradict it.
    del half.graph.value_info[:]
    half.graph.value_info.extend(item for item in model.graph.value_info if item.name == LOGITS)
    return half


def wide_tensors(ranges: Ranges) -> list[str]:
    """Name the tensors that are too large for float16 by their ranges."""
    return [name for name, item in ranges.tensors.items() if item["amax"] > LARGEST_AMAX]


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Give the element type of every tensor of the main graph."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {item.name: item.data_type for item in inferred.initializer}
    tensors = [*inferred.input, *inferred.output, *inferred.value_info]
    return {item.name: item.type.tensor_type.elem_type for item in tensors} | types


def _half_nodes(editor: GraphEditor, types: dict[str, int], wide: set[str]) -> list[onnx.NodeProto]:
    raw = {FRAMES}  # pixels on their way to the first weight: integers above 2048 and the mean need float32
    chosen = []
    for node in editor.nodes:
        sources = [name for name in node.input if name and not editor.is_stored(name)]
        if node.op_type not in MULTIPLYING and raw.issuperset(sources):
            raw.update(node.output)
            continue
        is_float = node.output and types.get(node.output[0]) == TensorProto.FLOAT
        plain = node.op_type != "Cast" and reason_for_precision(node) is None and LOGITS not in node.output
        if is_float and plain and _fits(editor, node) and not wide.intersection([*node.input, *node.output]):
            chosen.append(node)
    return chosen


def _fits(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    stored = [editor.array(name) for name in node.input if editor.is_stored(name)]
    return all(float(np.abs(array).max(initial=0)) <= _LARGEST_HALF for array in stored if array.dtype == np.float32)


def _convert(editor: GraphEditor, types: dict[str, int], chosen: set[str]) -> None:
    nodes: list[onnx.NodeProto] = []
    halved: set[str] = set()  # tensors that are float16 now
    casts: dict[str, str] = {}
    for node in editor.nodes:
        wanted = TensorProto.FLOAT16 if node.name in chosen else TensorProto.FLOAT
        for index in _data_inputs(node) if node.name in chosen else range(len(node.input)):
            name = node.input[index]
            if types.get(name) != TensorProto.FLOAT or (name in halved) == (wanted == TensorProto.FLOAT16):
                continue
            if name not in casts:
                casts[name] = _stored_half(editor, name) if editor.is_stored(name) else _cast(nodes, name, wanted)
            node.input[index] = casts[name]
        nodes.append(node)
        if node.name in chosen:
            halved.update(name for name in node.output if types.get(name) == TensorProto.FLOAT)
    for item in editor.graph.output:
        if item.name in halved:
            raise GraphError(f"the output {item.name} would become float16; export the model again for an fp16 build")
    editor.set_nodes(nodes)


def _data_inputs(node: onnx.NodeProto) -> list[int]:
    """Give the inputs that have the type of the first one; the scales of a Resize, for one, stay float32."""
    formal = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs
    kinds = [formal[min(index, len(formal) - 1)].type_str for index in range(len(node.input))]
    return [index for index, kind in enumerate(kinds) if kind == kinds[0]]


def _stored_half(editor: GraphEditor, name: str) -> str:
    return editor.store(f"{name}.fp16", editor.array(name).astype(np.float16))


def _cast(nodes: list[onnx.NodeProto], name: str, wanted: int) -> str:
    made = f"{name}/{'Half' if wanted == TensorProto.FLOAT16 else 'Float'}"
    nodes.append(helper.make_node("Cast", [name], [made], made, to=wanted))
    return made
