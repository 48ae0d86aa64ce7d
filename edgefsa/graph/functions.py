"""The ONNX operators of domain `edgefsa` as model-local functions: their bodies in standard operators.

ONNX Runtime and TensorRT's parser run a body as it is, `graph.inline_functions` puts it in place for the other
tools, and TensorRT takes a plugin instead once the body is removed. Inside, feature maps and tokens keep their
channels last: convolutions on CPUs do so too, which makes the transposes at both ends free there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx.parser

from edgefsa.errors import ExportError
from edgefsa.graph.files import OPSET
from edgefsa.graph.operators import DOMAIN, SPECTRAL_MASK, TRUNCATED_DCT_ATTENTION, UPSAMPLE_ARGMAX, Operator

_UPSAMPLE_ARGMAX = """
{
    height = Constant <value_int: int = @height> ()
    width = Constant <value_int: int = @width> ()
    low_height_1 = Shape <start = 2, end = 3> (logits)
    low_width_1 = Shape <start = 3, end = 4> (logits)
    low_height = Squeeze (low_height_1)
    low_width = Squeeze (low_width_1)
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    float_zero = Constant <value_float = 0.0> ()
    float_one = Constant <value_float = 1.0> ()
    half = Constant <value_float = 0.5> ()
    first_axis = Constant <value_ints = [0]> ()
    last_axis = Constant <value_ints = [1]> ()
    %(rows)s
    %(columns)s
    columns_t = Transpose <perm = [1, 0]> (columns)
    wide = MatMul (logits, columns_t)
    large = MatMul (rows, wide)
    largest = ArgMax <axis = 1, keepdims = 0> (large)
    indices = Cast <to = 6> (largest)
}
"""

# Bilinear weights [large, low], align_corners=False: row i is a tent of width 1 around (i + 0.5) low / large - 0.5.
_TENT = """
    {out}_range = Range (zero, {large}, one)
    {out}_index = Cast <to = 1> ({out}_range)
    {out}_centre = Add ({out}_index, half)
    {out}_large = Cast <to = 1> ({large})
    {out}_low = Cast <to = 1> ({low})
    {out}_ratio = Div ({out}_low, {out}_large)
    {out}_scaled = Mul ({out}_centre, {out}_ratio)
    {out}_shifted = Sub ({out}_scaled, half)
    {out}_from_first = Max ({out}_shifted, float_zero)
    {out}_end = Sub ({out}_low, float_one)
    {out}_position = Min ({out}_from_first, {out}_end)
    {out}_position_2d = Unsqueeze ({out}_position, last_axis)
    {out}_low_range = Range (zero, {low}, one)
    {out}_low_index = Cast <to = 1> ({out}_low_range)
    {out}_low_2d = Unsqueeze ({out}_low_index, first_axis)
    {out}_offset = Sub ({out}_position_2d, {out}_low_2d)
    {out}_distance = Abs ({out}_offset)
    {out}_tent = Sub (float_one, {out}_distance)
    {out} = Relu ({out}_tent)
"""

# The shapes between maps and tokens. Each operator first makes analysis_h [kh, H] and analysis_w [kw, W], which
# give a map's coefficients, and synthesis_h [H, kh] and synthesis_w [W, kw], which give a map again.
_SETUP = """
    copied = Constant <value_ints = [0]> ()
    rest = Constant <value_ints = [-1]> ()
    kh = Shape <start = 0, end = 1> (analysis_h)
    kw = Shape <start = 0, end = 1> (analysis_w)
    height = Shape <start = 1, end = 2> (analysis_h)
    width = Shape <start = 1, end = 2> (analysis_w)
    tokens = Mul (kh, kw)
    shape_rows = Constant <value_ints = [0, 0, -1]> ()
    shape_token_rows = Concat <axis = 0> (copied, kh, width, rest)
    shape_tokens = Concat <axis = 0> (copied, tokens, rest)
    shape_grid = Concat <axis = 0> (copied, kh, kw, rest)
    shape_map = Concat <axis = 0> (copied, height, width, rest)
    over_samples = Constant <value_ints = [1]> ()
    over_first = Constant <value_ints = [0]> ()
    column = Constant <value_ints = [-1, 1]> ()
