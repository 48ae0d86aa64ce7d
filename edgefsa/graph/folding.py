"""What a traced graph computes without need, folded away: batch norms, per-channel factors, cast constants.

Computed in float64 and rounded once, so that the weights, and with them the hash that calibration ranges
belong to, come out the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.graph.editing import Array, GraphEditor, float_attribute, int_attribute, ints_attribute

Floats = npt.NDArray[np.float64]


def fold_constants(model: onnx.ModelProto) -> None:
    """Store what `Constant` nodes hold, and drop casts of stored floats to float; torch's exporter leaves both."""
    editor = GraphEditor(model)
    types = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = [*types.value_info, *types.input, *types.output]
    floats = {item.name for item in tensors if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}

    def is_float(name: str) -> bool:
        return editor.array(name).dtype == np.float32 if editor.is_stored(name) else name in floats

    for node in editor.nodes:
        if node.op_type == "Constant":
            name = editor.store(f"{node.output[0]}.value", _constant_value(node))
        elif node.op_type == "CastLike" and all(map(is_float, node.input)):
            name = node.input[0]
        else:
            continue
        editor.remove(node)
        editor.replace_input(node.output[0], name)
    editor.drop_unused_tensors()


def _constant_value(node: onnx.NodeProto) -> Array:
    value = onnx.helper.get_attribute_value(node.attribute[0])
    if isinstance(value, onnx.TensorProto):
        return np.asarray(onnx.numpy_helper.to_array(value))
    is_float = node.attribute[0].name.startswith("value_float")
    return np.asarray(value, np.float32 if is_float else np.int64)


def share_matrices(model: onnx.ModelProto, candidates: Callable[[str], bool]) -> None:
    """Store once each float matrix that tracing made several times: the transposed weight of a shared `nn.Linear`.

    `candidates` says by name which stored tensors may be merged; parameters keep a tensor each.
    """
    editor = GraphEditor(model)
    first: dict[tuple[object, ...], str] = {}
    for item in list(model.graph.initializer):
        if not candidates(item.name) or item.data_type != onnx.TensorProto.FLOAT or len(item.dims) != 2:
            continue
        name = first.setdefault((*item.dims, editor.array(item.name).tobytes()), item.name)
        if name != item.name:
            editor.replace_input(item.name, name)
    editor.drop_unused_tensors()


def fold_batch_norms(model: onnx.ModelProto) -> None:
    """Fold each batch norm into the convolution before it, or into those after it where they have no padding."""
    editor = GraphEditor(model)
    for node in editor.nodes:
        if node.op_type == "BatchNormalization":
            gain, shift = _gain_and_shift(editor, node)
            if not _fold_into_source(editor, node, gain, shift):
                _fold_into_readers(editor, node, node.input[0], gain, shift)
    editor.drop_unused_tensors()


def fold_channel_affines(model: onnx.ModelProto) -> None:
    """Fold factors and offsets per channel, such as a group norm's, into the 1x1 convolutions that read them."""
    editor = GraphEditor(model)
    for node in reversed(editor.nodes):
        source, constant = _split_constant(editor, node)
        if node.op_type in ("Mul", "Add") and constant is not None:
            identity = np.zeros_like(constant) if node.op_type == "Mul" else np.ones_like(constant)
            gain, shift = (constant, identity) if node.op_type == "Mul" else (identity, constant)
            _fold_into_readers(editor, node, source, gain, shift)
    editor.drop_unused_tensors()


def _split_constant(editor: GraphEditor, node: onnx.NodeProto) -> tuple[str, Floats | None]:
    """Return the changing input of a binary node, and the other one where it is stored and of shape [C, 1, 1]."""
    stored = [name for name in node.input if editor.is_stored(name)]
    if len(node.input) != 2 or len(stored) != 1:
        return "", None
    array = editor.array(stored[0])
    source = node.input[1] if node.input[0] == stored[0] else node.input[0]
    per_channel = array.ndim in (3, 4) and array.size == array.shape[-3] and array.shape[-2:] == (1, 1)
    return source, array.astype(np.float64).reshape(-1) if per_channel else None


def _fold_into_source(editor: GraphEditor, norm: onnx.NodeProto, gain: Floats, shift: Floats) -> bool:
    source = norm.input[0]
    conv = editor.producer(source)
    if conv is None or conv.op_type != "Conv" or len(editor.consumers(source)) != 1 or editor.is_output(source):
        return False
    weight, bias = conv_tensors(editor, conv)
    set_conv_tensors(editor, conv, weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), bias * gain + shift)
    made = norm.output[0]
    editor.remove(norm)
    conv.output[0] = made
    return True


def _fold_into_readers(editor: GraphEditor, node: onnx.NodeProto, source: str, gain: Floats, shift: Floats) -> None:
    """Let each reader of `node` = gain source + shift read `source`, where all are convolutions without padding."""
    made = node.output[0]
    readers = editor.consumers(made)
    if not readers or editor.is_output(made) or not all(_is_plain_conv(editor, conv, made) for conv in readers):
        return
    for conv in readers:
        weight, bias = conv_tensors(editor, conv)
        moved = (weight.reshape(*weight.shape[:2], -1).sum(2) * shift).sum(1)
        set_conv_tensors(editor, conv, weight * gain.reshape(1, -1, *[1] * (weight.ndim - 2)), bias + moved)
        conv.input[0] = source
    editor.remove(node)


def _is_plain_conv(editor: GraphEditor, node: onnx.NodeProto, tensor: str) -> bool:
    reads_once = node.op_type == "Conv" and list(node.input).count(tensor) == 1 and node.input[0] == tensor
    if not reads_once or not all(editor.is_stored(name) for name in node.input[1:]):
        return False
    return not any(ints_attribute(node, "pads")) and int_attribute(node, "group", 1) == 1


def _gain_and_shift(editor: GraphEditor, norm: onnx.NodeProto) -> tuple[Floats, Floats]:
    scale, bias, mean, var = (editor.array(name).astype(np.float64) for name in norm.input[1:5])
    gain = scale / np.sqrt(var + float_attribute(norm, "epsilon", 1e-5))
    return gain, bias - mean * gain


def conv_tensors(editor: GraphEditor, conv: onnx.NodeProto) -> tuple[Floats, Floats]:
    """Return a convolution's weight and its bias (zeros where it has none)."""
    weight = editor.array(conv.input[1]).astype(np.float64)
    has_bias = len(conv.input) > 2 and conv.input[2]
    return weight, editor.array(conv.input[2]).astype(np.float64) if has_bias else np.zeros(len(weight))


def set_conv_tensors(editor: GraphEditor, conv: onnx.NodeProto, weight: Floats, bias: Floats) -> None:
    """Set new weights of `conv`, rounded to float32 and named after the old ones."""
    stem = conv.input[1].rpartition(".")[0] or conv.input[1]
    for name in conv.input[1:]:
        if name and len(editor.consumers(name)) == 1:
            editor.discard(name)
    tensors = {"weight": weight, "bias": bias}
    names = [editor.store(f"{stem}.{kind}", array.astype(np.float32)) for kind, array in tensors.items()]
    conv.input[:] = [conv.input[0], *names]
