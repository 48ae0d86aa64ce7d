"""Folding changes what a graph holds, not what it computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
from onnx import numpy_helper

from edgefsa.graph.folding import fold_batch_norms, fold_channel_affines, fold_constants, share_matrices


def graph_of(text: str, seed: int = 0, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')
    for node in model.graph.node:  # the text format has no dots in names
        node.input[:] = [name.replace("__", ".") for name in node.input]
    rng = np.random.default_rng(seed)
    for name, shape in shapes.items():
        value = rng.uniform(0.5, 2, shape) if name.startswith("var") else rng.normal(0, 1, shape)
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return model


def run(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


X = np.random.default_rng(1).normal(0, 1, (2, 3, 6, 7)).astype(np.float32)


def test_batch_norm_folds_into_the_padded_convolution_before_it():
    model = graph_of(
        """g (float[2,3,6,7] x) => (float[2,4,6,7] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, c__weight)
            y = BatchNormalization <epsilon = 0.001> (a, scale, bias, mean, var)
        }""",
        **{"c.weight": (4, 3, 3, 3)},
        **dict.fromkeys(("scale", "bias", "mean", "var"), (4,)),
    )
    before = run(model, X)
    fold_batch_norms(model)
    assert kinds(model) == ["Conv"]
    assert {item.name for item in model.graph.initializer} == {"c.weight", "c.bias"}
    np.testing.assert_allclose(run(model, X), before, rtol=0, atol=1e-5)


def test_batch_norm_folds_forward_only_where_no_padding_would_show():
    text = """g (float[2,3,6,7] x) => (float[2,4,6,7] y, float[2,4,{h},{w}] z) {{
        a = BatchNormalization (x, scale, bias, mean, var)
        y = Conv (a, c__weight)
        z = Conv <pads = [{p}, {p}, {p}, {p}]> (a, d__weight, d__bias)
    }}"""
    shapes = {"c.weight": (4, 3, 1, 1), "d.weight": (4, 3, 3, 3), "d.bias": (4,)}
    norms = dict.fromkeys(("scale", "bias", "mean", "var"), (3,))
    for padding, expected in ((0, ["Conv", "Conv"]), (1, ["BatchNormalization", "Conv", "Conv"])):
        model = graph_of(text.format(p=padding, h=4 + 2 * padding, w=5 + 2 * padding), **shapes, **norms)
        before = run(model, X)
        fold_batch_norms(model)
        assert kinds(model) == expected
        for value, reference in zip(run(model, X), before, strict=True):
            np.testing.assert_allclose(value, reference, rtol=0, atol=2e-5)


def test_batch_norm_stays_where_the_convolution_has_another_reader():
    model = graph_of(
        """g (float[2,3,6,7] x) => (float[2,4,6,7] y) {
            a = Conv (x, c__weight)
            b = BatchNormalization (a, scale, bias, mean, var)
            y = Add (a, b)
        }""",
        **{"c.weight": (4, 3, 1, 1)},
        **dict.fromkeys(("scale", "bias", "mean", "var"), (4,)),
    )
    fold_batch_norms(model)
    assert kinds(model) == ["Conv", "BatchNormalization", "Add"]


def test_factors_and_offsets_fold_into_the_1x1_convolution_that_reads_them():
    model = graph_of(
        """g (float[2,3,6,7] x) => (float[2,4,6,7] y, float[2,3,6,7] z) {
            a = Mul (x, factor)
            b = Add (offset, a)
            y = Conv (b, c__weight, c__bias)
            z = Mul (x, factor)
        }""",
        **{"c.weight": (4, 3, 1, 1), "c.bias": (4,), "factor": (3, 1, 1), "offset": (1, 3, 1, 1)},
    )
    before = run(model, X)
    fold_channel_affines(model)
    assert kinds(model) == ["Conv", "Mul"]
    for value, reference in zip(run(model, X), before, strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-5)


def test_a_norm_beside_a_convolution_weight_shared_with_another_leaves_the_other_alone():
    model = graph_of(
        """g (float[2,3,6,7] x) => (float[2,4,6,7] y, float[2,4,6,7] z) {
            a = Conv (x, c__weight)
            y = BatchNormalization (a, scale, bias, mean, var)
            z = Conv (x, c__weight)
        }""",
        **{"c.weight": (4, 3, 1, 1)},
        **dict.fromkeys(("scale", "bias", "mean", "var"), (4,)),
    )
    before = run(model, X)
    fold_batch_norms(model)
    for value, reference in zip(run(model, X), before, strict=True):
        np.testing.assert_allclose(value, reference, rtol=0, atol=1e-5)


def test_constant_nodes_and_casts_of_floats_to_float_become_stored_tensors():
    model = graph_of(
        """g (float[2,3,6,7] x) => (float[2,3,42] y) {
            shape = Constant <value_ints = [2, 3, 42]> ()
            two = Constant <value = float {2.0}> ()
            same = CastLike (two, x)
            a = Mul (x, same)
            y = Reshape (a, shape)
        }"""
    )
    before = run(model, X)
    fold_constants(model)
    assert kinds(model) == ["Mul", "Reshape"]
    np.testing.assert_array_equal(run(model, X), before)


def test_copies_of_a_matrix_are_stored_once_and_parameters_are_not_merged():
    model = graph_of(
        """g (float[2,4] x) => (float[2,4] y) {
            a = MatMul (x, copy_1)
            b = MatMul (a, copy_2)
            c = MatMul (b, other)
            d = MatMul (c, parameter)
            e = Add (d, bias_1)
            y = Add (e, bias_2)
        }""",
        other=(4, 4),
        copy_1=(4, 4),
        bias_1=(4,),
    )
    (first,) = (numpy_helper.to_array(item) for item in model.graph.initializer if item.name == "copy_1")
    (bias,) = (numpy_helper.to_array(item) for item in model.graph.initializer if item.name == "bias_1")
    for name, value in {"copy_2": first, "parameter": first, "bias_2": bias}.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    (expected,) = run(model, X[0, 0, :2, :4])
    share_matrices(model, lambda name: name != "parameter")
    names = {item.name for item in model.graph.initializer}
    assert names == {"copy_1", "other", "parameter", "bias_1", "bias_2"}
    np.testing.assert_array_equal(run(model, X[0, 0, :2, :4])[0], expected)
