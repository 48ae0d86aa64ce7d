"""A segmentation network of a few channels, written node by node, with its INT8 and FP16 forms and a NumPy reference.

frames uint8 [1, 32, 48, 3] BGR -> stem (stride 2) -> body -> classifier -> logits [1, 4, 16, 24] -> masks.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
from onnx import TensorProto, helper, numpy_helper

SIZE_HW = (32, 48)
CLASSES = 4
CONVOLUTIONS = ("stem", "body", "classifier")
QUANTISED = ("stem", "body")
MEAN = np.array([120.0, 110.0, 100.0], np.float32).reshape(1, 3, 1, 1)
SCALE = np.array([60.0, 58.0, 55.0], np.float32).reshape(1, 3, 1, 1)
METADATA = {
    "model": "tiny",
    "options": {},
    "family": "test",
    "num_classes": CLASSES,
    "classes": ["sky", "road", "tree", "car"],
    "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]],
    "ignore_index": 255,
    "size_hw": list(SIZE_HW),
    "batch": 1,
    "outputs": "masks",
    "weights": {"kind": "random", "source": "test", "sha256": ""},
    "tool_version": "0.1.0",
}
UPSAMPLE = """
<domain: "edgefsa", opset_import: ["" : 20]>
UpsampleArgmax <height, width> (logits) => (indices)
{
    height = Constant <value_int: int = @height> ()
    width = Constant <value_int: int = @width> ()
    axes = Constant <value_ints = [0]> ()
    kept = Shape <start = 0, end = 2> (logits)
    height_1 = Unsqueeze (height, axes)
    width_1 = Unsqueeze (width, axes)
    sizes = Concat <axis = 0> (kept, height_1, width_1)
    large = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (logits, , , sizes)
    index = ArgMax <axis = 1, keepdims = 0> (large)
    indices = Cast <to = 6> (index)
}
"""


@dataclass
class TinyRanges:
    """Ranges as the quantiser gives them to a build."""

    amax: dict[str, float]
    method: str = "minmax"
    data: dict[str, object] = field(default_factory=lambda: {"name": "noise", "fingerprint": "", "frames": 1})

    @property
    def tensors(self) -> dict[str, dict[str, float]]:
        return {name: {"amax": amax} for name, amax in self.amax.items()}

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def weights() -> dict[str, npt.NDArray[np.float32]]:
    rng = np.random.default_rng(26)
    shapes = {"stem": (8, 3, 3, 3), "body": (8, 8, 3, 3), "classifier": (CLASSES, 8, 1, 1)}
    made = {
        f"{name}.weight": rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()
    }
    made |= {f"{name}.bias": 0.1 * rng.standard_normal(shape[0]) for name, shape in shapes.items()}
    return {name: value.astype(np.float32) for name, value in made.items()}


def tiny_graph(**metadata: object) -> onnx.ModelProto:
    """The float32 network with its upsampling as a function of domain edgefsa."""
    facts = {**METADATA, **metadata}
    batch, (height, width) = "batch" if "batches" in facts else facts["batch"], facts["size_hw"]
    tensors = {**weights(), "mean": MEAN, "scale": SCALE}
    tail = helper.make_node(
        "UpsampleArgmax", ["logits"], ["indices"], "tail", domain="edgefsa", height=height, width=width
    )
    to_uint8 = helper.make_node("Cast", ["indices"], ["masks"], "to_uint8", to=TensorProto.UINT8)
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "planes", perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "mean"], ["centred"], "centre"),
        helper.make_node("Div", ["centred", "scale"], ["image"], "normalise"),
        _conv("stem", "image", "stem_out", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem_out"], ["stem_relu"], "stem_relu"),
        _conv("body", "stem_relu", "body_out", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["body_out"], ["body_relu"], "body_relu"),
        _conv("classifier", "body_relu", "logits"),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, height, width, 3])
    if facts["outputs"] == "masks":
        nodes += [tail, to_uint8]
        output = helper.make_tensor_value_info("masks", TensorProto.UINT8, [batch, height, width])
    else:
        shape = [batch, CLASSES, height // 2, width // 2]
        output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "tiny", [frames], [output], stored)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("edgefsa", 1)]
    functions = [onnx.parser.parse_function(UPSAMPLE)] if facts["outputs"] == "masks" else []
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)
    model.metadata_props.add(key="edgefsa", value=json.dumps(facts))
    return model


def refused_graph() -> onnx.ModelProto:
    """The network with a Transpose of uint8, which TensorRT's parser refuses: uint8 may only meet a Cast there."""
    model = tiny_graph()
    del model.graph.node[0]
    model.graph.node[0].input[0], model.graph.node[0].output[0] = "frames", "planes_u8"
    model.graph.node.insert(1, helper.make_node("Cast", ["planes_u8"], ["planes"], "late_cast", to=TensorProto.FLOAT))
    return model


def _conv(name: str, source: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, f"{name}.weight", f"{name}.bias"], [output], name, **attributes)


def tiny_ranges() -> TinyRanges:
    return TinyRanges({"image": 2.9, "stem_relu": 4.5, "body_relu": 4.5})


