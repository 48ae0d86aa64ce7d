"""What OpenVINO needs changed in a Q/DQ graph to keep it in INT8. Needs onnx; used at build time only."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgefsa.graph.editing import GraphEditor, int_attribute


def join_codes(model: onnx.ModelProto) -> int:
    """Let each Concat of one scale join INT8 codes: Q -> Concat -> DQ in place of Q -> DQ -> Concat -> Q -> DQ.

    The numbers stay the same: with one scale, quantising again changes nothing. Left as it is, OpenVINO 2026.4
    gives the convolution behind such a Concat 10 to 30 % wrong where one input can be negative and another cannot
    (a relative L2 of 0.07 in fsanet-edge's logits, 0.4 to 0.9 mIoU), and computes it in float where the values
    span less than about 1.
    Changes `model` and gives the number of Concat nodes changed.
    """
    graph = model.graph
    producer = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    changed = 0
    for node in [node for node in graph.node if node.op_type == "Concat"]:
        before = [producer.get(name) for name in node.input]
        after = readers.get(node.output[0], [])
        if not _is_one_scale([*before, *after], stored):
            continue
        for index, pair in enumerate(before):
            node.input[index] = pair.input[0] if pair is not None else ""
        for quantise in after:
            for reader in readers[quantise.output[0]]:
                reader.input[0] = node.output[0]
            graph.node.remove(quantise)
        for item in [item for item in graph.value_info if item.name == node.output[0]]:
            graph.value_info.remove(item)  # it says float
        changed += 1
    return changed


def _is_one_scale(pairs: list[onnx.NodeProto | None], stored: dict[str, np.ndarray]) -> bool:
    """Return whether these are DequantizeLinear and then QuantizeLinear nodes, all of one scale and zero point."""
    kinds = [pair.op_type if pair is not None else "" for pair in pairs]
    if set(kinds) != {"DequantizeLinear", "QuantizeLinear"}:
        return False
    constants = [[stored.get(name) for name in pair.input[1:3]] for pair in pairs if pair is not None]
    if any(value is None or value.size != 1 for values in constants for value in values):
        return False
    return len({tuple(value.item() for value in values if value is not None) for values in constants}) == 1


def keep_reduced_axes(model: onnx.ModelProto) -> int:
    """Let each ReduceMean, ReduceMax and the like keep its axes, and a Squeeze behind it take them away.

    The numbers stay the same. Left as it is, OpenVINO 2026.4 merges a rounding behind such a node into it, takes the
    scales of a matrix product before it along, and then applies them to the wrong channels: the mean of a `nn.Linear`
    over tokens comes out up to 30 % wrong. Changes `model` and gives the number of nodes changed.
    """
    editor, nodes = GraphEditor(model), []
    changed = 0
    for node in editor.nodes:
        nodes.append(node)
        has_axes = len(node.input) > 1 and bool(node.input[1])
        if not node.op_type.startswith("Reduce") or not has_axes or int_attribute(node, "keepdims", 1):
            continue
        made, kept = node.output[0], f"{node.output[0]}/Kept"
        node.output[0] = kept
        next(item for item in node.attribute if item.name == "keepdims").i = 1
        nodes.append(helper.make_node("Squeeze", [kept, node.input[1]], [made], f"{node.name}/Squeeze"))
        changed += 1
    editor.set_nodes(nodes)
    return changed


def transpose_weights(model: onnx.ModelProto) -> int:
    """Store the INT8 weights of each Gemm as x W takes them, not as x W^T does.

    OpenVINO then transposes them back when it loads the model, and the name of that transposition says which node a
    product was, where nothing else does. Changes `model` and gives the number of nodes changed.
    """
    editor, nodes = GraphEditor(model), []
    changed = 0
    for node in editor.nodes:
        source = editor.producer(node.input[1]) if node.op_type == "Gemm" and int_attribute(node, "transB", 0) else None
        if source is not None and source.op_type == "DequantizeLinear" and editor.is_stored(source.input[0]):
            name = f"{node.name}/Transposed"
            codes = editor.store(name, editor.array(source.input[0]).T)
            nodes.append(helper.make_node("DequantizeLinear", [codes, *source.input[1:]], [name + "/DQ"], name, axis=1))
            node.input[1] = nodes[-1].output[0]
            next(item for item in node.attribute if item.name == "transB").i = 0
            changed += 1
        nodes.append(node)
    editor.set_nodes(nodes)
    return changed
