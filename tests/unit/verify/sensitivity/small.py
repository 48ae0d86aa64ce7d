"""A network of three residual blocks; some get channels that are 4096 times larger, in float the same function."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from edgefsa.graph.files import write_metadata
from edgefsa.graph.functions import upsample_argmax
from tests.unit.engines.tiny import METADATA
from tests.unit.quantize.conftest import run

SIZE_HW = (32, 48)
CHANNELS = 8
BLOCKS = ("a", "b", "c")
# What graph/blocks.py calls them: the second has no name of its own module, so that of its two convolutions.
NAMES = {block: f"{block}1..{block}2" for block in BLOCKS}
FACTOR = 4096.0
_BLOCK = """
    {0}1 = Conv <pads = [1, 1, 1, 1]> ({1}, {0}1_w, {0}1_b)
    {0}1_relu = Relu ({0}1)
    {0}2 = Conv <pads = [1, 1, 1, 1]> ({0}1_relu, {0}2_w, {0}2_b)
    {0}_sum = Add ({0}2, {1})
    {0} = Relu ({0}_sum)
"""
TEXT = f"""<ir_version: 10, opset_import: ["" : 20, "edgefsa" : 1]>
network (uint8[1,{SIZE_HW[0]},{SIZE_HW[1]},3] frames) => (uint8[1,{SIZE_HW[0]},{SIZE_HW[1]}] masks)
{{
    float_frames = Cast <to = 1> (frames)
    image = Transpose <perm = [0, 3, 1, 2]> (float_frames)
    stem_sum = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, stem_w, stem_b)
    stem = Relu (stem_sum)
    {_BLOCK.format("a", "stem")}
    {_BLOCK.format("b", "a")}
    {_BLOCK.format("c", "b")}
    logits = Conv (c, head_w, head_b)
    indices = edgefsa.UpsampleArgmax <height = {SIZE_HW[0]}, width = {SIZE_HW[1]}> (logits)
    masks = Cast <to = 2> (indices)
}}
"""


def small_network(outliers: Collection[str] = ()) -> onnx.ModelProto:
    """The network, with outliers in the blocks named."""
    model = onnx.parser.parse_model(TEXT)
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    rng = np.random.default_rng(5)
    inner = (CHANNELS, CHANNELS, 3, 3)
    shapes = {"stem": (CHANNELS, 3, 3, 3), **{f"{block}{place}": inner for block in BLOCKS for place in (1, 2)}}
    for name, shape in {**shapes, "head": (4, CHANNELS, 1, 1)}.items():
        weight = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        bias = rng.normal(0, 0.1, shape[0]).astype(np.float32)
        if name[0] in outliers and name.endswith("1"):
            weight[:2] *= FACTOR
            bias[:2] *= FACTOR
        if name[0] in outliers and name.endswith("2"):
            weight[:, :2] /= FACTOR
        model.graph.initializer.append(numpy_helper.from_array(weight, f"{name}_w"))
        model.graph.initializer.append(numpy_helper.from_array(bias, f"{name}_b"))
    _centre(model)
    model.functions.append(upsample_argmax())
    model = onnx.shape_inference.infer_shapes(model, check_type=True)
    write_metadata(model, {**METADATA, "model": "small", "size_hw": list(SIZE_HW)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _centre(model: onnx.ModelProto) -> None:
    """Let every class have the mean logit 0, so that masks hold all of them."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.node[-2:]
    logits = np.stack([run(probe, frame[None], ["logits"])[0][0] for frame in frames()])
    bias = next(item for item in model.graph.initializer if item.name == "head_b")
    centred = numpy_helper.to_array(bias) - logits.mean(axis=(0, 2, 3))
    bias.CopyFrom(numpy_helper.from_array(centred.astype(np.float32), bias.name))


def frames(count: int = 6) -> list[np.ndarray]:
    """Blocks of colour, uint8 [H, W, 3]."""
    rng = np.random.default_rng(9)
    blocks = [rng.integers(0, 256, (8, 12, 3), np.uint8) for _ in range(count)]
    return [cv2.resize(item, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC) for item in blocks]


def write_frames(folder: Path) -> Path:
    """Write the frames as pictures without labels."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames()):
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    return folder
