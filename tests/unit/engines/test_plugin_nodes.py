"""Graphs with plugin nodes: what is taken away, what stays, and that numbers stay the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.engines.plugin_nodes import plugin_graph, plugin_operators
from edgefsa.errors import PluginError
from edgefsa.export import functions

SHAPES = {"gain": (3,), "basis_h": (8, 5), "basis_w": (6, 5), "coupling_gain": (25, 25), "coupling_base": (25, 25)}


def attribute_values(node: onnx.NodeProto) -> dict[str, object]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def model_of(nodes: list[onnx.NodeProto], outputs: list[tuple[str, int]], *, x: int = TensorProto.FLOAT16) -> object:
    stored = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in SHAPES.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", x, [1, 3, 8, 6])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
        stored,
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("edgefsa", 1)]
    bodies = [functions.spectral_mask(), functions.upsample_argmax()]
    return helper.make_model(graph, opset_imports=opsets, functions=bodies, ir_version=10)


def cast(source: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], f"{source}->{result}", to=to)


def mask(source: str, result: str) -> onnx.NodeProto:
    return helper.make_node("SpectralMask", [source, *SHAPES], [result], "mask", domain="edgefsa")


def half_chain() -> list[onnx.NodeProto]:
    """float16 -> float32 -> mask -> float16 -> Relu, as an fp16 graph has it."""
    return [
        cast("x", "wide", TensorProto.FLOAT),
        mask("wide", "masked"),
        cast("masked", "narrow", TensorProto.FLOAT16),
        helper.make_node("Relu", ["narrow"], ["y"], "relu"),
    ]


def test_a_plugin_node_loses_its_body_and_gets_an_address() -> None:
    model = model_of([mask("x", "y")], [("y", TensorProto.FLOAT)], x=TensorProto.FLOAT)
    graph = plugin_graph(model, ["SpectralMask"])
    (node,) = graph.graph.node
    assert (node.domain, node.op_type, list(node.input)) == ("edgefsa", "SpectralMask", ["x", *SHAPES])
    assert attribute_values(node) == {
        "plugin_version": b"1", "plugin_namespace": b"", "x_scale": 0.0, "y_scale": 0.0,
    }  # fmt: skip
    assert [body.name for body in graph.functions] == ["UpsampleArgmax"]
    assert len(model.functions) == 2 and not model.graph.node[0].attribute


def test_the_kernel_inside_an_engine_has_its_own_namespace_and_no_scales() -> None:
    model = model_of([mask("x", "y")], [("y", TensorProto.FLOAT)], x=TensorProto.FLOAT)
    (node,) = plugin_graph(model, namespace="edgefsa").graph.node
    assert attribute_values(node) == {"plugin_version": b"1", "plugin_namespace": b"edgefsa"}


def test_casts_around_a_plugin_node_go_away() -> None:
    graph = plugin_graph(model_of(half_chain(), [("y", TensorProto.FLOAT16)])).graph
    assert [(node.op_type, node.input[0], node.output[0]) for node in graph.node] == [
        ("SpectralMask", "x", "masked"),
        ("Relu", "masked", "y"),
    ]


@pytest.mark.parametrize("second_reader", ["float", "output"])
def test_casts_stay_where_the_result_is_wanted_in_float32(second_reader: str) -> None:
    nodes, outputs = half_chain(), [("y", TensorProto.FLOAT16)]
    if second_reader == "float":
        nodes.append(helper.make_node("Relu", ["masked"], ["z"], "other"))
    outputs.append(("z" if second_reader == "float" else "masked", TensorProto.FLOAT))
    graph = plugin_graph(model_of(nodes, outputs)).graph
    assert [node.op_type for node in graph.node][:3] == ["Cast", "SpectralMask", "Cast"]


def test_a_cast_that_others_read_stays_for_them() -> None:
    nodes = [*half_chain(), helper.make_node("Relu", ["wide"], ["z"], "other")]
    graph = plugin_graph(model_of(nodes, [("y", TensorProto.FLOAT16), ("z", TensorProto.FLOAT)])).graph
    assert [(node.op_type, node.input[0]) for node in graph.node] == [
        ("Cast", "x"), ("SpectralMask", "x"), ("Relu", "masked"), ("Relu", "wide"),
    ]  # fmt: skip


def test_logits_are_read_in_float16_and_indices_stay() -> None:
    nodes = [
        cast("x", "wide", TensorProto.FLOAT),
        helper.make_node("UpsampleArgmax", ["wide"], ["y"], "up", domain="edgefsa", height=32, width=24),
    ]
    (node,) = plugin_graph(model_of(nodes, [("y", TensorProto.INT32)])).graph.node
    assert node.input[0] == "x"
    assert attribute_values(node)["height"] == 32 and attribute_values(node)["width"] == 24


def test_an_operator_without_a_plugin_is_named() -> None:
    model = model_of([helper.make_node("WaveletMask", ["x"], ["y"], "w", domain="edgefsa")], [("y", TensorProto.FLOAT)])
    assert plugin_operators(model) == ["WaveletMask"]
    with pytest.raises(PluginError, match="no plugin for WaveletMask, only for TruncatedDctAttention"):
        plugin_graph(model)
