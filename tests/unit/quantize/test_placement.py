from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgefsa.errors import InputError
from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.functions import spectral_mask
from edgefsa.quantize.placement import never_negative, place

CONVOLUTIONS = {"stem", "a1", "a2", "b1", "b2", "down", "c", "mix", "logits"}


def test_every_convolution_reads_quantised_activations_and_weights(network: onnx.ModelProto):
    plan = place(network)
    assert set(plan.weights) == CONVOLUTIONS
    assert {(name, 0) for name in CONVOLUTIONS} <= plan.reads


def test_only_the_skip_of_a_residual_addition_is_quantised(network: onnx.ModelProto):
    reads = place(network).reads
    assert ("a_sum", 1) in reads and ("a_sum", 0) not in reads
    # Convolutions on both sides: the deeper one, b2, takes the addition in, so `down` is the skip.
    assert ("b_sum", 0) in reads and ("b_sum", 1) not in reads


def test_integer_outputs_are_read_by_all(network: onnx.ModelProto):
    plan, plain = place(network, integer_outputs=True), place(network)
    assert {("a_sum", 0), ("a_sum", 1), ("b_sum", 0), ("b_sum", 1)} <= plan.reads
    assert {"a2", "b2"} <= set(plan.tensors) and {"a2", "b2"}.isdisjoint(plain.tensors)
    # Also where the reader computes in float: the frequency operator behind `c`, the norm behind `mix`.
    assert {("filtered", 0), ("normed", 0)} <= plan.reads and {"c_relu", "mix_relu"} <= set(plan.tensors)
    assert set(plan.weights) == CONVOLUTIONS - {"logits"} and "logits" in plan.float_nodes


def test_integer_sums_quantise_both_sides_of_residual_additions_and_nothing_else(network: onnx.ModelProto):
    plan, plain = place(network, integer_sums=True), place(network)
    assert plan.reads - plain.reads == {("a_sum", 0), ("b_sum", 1)} and plain.reads < plan.reads
    assert set(plan.tensors) - set(plain.tensors) == {"a2", "b2"} and plan.weights == plain.weights


POOLED = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1,2,8,8] x) => (float[1,2,4,4] y) <float[2,2,1,1] w = {1, 2, 3, 4}> {
    stem = Conv (x, w)
    pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (stem)
    y = Conv (pooled, w)
}"""


@pytest.mark.parametrize("reader", ["", "Neg"])
def test_a_max_pooling_passes_integers_on_where_nothing_reads_it_in_float(reader: str):
    model = onnx.parser.parse_model(POOLED)
    if reader:
        model.graph.node.append(onnx.helper.make_node(reader, ["pooled"], ["other"]))
    for node in model.graph.node:
        node.name = node.output[0]
    plan = place(model, integer_sums=True)
    assert ("pooled", 0) not in place(model).reads
    assert (("pooled", 0) in plan.reads) == (not reader)
    assert plan.shared == ([] if reader else [{"stem", "pooled"}])


def test_a_concatenation_shares_one_scale(network: onnx.ModelProto):
    plan = place(network)
    assert {("both", 0), ("both", 1), ("mix", 0)} <= plan.reads
    assert plan.shared == [{"large", "a_out", "both"}]


def test_nothing_is_quantised_before_a_resize_a_frequency_operator_or_a_norm(network: onnx.ModelProto):
    plan = place(network)
    untouched = {"large", "filtered", "normed", "indices"}
    assert untouched.isdisjoint(name for name, _ in plan.reads)
    assert {"filtered", "c_relu", "mix_relu", "logits"}.isdisjoint(plan.tensors)


def test_what_stays_in_float_says_why(network: onnx.ModelProto):
    assert place(network).float_nodes == {
        "filtered": "frequency operator",
        "normed": "norm",
        "indices": "upsampling and argmax of the logits",
    }


def test_tensors_are_in_the_order_of_the_graph(network: onnx.ModelProto):
    tensors = ["image", "stem_relu", "a1_relu", "a_out", "b1_relu", "down", "b_out", "large", "both", "normed"]
    assert place(network).tensors == tensors


def test_skipped_nodes_stay_in_float_with_their_surroundings(network: onnx.ModelProto):
    plan = place(network, ["a*", "mix"])
    assert {"a1", "a2", "mix"}.isdisjoint(plan.weights)
    assert plan.float_nodes["a2"] == plan.float_nodes["mix"] == "skipped on request"
    assert {"a1", "a2", "a_sum", "mix", "both"}.isdisjoint(name for name, _ in plan.reads)
    assert plan.shared == []


def test_a_pattern_that_fits_no_node_is_refused(network: onnx.ModelProto):
    with pytest.raises(InputError, match=r"skip 'layer9\*' fits no node; node names look like 'stem'"):
        place(network, ["layer9*"])


def test_a_residual_stream_between_norms_stays_in_float():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,4,6,6] x) => (float[1,4,6,6] y)
        <float[4,4,1,1] w = {0}, float[4] one = {1, 1, 1, 1}, float[4] zero = {0, 0, 0, 0}>
        {
            n = InstanceNormalization (x, one, zero)
            c = Conv (n, w)
            s = Add (x, c)
            m = InstanceNormalization (s, one, zero)
            d = Conv (m, w)
            y = Add (s, d)
        }"""
    )
    for node in model.graph.node:
        node.name = node.output[0]
    assert place(model).reads == {("c", 0), ("d", 0)}


