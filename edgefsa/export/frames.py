"""The two ends of an exported graph: camera frames in, class masks out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgefsa.graph.editing import GraphEditor, int_attribute
from edgefsa.graph.files import FRAMES, LOGITS, MASKS
from edgefsa.graph.folding import conv_tensors, set_conv_tensors
from edgefsa.graph.operators import DOMAIN, UPSAMPLE_ARGMAX


def add_frames_input(model: onnx.ModelProto, mean_rgb: Sequence[float], std_rgb: Sequence[float]) -> None:
    """Replace the input `image` (float [N, 3, H, W], normalised RGB) by `frames` (uint8 [N, H, W, 3], BGR).

    Where only convolutions read the image, the channel order and the division move into their weights, and a
    cast and a subtraction remain; the subtraction must, because their padding stands for pixels of the mean.
    The cast comes first since TensorRT does nothing else with uint8, and the transpose last since it then only
    renames the layout that convolutions on CPUs prefer.
    """
    graph = model.graph
    image = graph.input[0]
    batch, _, height, width = (item.dim_value for item in image.type.tensor_type.shape.dim)
    editor = GraphEditor(model)
    mean_bgr = np.asarray(mean_rgb, np.float32)[::-1]
    nodes = [
        helper.make_node("Cast", [FRAMES], ["frames/Cast"], "frames/Cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["frames/Cast", editor.store("mean_bgr", mean_bgr)], ["frames/Sub"], "frames/Sub"),
        helper.make_node("Transpose", ["frames/Sub"], ["frames/Transpose"], "frames/Transpose", perm=[0, 3, 1, 2]),
    ]
    centred = "frames/Transpose"
    readers = editor.consumers(image.name)
    if all(_can_absorb(editor, node, image.name) for node in readers):
        for conv in readers:
            _absorb(editor, conv, std_rgb)
    else:
        nodes += _explicit(editor, centred, std_rgb)
    editor.replace_input(image.name, nodes[-1].output[0])
    editor.set_nodes([*nodes, *editor.nodes])
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, [batch, height, width, 3]))


def _can_absorb(editor: GraphEditor, node: onnx.NodeProto, image: str) -> bool:
    reads_once = node.op_type == "Conv" and list(node.input).count(image) == 1 and node.input[0] == image
    return reads_once and int_attribute(node, "group", 1) == 1 and all(map(editor.is_stored, node.input[1:]))


def _absorb(editor: GraphEditor, conv: onnx.NodeProto, std_rgb: Sequence[float]) -> None:
    weight, bias = conv_tensors(editor, conv)
    std = np.asarray(std_rgb, np.float64).reshape(1, 3, 1, 1)
    set_conv_tensors(editor, conv, (weight / std)[:, ::-1], bias)


def _explicit(editor: GraphEditor, centred: str, std_rgb: Sequence[float]) -> list[onnx.NodeProto]:
    order = editor.store("rgb_from_bgr", np.array([2, 1, 0], np.int64))
    std = editor.store("std_rgb", np.asarray(std_rgb, np.float32).reshape(1, 3, 1, 1))
    return [
        helper.make_node("Gather", [centred, order], ["frames/Gather"], "frames/Gather", axis=1),
        helper.make_node("Div", ["frames/Gather", std], ["frames/Div"], "frames/Div"),
    ]


def add_masks_output(model: onnx.ModelProto) -> None:
    """Replace the output `logits` by `masks`, uint8 [N, H, W] at the frames' size: upsample, then argmax.

    Two casts, for TensorRT converts to uint8 from float only.
    """
    graph = model.graph
    batch, height, width = (item.dim_value for item in graph.input[0].type.tensor_type.shape.dim[:3])
    name = UPSAMPLE_ARGMAX.name
    upsample = helper.make_node(name, [LOGITS], [name], name, domain=DOMAIN, height=height, width=width)
    as_float = helper.make_node("Cast", [name], ["masks/Cast"], "masks/Cast", to=TensorProto.FLOAT)
    as_uint8 = helper.make_node("Cast", ["masks/Cast"], [MASKS], "masks/Cast_1", to=TensorProto.UINT8)
    graph.node.extend([upsample, as_float, as_uint8])
    graph.value_info.append(graph.output[0])
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(MASKS, TensorProto.UINT8, [batch, height, width]))
