"""A small network written as ONNX text: every pattern that the quantiser knows, and no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

from edgefsa.graph.files import write_metadata
from edgefsa.graph.functions import spectral_mask, upsample_argmax

BATCH, HEIGHT, WIDTH = 1, 24, 32
SHAPES = {
    "stem_w": (8, 3, 3, 3),
    "a1_w": (8, 8, 3, 3),
    "a2_w": (8, 8, 3, 3),
    "b1_w": (12, 8, 3, 3),
    "b2_w": (12, 12, 3, 3),
    "down_w": (12, 8, 1, 1),
    "c_w": (12, 12, 1, 1),
    "mix_w": (10, 20, 3, 3),
    "head_w": (5, 10, 1, 1),
    **{f"{name}_b": (size,) for name, size in {"stem": 8, "a1": 8, "a2": 8, "b1": 12, "b2": 12, "head": 5}.items()},
    "gain": (12,),
    "basis_h": (6, 3),
    "basis_w": (8, 3),
    "coupling_gain": (9, 9),
    "coupling_base": (9, 9),
}
# stem, pooling, a block with a plain skip, one with a convolution in its skip, a frequency operator, a resize,
# a concatenation with the skip, a norm, and the classifier.
TEXT = f"""<ir_version: 10, opset_import: ["" : 20, "edgefsa" : 1]>
network (uint8[{BATCH},{HEIGHT},{WIDTH},3] frames) => (uint8[{BATCH},{HEIGHT},{WIDTH}] masks)
<int64[4] sizes = {{{BATCH}, 12, 12, 16}}>
{{
    float_frames = Cast <to = 1> (frames)
    image = Transpose <perm = [0, 3, 1, 2]> (float_frames)
    stem = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (image, stem_w, stem_b)
    stem_relu = Relu (stem)
    a1 = Conv <pads = [1, 1, 1, 1]> (stem_relu, a1_w, a1_b)
    a1_relu = Relu (a1)
    a2 = Conv <pads = [1, 1, 1, 1]> (a1_relu, a2_w, a2_b)
    a_sum = Add (a2, stem_relu)
    a_out = Relu (a_sum)
    b1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (a_out, b1_w, b1_b)
    b1_relu = Relu (b1)
    b2 = Conv <pads = [1, 1, 1, 1]> (b1_relu, b2_w, b2_b)
    down = Conv <strides = [2, 2]> (a_out, down_w)
    b_sum = Add (down, b2)
    b_out = Relu (b_sum)
    c = Conv (b_out, c_w)
    c_relu = Relu (c)
    filtered = edgefsa.SpectralMask (c_relu, gain, basis_h, basis_w, coupling_gain, coupling_base)
    large = Resize <mode = "linear"> (filtered, , , sizes)
    both = Concat <axis = 1> (large, a_out)
    mix = Conv <pads = [1, 1, 1, 1]> (both, mix_w)
    mix_relu = Relu (mix)
    normed = LpNormalization <axis = 1> (mix_relu)
    logits = Conv (normed, head_w, head_b)
    indices = edgefsa.UpsampleArgmax <height = {HEIGHT}, width = {WIDTH}> (logits)
    index_float = Cast <to = 1> (indices)
    masks = Cast <to = 2> (index_float)
}}
"""


def metadata(**changes) -> dict:
    return {
        "model": "small",
        "options": {},
        "family": "test",
        "num_classes": 5,
        "classes": ["a", "b", "c", "d", "e"],
        "palette": [[shade, 0, 255] for shade in range(5)],
        "ignore_index": 255,
        "size_hw": [HEIGHT, WIDTH],
        "batch": BATCH,
        "outputs": "masks",
        "weights": {"kind": "random", "source": "", "sha256": ""},
        "tool_version": "",
        **changes,
    }


@pytest.fixture
def network() -> onnx.ModelProto:
    model = onnx.parser.parse_model(TEXT)
    for node in model.graph.node:
        node.name = node.output[0]
    rng = np.random.default_rng(11)
    for name, shape in SHAPES.items():
        # At most 1 / 2 gain a layer: values stay of the order of the pixels', far from float16's end.
        spread = 0.5 if len(shape) < 2 else 1 / np.sqrt(np.prod(shape[1:]))
        value = rng.normal(0, spread, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    model.functions.extend([spectral_mask(), upsample_argmax()])
    model = onnx.shape_inference.infer_shapes(model, check_type=True)
    write_metadata(model, metadata())
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def network_path(network: onnx.ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "network.onnx"
    path.write_bytes(network.SerializeToString())
    return path


@pytest.fixture(scope="session")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 40 * (index + 1), (HEIGHT, WIDTH, 3), dtype=np.uint8) for index in range(5)]


def run(model: onnx.ModelProto, frame: np.ndarray, outputs: list[str] | None = None) -> list[np.ndarray]:
    """Run every operator as written, without any fusion of the runtime's."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    if outputs:
        del probe.graph.output[:]
        probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, {session.get_inputs()[0].name: frame})