MIXER = """<ir_version: 10, opset_import: ["" : 20, "edgefsa" : 1]>
g (float[1,4,9,9] x) => (float[1,4,9,9] logits) {
    inner = Conv (x, w)
    rows = Conv <group = 4, pads = [0, 3, 0, 3]> (inner, row)
    both = Conv <group = 4, pads = [3, 0, 3, 0]> (rows, column)
    low = edgefsa.SpectralMask (both, gain, basis, basis, coupling, coupling)
    context = Conv (low, w)
    product = Mul (both, context)
    out = Conv (product, w)
    sum = Add (x, out)
    logits = Conv (sum, w)
}"""
MIXER_SHAPES = {
    **{"w": (4, 4, 1, 1), "row": (4, 1, 1, 7), "column": (4, 1, 7, 1)},
    **{"gain": (4,), "basis": (9, 3), "coupling": (9, 9)},
}


def mixer() -> onnx.ModelProto:
    """SPANet's token mixer, between a float input and a float output."""
    model, rng = onnx.parser.parse_model(MIXER), np.random.default_rng(6)
    for name, shape in MIXER_SHAPES.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(0, 0.5, shape).astype(np.float32), name))
    for node in model.graph.node:
        node.name = node.output[0]
    model.functions.append(spectral_mask())
    return onnx.shape_inference.infer_shapes(model, check_type=True)


def test_a_mixer_multiplies_in_float_between_its_convolutions():
    model = mixer()
    convs = ["inner", "rows", "both", "context", "out", "logits"]
    plan = place(model)
    assert plan.weights == convs and plan.float_nodes == {"low": "frequency operator"}
    # Besides the convolutions only the skip is rounded: the filter and the product take floats.
    assert plan.reads == {*((name, 0) for name in convs), ("sum", 0)}
    assert plan.tensors == ["x", "inner", "rows", "low", "product", "sum"]
    integers = place(model, integer_outputs=True)
    assert {("product", 0), ("product", 1), ("low", 0)} <= integers.reads


def test_maps_of_an_operator_are_quantised_where_nothing_needs_them_in_float():
    plain, plan = place(mixer()), place(mixer(), int8_operators=True)
    # The product reads the rounded map too, so that its maker writes nothing but INT8.
    assert plan.reads - plain.reads == {("low", 0), ("product", 0)}
    assert set(plan.tensors) - set(plain.tensors) == {"both"} and plan.weights == plain.weights


@pytest.mark.parametrize("operator, inputs", [("Relu", ["both"]), ("Relu", ["low"]), ("Mul", ["both", "both"])])
def test_maps_that_something_reads_in_float_stay_in_float(operator: str, inputs: list[str]):
    model = mixer()  # a product is no exception where no quantised node reads it
    model.graph.node.append(onnx.helper.make_node(operator, inputs, ["other"], "other"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, None))
    assert place(model, int8_operators=True).reads == place(model).reads


@pytest.mark.parametrize("tensor", ["both", "low"])
def test_maps_that_are_outputs_stay_in_float(tensor: str):
    model = mixer()
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    assert place(model, int8_operators=True).reads == place(model).reads


def test_operators_before_a_resize_or_skipped_stay_in_float(network: onnx.ModelProto):
    assert place(network, int8_operators=True).reads == place(network).reads
    assert place(mixer(), ["low"], int8_operators=True).reads == place(mixer()).reads


