"""Concatenations stay in INT8, and their numbers stay the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.engines.cpu.openvino_graph import join_codes, keep_reduced_axes, transpose_weights

SHAPE = (1, 3, 4, 5)


def pair(tensor: str, scale: str) -> list[onnx.NodeProto]:
    codes = f"{tensor}_codes"
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, "zero"], [codes], f"{tensor}_q"),
        helper.make_node("DequantizeLinear", [codes, scale, "zero"], [f"{tensor}_dq"], f"{tensor}_dq"),
    ]


def concat_graph(second_scale: float = 0.001, *, float_reader: bool = False) -> onnx.ModelProto:
    """Two quantised tensors, joined, quantised again, and doubled."""
    nodes = [*pair("a", "scale"), *pair("b", "second_scale")]
    nodes.append(helper.make_node("Concat", ["a_dq", "b_dq"], ["joined"], "concat", axis=1))
    nodes += pair("joined", "scale")
    nodes.append(helper.make_node("Add", ["joined_dq", "joined" if float_reader else "joined_dq"], ["y"], "double"))
    values = {"scale": np.float32(0.001), "second_scale": np.float32(second_scale), "zero": np.int8(0)}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "ab"]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 6, 4, 5))
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "concat", inputs, [output], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto) -> np.ndarray:
    rng = np.random.default_rng(0)
    shapes = {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in model.graph.input}
    feeds = {name: rng.uniform(-0.2, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def test_codes_are_joined_and_the_numbers_stay() -> None:
    model = concat_graph()
    expected = run(model)
    assert join_codes(model) == 1
    onnx.checker.check_model(model, full_check=True)
    (concat,) = (node for node in model.graph.node if node.op_type == "Concat")
    assert list(concat.input) == ["a_codes", "b_codes"]
    assert [node.name for node in model.graph.node if node.op_type == "QuantizeLinear"] == ["a_q", "b_q"]
    np.testing.assert_array_equal(run(model), expected)


@pytest.mark.parametrize("model", [concat_graph(second_scale=0.002), concat_graph(float_reader=True)])
def test_other_concatenations_are_left_alone(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert join_codes(model) == 0
    assert model.SerializeToString() == before


def parsed(inputs: str, output: str, body: str, **stored: np.ndarray) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({output}) {{{body}}}')
    for node in model.graph.node:
        node.name = node.output[0]
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in stored.items())
    return model


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceL2"])
def test_a_reduction_keeps_its_axes_and_a_squeeze_takes_them_away(operator: str) -> None:
    body = f"m = {operator} <keepdims = 0> (a, axes) y = Relu (m)"
    model = parsed("float[2,5,3,4] a", "float[2,4] y", body, axes=np.array([1, 2]))
    expected = run(model)
    assert keep_reduced_axes(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == [operator, "Squeeze", "Relu"]
    np.testing.assert_array_equal(run(model), expected)


def test_reductions_that_keep_their_axes_or_have_none_are_left_alone() -> None:
    body = "m = ReduceMean <keepdims = 1> (a, axes) s = ReduceSum <keepdims = 0> (m) i = ArgMax <keepdims = 0> (a)"
    model = parsed("float[2,5] a", "float s", body, axes=np.array([1]))
    before = model.SerializeToString()
    assert keep_reduced_axes(model) == 0 and model.SerializeToString() == before


def test_the_integers_of_a_gemm_are_stored_transposed_and_the_numbers_stay() -> None:
    rng = np.random.default_rng(1)
    stored = {
        "codes": rng.integers(-127, 128, (3, 5)).astype(np.int8),
        "scale": rng.uniform(0.01, 0.1, 3).astype(np.float32),
        "zero": np.zeros(3, np.int8),
        "float_weight": rng.normal(0, 1, (5, 3)).astype(np.float32),
    }
    body = "w = DequantizeLinear <axis = 0> (codes, scale, zero) h = Gemm <transB = 1> (a, w)"
    model = parsed("float[4,5] a", "float[4,5] y", f"{body} y = Gemm <transB = 1> (h, float_weight)", **stored)
    expected = run(model)
    assert transpose_weights(model) == 1
    onnx.checker.check_model(model, full_check=True)
    gemm = next(node for node in model.graph.node if node.name == "h")
    source = next(node for node in model.graph.node if node.output[0] == gemm.input[1])
    tensors = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    np.testing.assert_array_equal(tensors[source.input[0]], stored["codes"].T)
    np.testing.assert_allclose(run(model), expected, rtol=1e-6)