"""

_ATTENTION = """
{
    scale = Constant <value_float: float = @scale> ()
    analysis_h = Identity (basis_h)
    analysis_w = Identity (basis_w)
    synthesis_h = Transpose <perm = [1, 0]> (basis_h)
    synthesis_w = Transpose <perm = [1, 0]> (basis_w)
    query_weight_t = Transpose <perm = [1, 0]> (query_weight)
    key_weight_t = Transpose <perm = [1, 0]> (key_weight)
    value_weight_t = Transpose <perm = [1, 0]> (value_weight)
    out_weight_t = Transpose <perm = [1, 0]> (out_weight)
    %(setup)s
    map = Transpose <perm = [0, 2, 3, 1]> (x)
    %(passes)s
    update_first = Transpose <perm = [0, 3, 1, 2]> (update)
    y = Add (x, update_first)
}
"""

# dct(z) of a map [N, H, W, D]: tokens [N, kh kw, D].
_DCT = """
    {out}_in = Reshape ({z}, shape_rows)
    {out}_rows = MatMul (analysis_h, {out}_in)
    {out}_split = Reshape ({out}_rows, shape_token_rows)
    {out}_grid = MatMul (analysis_w, {out}_split)
    {out} = Reshape ({out}_grid, shape_tokens)
"""
# idct(t) of tokens [N, kh kw, D]: a map [N, H, W, D].
_IDCT = """
    {out}_grid = Reshape ({t}, shape_grid)
    {out}_wide = MatMul (synthesis_w, {out}_grid)
    {out}_flat = Reshape ({out}_wide, shape_rows)
    {out}_rows = MatMul (synthesis_h, {out}_flat)
    {out} = Reshape ({out}_rows, shape_map)
"""
# outer(p, q) of the two sides' [kh] and [kw] as a column [kh kw, 1].
_OUTER = """
    {out}_h = Unsqueeze ({p}, over_samples)
    {out}_w = Unsqueeze ({q}, over_first)
    {out}_product = Mul ({out}_h, {out}_w)
    {out} = Reshape ({out}_product, column)
"""
# d = dct(1), and the shift that a pass adds to every token: d shift^T.
_OF_ONES = (
    """
    sums_h = ReduceSum <keepdims = 0> (basis_h, over_samples)
    sums_w = ReduceSum <keepdims = 0> (basis_w, over_samples)
"""
    + _OUTER.format(out="of_ones", p="sums_h", q="sums_w")
    + """
    shift_row = Unsqueeze (shift, over_first)
    shift_tokens = Mul (of_ones, shift_row)
"""
)
_PROJECT = """
    q{i}_raw = MatMul (X{i}, query_weight_t)
    q{i} = Add (q{i}_raw, query_bias)
    k{i}_raw = MatMul (X{i}, key_weight_t)
    k{i} = Add (k{i}_raw, key_bias)
    v{i}_raw = MatMul (X{i}, value_weight_t)
    v{i} = Add (v{i}_raw, value_bias)
    k{i}_t = Transpose <perm = [0, 2, 1]> (k{i})
    affinity{i} = MatMul (q{i}, k{i}_t)
"""
_GRAM_DIAGONAL = """
    squares_h = Mul (basis_h, basis_h)
    squares_w = Mul (basis_w, basis_w)
    norms_h = ReduceSum <keepdims = 0> (squares_h, over_samples)
    norms_w = ReduceSum <keepdims = 0> (squares_w, over_samples)
""" + _OUTER.format(out="gram", p="norms_h", q="norms_w")

_DOT_PRODUCT_PASS = (
    _PROJECT
    + """
    scaled{i} = Mul (affinity{i}, scale)
    mixed{i} = MatMul (scaled{i}, v{i})
    U{i} = MatMul (mixed{i}, out_weight_t)
"""
)
_DOT_PRODUCT_NEXT = """
    gained{i} = Mul (U{i}, gram)
    moved{i} = Add (X{i}, gained{i})
    X{next} = Add (moved{i}, shift_tokens)
"""

# pairs of basis rows [k k, samples] for the weighted Gram matrix.
_PAIRS = """
    {out}_a = Unsqueeze ({basis}, over_samples)
    {out}_b = Unsqueeze ({basis}, over_first)
    {out}_product = Mul ({out}_a, {out}_b)
    {out} = Reshape ({out}_product, {out}_shape)
"""
_GRAM_SETUP = (
    """
    pairs_h_shape = Concat <axis = 0> (rest, height)
    pairs_w_shape = Concat <axis = 0> (rest, width)
"""
    + _PAIRS.format(out="pairs_h", basis="basis_h")
    + _PAIRS.format(out="pairs_w", basis="basis_w")
    + """
    pairs_w_t = Transpose <perm = [1, 0]> (pairs_w)
    shape_pairs = Concat <axis = 0> (copied, kh, kh, kw, kw)
    shape_gram = Concat <axis = 0> (copied, tokens, tokens)
    shape_plane_grid = Concat <axis = 0> (copied, kh, kw)
    last = Constant <value_ints = [3]> ()
    floor = Constant <value_float = 1e-12> ()
    unit = Constant <value_float = 1.0> ()
    of_ones_row = Transpose <perm = [1, 0]> (of_ones)
