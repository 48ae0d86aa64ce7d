"""Concatenations stay in INT8, and their numbers stay the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.engines.cpu.openvino_graph import join_codes

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
    feeds = {name: rng.uniform(-0.2, 0.2, SHAPE).astype(np.float32) for name in "ab"}
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