def tiny_int8(
    model: onnx.ModelProto, ranges: TinyRanges, *, skip: tuple[str, ...] = (), activations: str = "int8", **_: object
) -> tuple[onnx.ModelProto, dict[str, object]]:
    """Q/DQ around stem and body; for uint8 with a Q on each output and the Relu as a Max of codes."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    chosen = [name for name in QUANTISED if name not in skip]
    zero = np.uint8(128) if activations == "uint8" else np.int8(0)
    tensors = {"zero": np.array(zero)}
    nodes = []
    for node in graph.node:
        if node.name in chosen:
            nodes += _quantised_conv(node, ranges, tensors, activations)
        elif not (activations == "uint8" and node.name.removesuffix("_relu") in chosen):
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    onnx.checker.check_model(model)
    return model, {"nodes": chosen}


def _quantised_conv(
    node: onnx.NodeProto, ranges: TinyRanges, tensors: dict[str, npt.NDArray], activations: str
) -> list[onnx.NodeProto]:
    name, source = node.name, node.input[0]
    weight = weights()[f"{name}.weight"]
    scale = (np.abs(weight).reshape(len(weight), -1).max(1) / 127).astype(np.float32)
    tensors[f"{name}.codes"] = np.round(weight / scale[:, None, None, None]).astype(np.int8)
    tensors[f"{name}.scale"], tensors[f"{name}.zero"] = scale, np.zeros(len(weight), np.int8)
    tensors[f"{source}.scale"] = np.float32(ranges.amax[source] / 127)
    made = [_quantize(source)] if activations != "uint8" or source == "image" else []
    factors = [f"{name}.codes", f"{name}.scale", f"{name}.zero"]
    made += [
        _dequantize(source),
        helper.make_node("DequantizeLinear", factors, [f"{name}.weight_dq"], f"{name}.weight_dq", axis=0),
    ]
    node = onnx.NodeProto.FromString(node.SerializeToString())
    node.input[0], node.input[1] = f"{source}_dq", f"{name}.weight_dq"
    made.append(node)
    if activations == "uint8":
        output, relu = node.output[0], f"{name}_relu"
        tensors[f"{relu}.scale"] = np.float32(ranges.amax[relu] / 127)
        made += [
            helper.make_node("QuantizeLinear", [output, f"{relu}.scale", "zero"], [f"{output}_q"], f"{output}_q"),
            helper.make_node("Max", [f"{output}_q", "zero"], [f"{relu}_q"], f"{relu}_max"),
        ]
        if name == "body":  # the stem's output is dequantised in front of the body
            made.append(_dequantize(relu, output=relu))
    return made


def _quantize(tensor: str) -> onnx.NodeProto:
    return helper.make_node("QuantizeLinear", [tensor, f"{tensor}.scale", "zero"], [f"{tensor}_q"], f"{tensor}_q")


def _dequantize(tensor: str, output: str = "") -> onnx.NodeProto:
    inputs = [f"{tensor}_q", f"{tensor}.scale", "zero"]
    return helper.make_node("DequantizeLinear", inputs, [output or f"{tensor}_dq"], f"{tensor}_dq")


def tiny_fp16(
    model: onnx.ModelProto, ranges: TinyRanges | None = None, scan: object = None
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Stem and body in float16, the rest in float32."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    for item in graph.initializer:
        if item.name.split(".")[0] in QUANTISED:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    nodes = []
    for node in graph.node:
        if node.name == "stem":
            nodes.append(helper.make_node("Cast", ["image"], ["image_half"], "to_half", to=TensorProto.FLOAT16))
            node.input[0] = "image_half"
        if node.name == "body_relu":
            node.output[0] = "body_relu_half"
        nodes.append(node)
        if node.name == "body_relu":
            nodes.append(helper.make_node("Cast", ["body_relu_half"], ["body_relu"], "to_float", to=TensorProto.FLOAT))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.checker.check_model(model)
    return model, {"classifier": "the classifier"}


def reference_logits(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The network in float64 NumPy: logits [N, 4, H / 2, W / 2]."""
    stored = {name: value.astype(np.float64) for name, value in weights().items()}
    image = (frames.transpose(0, 3, 1, 2).astype(np.float64) - MEAN) / SCALE
    stem = np.maximum(_convolve(image, stored, "stem", stride=2, pad=1), 0)
    body = np.maximum(_convolve(stem, stored, "body", pad=1), 0)
    return _convolve(body, stored, "classifier")


def _convolve(
    x: npt.NDArray[np.float64], stored: dict[str, npt.NDArray[np.float64]], name: str, stride: int = 1, pad: int = 0
) -> npt.NDArray[np.float64]:
    weight = stored[f"{name}.weight"]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", windows, weight) + stored[f"{name}.bias"][:, None, None]


def reference_masks(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The masks of `reference_logits`: bilinear with half-pixel centres by a matrix a side, then argmax."""
    logits = reference_logits(frames)
    rows, columns = (_bilinear(large, large // 2) for large in frames.shape[1:3])
    return np.argmax(rows @ logits @ columns.T, axis=1).astype(np.uint8)


def _bilinear(large: int, low: int) -> npt.NDArray[np.float64]:
    position = np.clip((np.arange(large) + 0.5) * low / large - 0.5, 0, low - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(low)))