"""
)
# G(m) of a plane [N, H, W]: [N, kh kw, kh kw].
_GRAM = """
    {out}_rows = MatMul (pairs_h, {m})
    {out}_pairs = MatMul ({out}_rows, pairs_w_t)
    {out}_split = Reshape ({out}_pairs, shape_pairs)
    {out}_turned = Transpose <perm = [0, 1, 3, 2, 4]> ({out}_split)
    {out} = Reshape ({out}_turned, shape_gram)
"""
# dct of a plane [N, H, W]: tokens [N, kh kw, 1]; and the inverse.
_PLANE_DCT = """
    {out}_rows = MatMul (analysis_h, {z})
    {out}_grid = MatMul ({out}_rows, synthesis_w)
    {out} = Reshape ({out}_grid, shape_tokens)
"""
_PLANE_IDCT = """
    {out}_grid = Reshape ({t}, shape_plane_grid)
    {out}_wide = MatMul ({out}_grid, analysis_w)
    {out} = MatMul (synthesis_h, {out}_wide)
"""
_INVERSE_NORM = (
    _IDCT
    + """
    {out}_norm = ReduceL2 <keepdims = 0> ({out}, last)
    {out}_floored = Add ({out}_norm, floor)
    {out}_inverse = Reciprocal ({out}_floored)
"""
)
_LINSOFTMAX_PASS = (
    _PROJECT
    + _INVERSE_NORM.format(out="a{i}", t="q{i}")
    + _INVERSE_NORM.format(out="b{i}", t="k{i}")
    + _GRAM.format(out="gram_b{i}", m="b{i}_inverse")
    + """
    weighted{i} = MatMul (affinity{i}, gram_b{i})
    mixed{i} = MatMul (weighted{i}, v{i})
    U{i} = MatMul (mixed{i}, out_weight_t)
    total_value{i} = MatMul (of_ones_row, v{i})
    mean{i} = MatMul (total_value{i}, out_weight_t)
    mean_map{i} = Unsqueeze (mean{i}, over_samples)
"""
    + _PLANE_DCT.format(out="tokens_b{i}", z="b{i}_inverse")
    + "    mass_tokens{i} = MatMul (affinity{i}, tokens_b{i})\n"
    + _PLANE_IDCT.format(out="mass{i}", t="mass_tokens{i}")
    + """
    mass_a{i} = Mul (mass{i}, a{i}_inverse)
    mass_scaled{i} = Mul (mass_a{i}, scale)
    divisor{i} = Add (mass_scaled{i}, unit)
    v{i}_plane = Div (scale, divisor{i})
    e{i}_plane = Mul (a{i}_inverse, v{i}_plane)
    v{i}_map = Unsqueeze (v{i}_plane, last)
    e{i}_map = Unsqueeze (e{i}_plane, last)
"""
    + _IDCT.format(out="back{i}", t="U{i}")
    + """
    attended{i} = Mul (back{i}, e{i}_map)
    averaged{i} = Mul (mean_map{i}, v{i}_map)
    joined{i} = Add (attended{i}, averaged{i})
    update{i} = Add (joined{i}, shift)
"""
)
_LINSOFTMAX_NEXT = (
    _GRAM.format(out="gram_e{i}", m="e{i}_plane")
    + _PLANE_DCT.format(out="tokens_v{i}", z="v{i}_plane")
    + """
    gained{i} = MatMul (gram_e{i}, U{i})
    moved{i} = Add (X{i}, gained{i})
    spread{i} = MatMul (tokens_v{i}, mean{i})
    spread_moved{i} = Add (moved{i}, spread{i})
    X{next} = Add (spread_moved{i}, shift_tokens)
