"""Float16 graphs run literally, against NumPy's float16."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from edgefsa.graph.halves import rounding_in_float
from edgefsa.graph.running import named_tensors_runner

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
network (uint8[1,4,4,3] frames) => (float[1,2,4,4] logits) {
    cast = Cast <to = 1> (frames)
    image = Transpose <perm = [0, 3, 1, 2]> (cast)
    low = Cast <to = 10> (image)
    large = Mul (low, factor)
    small = Mul (large, inverse)
    mixed = Conv (small, weight)
    logits = Cast <to = 1> (mixed)
}"""


def model(factor: float) -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    for node in made.graph.node:
        node.name = node.output[0]
    weight = np.random.default_rng(0).normal(size=(2, 3, 1, 1))
    values = {"factor": np.array(factor), "inverse": np.array(1 / factor), "weight": weight}
    for name, value in values.items():
        made.graph.initializer.append(numpy_helper.from_array(value.astype(np.float16), name))
    onnx.checker.check_model(made, full_check=True)
    return made


def test_every_node_rounds_to_float16():
    frames = np.random.default_rng(1).integers(0, 255, (1, 4, 4, 3), dtype=np.uint8)
    found = named_tensors_runner(model(3.0), ["large", "small", "logits"])(frames)
    image = frames.transpose(0, 3, 1, 2).astype(np.float16)
    large = image * np.float16(3)
    small = large * np.float16(1 / 3)
    assert (found["large"] == large).all() and (found["small"] == small).all()
    weight = numpy_helper.to_array(model(3.0).graph.initializer[2]).astype(np.float64)[:, :, 0, 0]
    expected = np.einsum("oc,nchw->nohw", weight, small.astype(np.float64)).astype(np.float16)
    assert np.abs(found["logits"] - expected.astype(np.float32)).max() <= np.spacing(np.abs(expected).max())


def test_what_overflows_in_float16_does_so_here():
    """ONNX Runtime's own float16 nodes compute in float32 and would give the frames back."""
    frames = np.full((1, 4, 4, 3), 200, np.uint8)
    found = named_tensors_runner(model(400.0), ["large", "small"])(frames)
    assert np.isinf(found["large"]).all() and np.isinf(found["small"]).all()


def test_a_graph_without_float16_is_left_alone():
    made = model(3.0)
    del made.graph.node[2:]
    del made.graph.initializer[:]
    assert rounding_in_float(made) is made