def test_products_of_two_activations_stay_in_float():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,4,4] x) => (float[1,4,2] y) <float[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        {
            p = MatMul (x, x)
            y = MatMul (p, w)
        }"""
    )
    for node in model.graph.node:
        node.name = node.output[0]
    plan = place(model)
    assert plan.weights == ["y"] and plan.float_nodes == {"p": "product of two activations"}


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("MatMul (x, matrix)", ""),
        ("Gemm <transB = 1> (x, matrix, vector)", ""),
        ("MatMul (matrix, x)", "its left factor is stored"),
        ("MatMul (x, stack)", "its weight is no matrix"),
        ("MatMul (x, vector)", "its weight is no matrix"),
        ("Gemm <alpha = 2.0> (x, matrix)", "a product with factors"),
        ("Gemm <beta = 0.5> (x, matrix, vector)", "a product with factors"),
        ("Gemm <transA = 1> (x, matrix)", "a transposed input"),
        ("Gemm (x, matrix, x)", "a bias that is no stored vector"),
        ("Gemm (x, matrix, matrix)", "a bias that is no stored vector"),
    ],
)
def test_products_are_quantised_where_they_are_what_a_linear_is(operator: str, reason: str):
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[4,4] x) => (float y) {{ y = {operator} }}"""
    model = onnx.parser.parse_model(text)
    model.graph.node[0].name = "y"
    for name, shape in {"matrix": (4, 4), "stack": (2, 4, 4), "vector": (4,)}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    plan = place(model)
    assert plan.weights == ([] if reason else ["y"]) and reason in plan.float_nodes.get("y", "")


@pytest.mark.parametrize("moved", ["", "m = Transpose <perm = [1, 0]> (s)"])
def test_a_product_that_reads_a_softmax_stays_in_float(moved: str):
    body = f"h = MatMul (x, w) s = Softmax (h) {moved} y = MatMul ({'m' if moved else 's'}, w)"
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {{1, 2, 3, 4}}> {{ {body} }}"""
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    plan = place(model)
    assert plan.weights == ["h"] and plan.float_nodes == {"s": "softmax", "y": "reads a softmax"}


def test_a_products_result_is_read_as_floats_or_as_integers_but_not_as_both():
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[2,3,2] x) => (float[2,3,2] y) <float[2,2] w = {1, 2, 3, 4}, float[2] b = {1, 2}> {
        h = MatMul (x, w)
        s = Add (h, b)
        k = MatMul (s, w)
        y = Add (s, k)
    }"""
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    # The sum needs no pair for its own sake: a product's kernel takes no addition in.
    assert place(model).reads == {("h", 0), ("k", 0)}
    assert place(model, integer_outputs=True).reads == {("h", 0), ("k", 0), ("y", 0)}


@pytest.mark.parametrize(("constant", "plain"), [(0.0, True), (2.0, True), (-0.5, False)])
def test_a_stored_part_counts_when_signs_are_told(constant: float, plain: bool):
    text = """<ir_version: 10, opset_import: ["" : 20]>
    signs (float[1,2,4,4] x) => (float[1,5,4,4] y) <int64[4] same = {1, 5, 4, 4}> {
        positive = Relu (x)
        both = Concat <axis = 1> (positive, part)
        all = Concat <axis = 1> (both, positive)
        turned = Reshape (all, same)
        alone = Concat <axis = 1> (part, part)
        mixed = Concat <axis = 1> (positive, x)
        y = MaxPool <kernel_shape = [1, 1]> (turned)
    }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.full((1, 1, 4, 4), constant, np.float32), "part"))
    expected = {"positive"} | ({"both", "all", "turned", "alone", "y"} if plain else set())
    assert never_negative(GraphEditor(model)) == expected


@pytest.mark.parametrize(("mode", "plain"), [("nearest", True), ("linear", True), ("cubic", False)])
def test_a_resize_keeps_the_sign_but_for_the_cubic_one(mode: str, plain: bool):
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] twice = {{1, 1, 2, 2}}> {{
        positive = Relu (x)
        y = Resize <mode = "{mode}"> (positive, , twice)
    }}"""
    assert never_negative(GraphEditor(onnx.parser.parse_model(text))) == {"positive"} | ({"y"} if plain else set())


def test_a_concatenation_with_a_stored_part_is_not_passed_through(network: onnx.ModelProto):
    concat = next(node for node in network.graph.node if node.op_type == "Concat")
    stored = numpy_helper.from_array(np.zeros((1, 8, 12, 16), np.float32), "stored")
    network.graph.initializer.append(stored)
    concat.input[1] = "stored"
    plan = place(network)
    assert not {name for name, _ in plan.reads} & {concat.name} and concat.output[0] in plan.tensors
