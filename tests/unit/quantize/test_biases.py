"""Biases in int32: what is stored, and that ONNX Runtime's integer kernels then compute what the graph says."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper

from edgefsa.graph.files import weights_hash
from edgefsa.quantize import Ranges, int8_onnx
from edgefsa.quantize.calibrate import calibrated_tensors
from tests.unit.quantize.conftest import run

AMAX = 127 / 32  # a step of the activations is 1 / 32


def network(shape: str, body: str, **stored: np.ndarray) -> onnx.ModelProto:
    head = f'<ir_version: 10, opset_import: ["" : 20]> g (float[{shape}] x) => (float y)'
    model = onnx.parser.parse_model(f"{head} {{{body}}}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for node in model.graph.node:
        node.name = node.output[0]
    for name, value in stored.items():
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return onnx.shape_inference.infer_shapes(model)


def integers(model: onnx.ModelProto) -> onnx.ModelProto:
    values = {name: {"amax": AMAX} for name in calibrated_tensors(model)}
    facts = {"name": "t", "fingerprint": "", "frames": 1}
    return int8_onnx(model, Ranges("b", weights_hash(model), "minmax", facts, values), activations="uint8")[0]


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


@pytest.mark.parametrize(
    ("shape", "body"),
    [("2,7,4", "h = MatMul (x, w) y = Add (h, b)"), ("7,4", "y = Gemm (x, w, b)")],
    ids=["MatMul", "Gemm"],
)
def test_a_bias_is_whole_steps_of_the_sums_of_products(shape: str, body: str) -> None:
    weight, bias = np.diag([127.0, 12.7, 1.27]).repeat([2, 1, 1], 0), np.array([1000.0, -1.0, 0.01])
    model = network(shape, body, w=weight, b=bias)
    quantised = integers(model)
    stored = tensors(quantised)
    name = next(name for name in stored if name.endswith("/Bias.int32"))
    np.testing.assert_array_equal(stored[name], [32000, -320, 32])  # weight steps are 1, 0.1 and 0.01
    assert stored[name].dtype == np.int32 and "b" not in stored
    onnx.checker.check_model(quantised, full_check=True)
    x = np.random.default_rng(0).normal(0, 1, [int(side) for side in shape.split(",")]).astype(np.float32)
    codes = np.clip(np.rint(x * 32), -128, 127) / 32
    np.testing.assert_allclose(run(quantised, x)[0], codes @ weight + bias, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("faint", [1e-4, 1e-8, 1e-12, 1e-20, 1e-36, 0.0])
@pytest.mark.parametrize(
    ("shape", "body", "axis"),
    [
        ("2,7,8", "h = MatMul (x, w) s = Add (h, b) y = Relu (s)", 1),
        ("7,8", "h = Gemm <transB = 1> (x, w, b) y = Relu (h)", 0),
        ("1,8,5,6", "c = Conv (x, k, b) r = Relu (c) y = Conv (r, k)", 0),
    ],
    ids=["MatMul", "Gemm", "Conv"],
)
def test_a_channel_of_next_to_no_weight_keeps_its_bias(shape: str, body: str, axis: int, faint: float) -> None:
    """Weight decay empties channels: their steps are so small that int32 has no room for a bias in them."""
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(0, 0.3, (8, 8)), rng.normal(0, 1, 8)
    weight[(slice(None), 3) if axis else 3] *= faint
    stored = {"k": weight[..., None, None]} if "Conv" in body else {"w": weight}
    model = network(shape, body, b=bias, **stored)
    quantised = integers(model)
    x = rng.normal(0, 1, [int(side) for side in shape.split(",")]).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(quantised.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    (wanted,), (floats,) = run(quantised, x), run(model, x)
    # A value on the edge between two steps may fall to either side.
    assert (np.abs(found - wanted) > 1e-5).mean() < 0.01
    assert np.linalg.norm(wanted - floats) < 0.05 * np.linalg.norm(floats)


def test_a_product_of_rows_that_something_else_is_added_to_becomes_a_gemm() -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(0, 0.3, (8, 8))
    rows = integers(network("7,8", "h = MatMul (x, w) y = Add (h, x)", w=weight))
    assert [node.op_type for node in rows.graph.node if node.name == "h"] == ["Gemm"]
    tokens = integers(network("2,7,8", "h = MatMul (x, w) y = Add (h, x)", w=weight))
    assert [node.op_type for node in tokens.graph.node if node.name == "h"] == ["MatMul"]


def test_other_forms_keep_float_biases() -> None:
    model = network("7,8", "y = Gemm (x, w, b)", w=np.eye(8), b=np.ones(8))
    facts = {"name": "t", "fingerprint": "", "frames": 1}
    values = {name: {"amax": AMAX} for name in calibrated_tensors(model)}
    quantised, _ = int8_onnx(model, Ranges("b", weights_hash(model), "minmax", facts, values))
    assert tensors(quantised)["b"].dtype == np.float32
