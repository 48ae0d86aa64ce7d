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
from edgefsa.graph.files import FRAMES, LOGITS, OPSET
from edgefsa.quantize.placement import MULTIPLYING, reason_for_precision
from edgefsa.quantize.ranges import Ranges

# An activation this large leaves float16 only three bits before it overflows at 65504.
LARGEST_AMAX = 8192.0
_LARGEST_HALF = float(np.finfo(np.float16).max)
_SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


def fp16_onnx(model: onnx.ModelProto, ranges: Ranges | None = None) -> onnx.ModelProto:
    """Return `model` with float16 weights and activations where that is safe; `model` stays as it is.

    A node with a stored value beyond 65504 stays in float32, and with `ranges` (of the same network) one that reads
    or makes a tensor above 8192 as well. Raises RangesError where the ranges are of another network.
    """
    if ranges is not None:
        ranges.check(model)
    half = onnx.ModelProto()
    half.CopyFrom(model)
    convert_nodes(half, half_nodes(model, () if ranges is None else wide_tensors(ranges)))
    return half


def half_rest(quantised: onnx.ModelProto, chosen: Collection[str]) -> None:
    """Turn the nodes named in `chosen` (`half_nodes` of the float graph) to float16 in a Q/DQ graph, in place.

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


def wide_tensors(ranges: Ranges) -> list[str]:
    """Name the tensors that are too large for float16 by their ranges."""
    return [name for name, item in ranges.tensors.items() if item["amax"] > LARGEST_AMAX]


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every tensor of the main graph."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {item.name: item.data_type for item in inferred.initializer}
    tensors = [*inferred.input, *inferred.output, *inferred.value_info]
    return {item.name: item.type.tensor_type.elem_type for item in tensors} | types


def half_nodes(model: onnx.ModelProto, unfit: Collection[str] = ()) -> set[str]:
    """Name the nodes of a float32 graph that are safe in float16 and touch none of the tensors `unfit`."""
    editor, types = GraphEditor(model), _types(model)
    raw = {FRAMES}  # pixels on their way to the first weight: integers above 2048 and the mean need float32
    chosen = set()
    for node in editor.nodes:
        sources = [name for name in node.input if name and not editor.is_stored(name)]
        if node.op_type not in MULTIPLYING and raw.issuperset(sources):
            raw.update(node.output)
            continue
        is_float = node.output and types.get(node.output[0]) == TensorProto.FLOAT
        plain = node.op_type != "Cast" and reason_for_precision(node) is None and LOGITS not in node.output
        if is_float and plain and _fits(editor, node) and not set(unfit).intersection([*node.input, *node.output]):
            chosen.add(node.name)
    return chosen


def _fits(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    stored = [editor.array(name) for name in node.input if editor.is_stored(name)]
    return all(float(np.abs(array).max(initial=0)) <= _LARGEST_HALF for array in stored if array.dtype == np.float32)


def convert_nodes(model: onnx.ModelProto, chosen: Collection[str]) -> None:
    """Let the nodes named in `chosen` compute in float16, in place, with Cast nodes where their neighbours do not."""
    editor, types = GraphEditor(model), _types(model)
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
