"""Graphs with plugin nodes: what is taken away, what stays, and that numbers stay the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.engines.tensorrt.plugins.nodes import plugin_graph, plugin_operators
from edgefsa.errors import PluginError
from edgefsa.graph import functions
from edgefsa.graph.editing import GraphEditor

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
        "plugin_version": b"1", "plugin_namespace": b"edgefsa", "x_scale": 0.0, "y_scale": 0.0,
    }  # fmt: skip
    assert [body.name for body in graph.functions] == ["UpsampleArgmax"]
    assert len(model.functions) == 2 and not model.graph.node[0].attribute


def test_the_kernel_inside_an_engine_has_no_scales() -> None:
    model = model_of([mask("x", "y")], [("y", TensorProto.FLOAT)], x=TensorProto.FLOAT)
    (node,) = plugin_graph(model, int8=False).graph.node
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
    assert attribute_values(node)["half_indices"] == 0


def upsampled(*readers: onnx.NodeProto, logits: int = TensorProto.FLOAT16) -> onnx.ModelProto:
    """Logits in float32 -> indices, which `readers` read as "indices" and make "y" of, uint8."""
    up = helper.make_node("UpsampleArgmax", ["wide"], ["indices"], "up", domain="edgefsa", height=32, width=24)
    return model_of([cast("x", "wide", TensorProto.FLOAT), up, *readers], [("y", TensorProto.UINT8)], x=logits)


INDICES_TO_UINT8 = (cast("indices", "real", TensorProto.FLOAT), cast("real", "y", TensorProto.UINT8))


def test_indices_of_float16_logits_are_cast_to_uint8_at_once() -> None:
    graph = plugin_graph(upsampled(*INDICES_TO_UINT8)).graph
    assert [(node.op_type, node.input[0], node.output[0]) for node in graph.node] == [
        ("UpsampleArgmax", "x", "indices"), ("Cast", "indices", "y"),
    ]  # fmt: skip
    assert attribute_values(graph.node[0])["half_indices"] == 1
    assert plugin_graph(plugin_graph(upsampled(*INDICES_TO_UINT8))).graph == graph


OTHER_READERS = {
    "the indices are wanted": (*INDICES_TO_UINT8, helper.make_node("Abs", ["indices"], ["z"], "other")),
    "the float32 is wanted": (*INDICES_TO_UINT8, helper.make_node("Abs", ["real"], ["z"], "other")),
    "one cast": (cast("indices", "y", TensorProto.UINT8),),
}


@pytest.mark.parametrize("readers", OTHER_READERS.values(), ids=OTHER_READERS)
def test_indices_stay_int32_where_others_read_them(readers: tuple[onnx.NodeProto, ...]) -> None:
    graph = plugin_graph(upsampled(*readers)).graph
    assert attribute_values(graph.node[0])["half_indices"] == 0 and len(graph.node) == 1 + len(readers)


def test_indices_of_float32_logits_stay_int32() -> None:
    model = upsampled(*INDICES_TO_UINT8, logits=TensorProto.FLOAT)
    assert [node.op_type for node in plugin_graph(model).graph.node] == ["Cast", "UpsampleArgmax", "Cast", "Cast"]


def test_an_operator_without_a_plugin_is_named() -> None:
    model = model_of([helper.make_node("WaveletMask", ["x"], ["y"], "w", domain="edgefsa")], [("y", TensorProto.FLOAT)])
    assert plugin_operators(model) == ["WaveletMask"]
    with pytest.raises(PluginError, match="no plugin for WaveletMask, only for TruncatedDctAttention"):
        plugin_graph(model)


ATTENTION_SHAPES = {
    **{"basis_h": (3, 8), "basis_w": (2, 6), "query_weight": (2, 3), "query_bias": (2,), "key_weight": (2, 3)},
    **{"key_bias": (2,), "value_weight": (2, 3), "value_bias": (2,), "out_weight": (3, 2), "shift": (3,)},
}
ATTRIBUTES = {"mode": "dot_product", "recurrence": 1, "scale": 0.02}
SCALES = {"x_scale": 0.125, "y_scale": 0.0625}


def int8_model(operator: str = "SpectralMask", **changed: np.ndarray) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """x -> Q -> DQ -> operator -> Q -> y, and the stored tensors."""
    shapes = SHAPES if operator == "SpectralMask" else ATTENTION_SHAPES
    rng = np.random.default_rng(8)
    stored = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    constants = {**{name: np.float32(value) for name, value in SCALES.items()}, "zero": np.int8(0), **changed}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "zero"], ["x_int8"], "xq"),
        helper.make_node("DequantizeLinear", ["x_int8", "x_scale", "zero"], ["x_real"], "xdq"),
        helper.make_node(operator, ["x_real", *shapes], ["real"], "operator", domain="edgefsa"),
        helper.make_node("QuantizeLinear", ["real", "y_scale", "zero"], ["y"], "yq"),
    ]
    if operator != "SpectralMask":
        nodes[2].attribute.extend(helper.make_attribute(name, value) for name, value in ATTRIBUTES.items())
    kind = TensorProto.UINT8 if constants["zero"].dtype == np.uint8 else TensorProto.INT8
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 8, 6])],
        [helper.make_tensor_value_info("y", kind, [2, 3, 8, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**stored, **constants}.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("edgefsa", 1)]
    bodies = [functions.spectral_mask(), functions.truncated_dct_attention("dot_product", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=bodies, ir_version=10), stored


@pytest.mark.parametrize("operator", ["SpectralMask", "TruncatedDctAttention"])
def test_an_operator_between_int8_maps_takes_its_rounding_in(operator: str) -> None:
    model, _ = int8_model(operator)
    graph = plugin_graph(model).graph
    assert [(node.op_type, node.input[0], list(node.output)) for node in graph.node] == [
        ("QuantizeLinear", "x", ["x_int8"]), (operator, "x_int8", ["y"]),
    ]  # fmt: skip
    values = attribute_values(graph.node[1])
    assert {name: values[name] for name in SCALES} == SCALES
    assert "y_scale" not in {item.name for item in graph.initializer}
    again = plugin_graph(plugin_graph(model)).graph
    assert again == graph and len(model.graph.node) == 4


def real_map(operator: str, x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """The operators' formulas in float64, as their kernels' READMEs have them."""
    w = {name: value.astype(np.float64) for name, value in w.items()}
    if operator == "SpectralMask":
        gain = w["gain"].reshape(-1, 1, 1)
        t = np.einsum("hm,nchw,wl->ncml", w["basis_h"], x, w["basis_w"]).reshape(*x.shape[:2], -1)
        u = w["gain"].reshape(-1, 1) * (t @ w["coupling_gain"]) - t @ w["coupling_base"]
        grid = u.reshape(*x.shape[:2], w["basis_h"].shape[1], -1)
        return (1 - gain) * x + np.einsum("hm,ncml,wl->nchw", w["basis_h"], grid, w["basis_w"])
    t = np.einsum("mh,nchw,lw->ncml", w["basis_h"], x, w["basis_w"]).reshape(*x.shape[:2], -1)
    query, key, value = (w[f"{k}_weight"] @ t + w[f"{k}_bias"][:, None] for k in ("query", "key", "value"))
    u = (w["out_weight"] @ value) @ (ATTRIBUTES["scale"] * key.transpose(0, 2, 1) @ query)
    grid = u.reshape(*x.shape[:2], len(w["basis_h"]), -1)
    return x + np.einsum("mh,ncml,lw->nchw", w["basis_h"], grid, w["basis_w"]) + w["shift"].reshape(-1, 1, 1)


@pytest.mark.parametrize("operator", ["SpectralMask", "TruncatedDctAttention"])
def test_what_a_folded_node_computes(operator: str) -> None:
    """What the plugins implement, clip(rint(f(x_scale x) / y_scale)), is what the graph's own nodes give."""
    model, stored = int8_model(operator)
    x = np.random.default_rng(9).normal(0, 4, (2, 3, 8, 6)).astype(np.float32)
    x[0, 0, 0, :4] = np.float32([0.5, 1.5, -2.5, 1000]) * SCALES["x_scale"]  # ties go to even, and far values saturate
    codes = np.clip(np.rint(x.astype(np.float64) / SCALES["x_scale"]), -128, 127)
    assert codes[0, 0, 0, :4].tolist() == [0, 2, -2, 127]
    exact = real_map(operator, codes * SCALES["x_scale"], stored) / SCALES["y_scale"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    clear = np.abs(exact - np.floor(exact) - 0.5) > 1e-3  # float32 decides near-ties
    assert clear.mean() > 0.99 and (y == np.clip(np.rint(exact), -128, 127))[clear].all()
    assert y.min() == -128 and y.max() == 127 and len(np.unique(y)) > 50


def test_the_values_of_the_attention_become_those_of_its_output() -> None:
    model, stored = int8_model("TruncatedDctAttention")
    editor = GraphEditor(plugin_graph(model))
    node = next(item for item in editor.nodes if item.op_type == "TruncatedDctAttention")
    weight, bias, out = (editor.array(node.input[index]) for index in (7, 8, 9))
    wide = {name: value.astype(np.float64) for name, value in stored.items()}
    assert (weight == (wide["out_weight"] @ wide["value_weight"]).astype(np.float32)).all()
    assert (bias == (wide["out_weight"] @ wide["value_bias"]).astype(np.float32)).all()
    assert out.tolist() == [[1.0]]
    assert node.input[10] == "shift" and "out_weight" not in {item.name for item in editor.graph.initializer}


def test_values_that_are_few_stay_so() -> None:
    shapes = {"value_weight": (1, 3), "value_bias": (1,), "out_weight": (3, 1)}
    model, _ = int8_model(
        "TruncatedDctAttention", **{name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    )
    node = plugin_graph(model).graph.node[1]
    assert node.input[7:10] == list(shapes)


@pytest.mark.parametrize(
    "changed",
    [
        {"zero": np.uint8(0)},
        {"zero": np.int8(3)},
        {"x_scale": np.full(3, 0.1, np.float32), "zero": np.zeros(3, np.int8)},
    ],
    ids=["uint8", "zero point", "per channel"],
)
def test_rounding_that_the_plugins_cannot_do_stays_outside(changed: dict[str, np.ndarray]) -> None:
    graph = plugin_graph(int8_model(**changed)[0]).graph
    assert [node.op_type for node in graph.node][1:] == ["DequantizeLinear", "SpectralMask", "QuantizeLinear"]
    assert attribute_values(graph.node[2])["x_scale"] == 0.0


def test_kernels_inside_an_engine_keep_float_maps() -> None:
    graph = plugin_graph(int8_model()[0], int8=False).graph
    assert [node.op_type for node in graph.node][1:] == ["DequantizeLinear", "SpectralMask", "QuantizeLinear"]


@pytest.mark.parametrize("tensor", ["real", "x_real"])
def test_int8_maps_that_others_read_as_floats(tensor: str) -> None:
    model, _ = int8_model()
    model.graph.node.append(helper.make_node("Relu", [tensor], ["z"], "other"))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    editor = GraphEditor(plugin_graph(model))
    folded = tensor == "x_real"  # the one before only loses a reader, the one behind has to be written as a float
    (node,) = (item for item in editor.nodes if item.op_type == "SpectralMask")
    assert (node.input[0], node.output[0]) == (("x_int8", "y") if folded else ("x_real", "real"))
    assert [item.op_type for item in editor.nodes].count("DequantizeLinear") == 1
    maker = editor.producer(tensor)
    assert maker is not None and "other" in {item.name for item in editor.consumers(tensor)}