"""
)

_SPECTRAL_MASK = """
{
    synthesis_h = Identity (basis_h)
    synthesis_w = Identity (basis_w)
    analysis_h = Transpose <perm = [1, 0]> (basis_h)
    analysis_w = Transpose <perm = [1, 0]> (basis_w)
    coupling_gain_t = Transpose <perm = [1, 0]> (coupling_gain)
    coupling_base_t = Transpose <perm = [1, 0]> (coupling_base)
    %(setup)s
    map = Transpose <perm = [0, 2, 3, 1]> (x)
    %(dct)s
    gained = MatMul (coupling_gain_t, modes)
    scaled = Mul (gained, gain)
    based = MatMul (coupling_base_t, modes)
    change = Sub (scaled, based)
    %(idct)s
    back_first = Transpose <perm = [0, 3, 1, 2]> (back)
    unit = Constant <value_float = 1.0> ()
    rest_gain = Sub (unit, gain)
    per_channel = Constant <value_ints = [-1, 1, 1]> ()
    rest_gain_3d = Reshape (rest_gain, per_channel)
    passed = Mul (x, rest_gain_3d)
    y = Add (passed, back_first)
}
"""


def upsample_argmax() -> onnx.FunctionProto:
    """The body of `UpsampleArgmax`: logits float [N, K, h, w] to class indices int32 [N, height, width].

    Bilinear, align_corners=False, as two products with the interpolation matrices (3 to 6 times faster on CPUs
    than Resize followed by ArgMax), then the first class that is largest. The indices are not uint8 yet, because
    TensorRT has uint8 only at the very inputs and outputs of a network, not inside a function.
    """
    rows = _TENT.format(out="rows", large="height", low="low_height")
    columns = _TENT.format(out="columns", large="width", low="low_width")
    return _function(UPSAMPLE_ARGMAX, _UPSAMPLE_ARGMAX % {"rows": rows, "columns": columns})


def truncated_dct_attention(mode: str, recurrence: int) -> onnx.FunctionProto:
    """The body of `TruncatedDctAttention` for one mode and number of passes; the formula and the shapes are in
    `edgefsa.models.formulas.truncated_dct_attention`.
    """
    passes = _DCT.format(out="X0", z="map")
    if recurrence > 1 or mode == "linsoftmax":
        passes += _OF_ONES
    passes += _dot_product(recurrence) if mode == "dot_product" else _linsoftmax(recurrence)
    return _function(TRUNCATED_DCT_ATTENTION, _ATTENTION % {"setup": _SETUP, "passes": passes})


def spectral_mask() -> onnx.FunctionProto:
    """The body of `SpectralMask`; the formula and the shapes are in `edgefsa.models.formulas.spectral_mask`."""
    dct, idct = _DCT.format(out="modes", z="map"), _IDCT.format(out="back", t="change")
    return _function(SPECTRAL_MASK, _SPECTRAL_MASK % {"setup": _SETUP, "dct": dct, "idct": idct})


def _dot_product(recurrence: int) -> str:
    text = _GRAM_DIAGONAL if recurrence > 1 else ""
    for i in range(recurrence):
        text += _DOT_PRODUCT_PASS.format(i=i)
        if i + 1 < recurrence:
            text += _DOT_PRODUCT_NEXT.format(i=i, next=i + 1)
    changes = ", ".join(f"U{i}" for i in range(recurrence))
    text += f"change = {'Sum' if recurrence > 1 else 'Identity'} ({changes})\n"
    text += _IDCT.format(out="back", t="change")
    text += f"passes = Constant <value_float = {float(recurrence)}> ()\n"
    return text + "shift_all = Mul (shift, passes)\n update = Add (back, shift_all)\n"


def _linsoftmax(recurrence: int) -> str:
    text = _GRAM_SETUP
    for i in range(recurrence):
        text += _LINSOFTMAX_PASS.format(i=i)
        if i + 1 < recurrence:
            text += _LINSOFTMAX_NEXT.format(i=i, next=i + 1)
    updates = ", ".join(f"update{i}" for i in range(recurrence))
    return text + f"update = {'Sum' if recurrence > 1 else 'Identity'} ({updates})\n"


def _function(operator: Operator, body: str) -> onnx.FunctionProto:
    attributes = f"<{', '.join(operator.attribute_names)}>" if operator.attributes else ""
    signature = f"{operator.name} {attributes} ({', '.join(operator.input_names)}) => ({operator.output.name})"
    return onnx.parser.parse_function(f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n{signature}\n{body}')


# For each operator the body that a node's attributes ask for.
_BODIES: dict[str, Callable[[dict[str, Any]], onnx.FunctionProto]] = {
    TRUNCATED_DCT_ATTENTION.name: lambda given: truncated_dct_attention(given["mode"].decode(), given["recurrence"]),
    SPECTRAL_MASK.name: lambda _: spectral_mask(),
    UPSAMPLE_ARGMAX.name: lambda _: upsample_argmax(),
}


def function_for(node: onnx.NodeProto) -> onnx.FunctionProto:
    """Return the body for a node of domain `edgefsa`, specialised to the attributes that shape it."""
    if node.op_type not in _BODIES:
        raise ExportError(f"the operator {DOMAIN}::{node.op_type} has no body here; update edgefsa")
    return _BODIES[node.op_type]({item.name: onnx.helper.get_attribute_value(item) for item in node.attribute})
