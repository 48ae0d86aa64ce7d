"""Sixteen-bit floats in the ONNX file itself, as strongly typed networks need them.

Norms, frequency operators, softmax, the classifier, the normalisation of the frames and what float16 cannot hold
stay in float32; the graph's inputs and outputs keep their types.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from edgefsa.errors import GraphError
from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.files import OPSET
from edgefsa.quantize.half_plan import plan_half, tensor_types
from edgefsa.quantize.ranges import Ranges
from edgefsa.quantize.scan import LARGEST_AMAX, HalfScan

_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


def fp16_onnx(
    model: onnx.ModelProto, ranges: Ranges | None = None, scan: HalfScan | None = None
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return `model` with float16 weights and activations where that is safe, and why other nodes stay in float32.

    `model` stays as it is. A node with a stored value that float16 does not hold stays in float32; so does one that
    reads or makes a tensor above 8192 by `ranges` (of the same network, RangesError else), or one that `scan` found to
    overflow, to be subnormal, or to have sums that overflow.
    """
    plan = plan_half(model, ranges, scan)
    half = onnx.ModelProto()
    half.CopyFrom(model)
    convert_nodes(half, plan.nodes)
    return half, plan.kept


def half_rest(quantised: onnx.ModelProto, chosen: Collection[str]) -> None:
    """Turn the nodes named in `chosen` (`plan_half` of the float graph) to float16 in a Q/DQ graph, in place.

    A tensor is rounded in the type that it is made in and dequantised to the type that it is read in, so that no
    Cast stands between a node and its Q/DQ pairs. The scales there have to be exact in float16 (`half_scale`).
    """
    editor, half = GraphEditor(quantised), set(chosen)
    _split_dequantised(editor, half)
    for node in editor.nodes:
        maker = editor.producer(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if maker is not None and maker.name in half:
            half.add(node.name)
    convert_nodes(quantised, half)


def half_scale(scale: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Round scales up to the next float16, so that nothing is clipped that was not before."""
    wanted = np.asarray(scale, np.float32)
    rounded = wanted.astype(np.float16)
    return np.where(rounded < wanted, np.nextafter(rounded, np.float16(np.inf)), rounded).astype(np.float32)


def fits_half(scale: float) -> bool:
    """Return whether float16 has the INT8 values of a scale: none above 8192, and a step that is not subnormal."""
    return _SMALLEST_NORMAL <= scale <= LARGEST_AMAX / 127


def convert_nodes(model: onnx.ModelProto, chosen: Collection[str]) -> None:
    """Let the nodes named in `chosen` compute in float16, in place, with Cast nodes where their neighbours do not."""
    editor, types = GraphEditor(model), tensor_types(model)
    nodes: list[onnx.NodeProto] = []
    halved: set[str] = set()  # tensors that are float16 now
    casts: dict[str, str] = {}
    for node in editor.nodes:
        wanted = TensorProto.FLOAT16 if node.name in chosen else TensorProto.FLOAT
        for index in _float_inputs(node, types) if node.name in chosen else range(len(node.input)):
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
    # The entries of tensors that changed type would contradict it.
    for item in [item for item in model.graph.value_info if item.name in halved]:
        model.graph.value_info.remove(item)
    editor.drop_unused_tensors()


def _split_dequantised(editor: GraphEditor, chosen: set[str]) -> None:
    """Dequantise to float16 for the readers that are `chosen`, and apart from that to float32 for others."""
    nodes: list[onnx.NodeProto] = []
    for node in editor.nodes:
        nodes.append(node)
        if node.op_type != "DequantizeLinear":
            continue
        readers = editor.consumers(node.output[0])
        low = [reader for reader in readers if reader.name in chosen]
        if 0 < len(low) < len(readers):
            name = f"{node.output[0]}/Half"
            nodes.append(helper.make_node("DequantizeLinear", node.input, [name], name))
            nodes[-1].attribute.extend(node.attribute)
            for reader in low:
                reader.input[:] = [name if item == node.output[0] else item for item in reader.input]
        if low:
            chosen.add(nodes[-1].name)
    editor.set_nodes(nodes)


def _float_inputs(node: onnx.NodeProto, types: dict[str, int]) -> list[int]:
    """Return the inputs that have the type of the first float; the scales of a Resize, for one, stay float32."""
    formal = onnx.defs.get_schema(node.op_type, OPSET, node.domain).inputs
    kinds = [formal[min(index, len(formal) - 1)].type_str for index in range(len(node.input))]
    floats = (kind for kind, name in zip(kinds, node.input, strict=True) if types.get(name) == TensorProto.FLOAT)
    wanted = next(floats, None)
    return [index for index, kind in enumerate(kinds) if kind == wanted]


def _stored_half(editor: GraphEditor, name: str) -> str:
    return editor.store(f"{name}.fp16", editor.array(name).astype(np.float16))


def _cast(nodes: list[onnx.NodeProto], name: str, wanted: int) -> str:
    made = f"{name}/{'Half' if wanted == TensorProto.FLOAT16 else 'Float'}"
    nodes.append(helper.make_node("Cast", [name], [made], made, to=wanted))
    return made
