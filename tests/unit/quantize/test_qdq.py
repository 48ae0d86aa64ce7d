from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgefsa.errors import InputError, RangesError
from edgefsa.graph.files import read_metadata, weights_hash
from edgefsa.quantize import Ranges, int8_onnx
from edgefsa.quantize.calibrate import calibrated_tensors
from tests.unit.quantize.conftest import run


def ranges_of(model: onnx.ModelProto, amax: float = 100.0, **changes: float) -> Ranges:
    tensors = calibrated_tensors(model)
    values = {name: {"amax": changes.get(name, amax)} for name in tensors}
    return Ranges("small", weights_hash(model), "minmax", {"name": "t", "fingerprint": "", "frames": 1}, values)


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def source_kinds(model: onnx.ModelProto, name: str) -> list[str]:
    """The operators that make the inputs of the node `name`; "" for what is stored."""
    made = {output: node.op_type for node in model.graph.node for output in node.output}
    node = next(node for node in model.graph.node if node.name == name)
    return [made.get(tensor, "") for tensor in node.input]


def fake_quantised(x: np.ndarray, scale: float, low: int = -128) -> np.ndarray:
    return np.clip(np.rint(x.astype(np.float32) / np.float32(scale)), low, 127).astype(np.float64) * scale


SINGLE = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1,3,5,6] x) => (float[1,4,5,6] y) {
    y = Conv <pads = [1, 1, 1, 1]> (x, w, b)
}"""


@pytest.fixture
def single() -> onnx.ModelProto:
    model = onnx.parser.parse_model(SINGLE)
    model.graph.node[0].name = "y"
    rng = np.random.default_rng(4)
    weight = rng.normal(0, 1, (4, 3, 3, 3)) * np.array([0.01, 1, 30, 0]).reshape(4, 1, 1, 1)
    for name, value in (("w", weight), ("b", rng.normal(0, 1, 4))):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return model


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight) + bias.reshape(1, -1, 1, 1)


@pytest.mark.parametrize("activations", ["int8", "uint8", "mixed"])
def test_the_numbers_are_those_of_the_formula(single: onnx.ModelProto, activations: str):
    quantised, _ = int8_onnx(single, ranges_of(single, 2.0), activations=activations)
    x = np.random.default_rng(1).normal(0, 1.5, (1, 3, 5, 6)).astype(np.float32)
    assert np.abs(x).max() > 2  # something is clipped
    before = stored(single)
    scales = np.abs(before["w"]).max(axis=(1, 2, 3), keepdims=True) / 127
    scales[scales == 0] = 1
    weight = np.clip(np.rint(before["w"] / scales), -127, 127) * scales.astype(np.float64)
    expected = convolved(fake_quantised(x, 2 / 127), weight, before["b"].astype(np.float64))
    (y,) = run(quantised, x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_weights_of_7_bits_leave_room_for_sums_of_two_products(network: onnx.ModelProto):
    quantised, summary = int8_onnx(network, ranges_of(network), weight_bits=7)
    before, tensors = stored(network), stored(quantised)
    for name in (f"{node}_w" for node in ("stem", "a1", "a2", "b1", "b2", "down", "c", "mix")):
        weight, scale = tensors[f"{name}.int8"].astype(np.int64), tensors[f"{name}.scale"]
        np.testing.assert_array_equal(np.abs(weight.reshape(len(weight), -1)).max(1), 64)
        assert 2 * np.iinfo(np.uint8).max * np.abs(weight).max() <= np.iinfo(np.int16).max
        error = np.abs(weight * scale.reshape(-1, 1, 1, 1) - before[name])
        assert (error <= 0.501 * scale.reshape(-1, 1, 1, 1)).all()
    assert len(summary.quantised) == 9


def test_unsigned_codes_end_at_the_range():
    """What a tensor that is never negative holds beyond its range is clipped, as in the symmetric form."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,2,5,6] x) => (float[1,2,5,6] y)
        <float[2,2,1,1] v = {1, 0, 0, 1}, float[2,2,1,1] w = {1, 0, 0, 1}>
        {
            a = Conv (x, v)
            r = Relu (a)
            y = Conv (r, w)
        }"""
    )
    for node in model.graph.node:
        node.name = node.output[0]
    ranges = ranges_of(model, 8.0, r=4.0)
    quantised, summary = int8_onnx(model, ranges, activations="uint8")
    assert summary.tensors["r"] == 4 / 255 and summary.tensors["x"] == 8 / 127
    probe = "r/DequantizeLinear"
    values = run(quantised, np.linspace(-8, 8, 60, dtype=np.float32).reshape(1, 2, 5, 6), [probe])[0]
    assert values.max() == pytest.approx(4, rel=1e-6) and values.min() == 0
    symmetric = run(int8_onnx(model, ranges)[0], np.full((1, 2, 5, 6), 8, np.float32), [probe])[0]
    assert symmetric.max() == pytest.approx(4, rel=1e-6)


def test_joined_tensors_have_the_steps_of_the_signed_one(network: onnx.ModelProto):
    ranges = ranges_of(network, 1.0, large=3.0, a_out=12.7, both=5.0)
    _, summary = int8_onnx(network, ranges, activations="uint8")
    # The resized map may be negative: zero point 128 for all three, and 127 steps above it.
    assert summary.tensors["large"] == summary.tensors["a_out"] == summary.tensors["both"] == 12.7 / 127
    assert summary.tensors["stem_relu"] == 1 / 255


def test_weights_are_stored_as_int8_and_biases_stay_in_float(network: onnx.ModelProto):
    quantised, summary = int8_onnx(network, ranges_of(network))
    tensors = stored(quantised)
    assert set(summary.quantised) == {"stem", "a1", "a2", "b1", "b2", "down", "c", "mix", "logits"}
    for name in summary.quantised:
        assert source_kinds(quantised, name)[:2] == ["DequantizeLinear", "DequantizeLinear"]
    assert source_kinds(quantised, "stem")[2] == ""
    assert tensors["stem_w.int8"].dtype == np.int8 and tensors["stem_w.int8"].min() >= -127
    assert tensors["stem_w.scale"].shape == (8,) and "stem_w" not in tensors
    assert tensors["stem_b"].dtype == np.float32
    rounded = np.abs(tensors["stem_w.int8"].reshape(8, -1)).max(1)
    np.testing.assert_array_equal(rounded, 127)  # each output channel uses its whole range
    float_bytes, int8_bytes = (sum(item.nbytes for item in stored(model).values()) for model in (network, quantised))
    assert int8_bytes < 0.5 * float_bytes


def test_activations_have_scalar_scales_and_zero_point_0(network: onnx.ModelProto):
    quantised, summary = int8_onnx(network, ranges_of(network, 100, image=254))
    tensors = stored(quantised)
    assert summary.tensors["image"] == 2.0 and tensors["image.scale"] == 2.0
    for node in quantised.graph.node:
        if node.op_type == "QuantizeLinear":
            assert tensors[node.input[1]].shape == () and tensors[node.input[2]].shape == ()
            assert tensors[node.input[2]].dtype == np.int8 and tensors[node.input[2]] == 0


def test_pairs_sit_where_the_plan_says(network: onnx.ModelProto):
    quantised, _ = int8_onnx(network, ranges_of(network))
    assert source_kinds(quantised, "a_sum") == ["Conv", "DequantizeLinear"]
    assert source_kinds(quantised, "b_sum") == ["DequantizeLinear", "Conv"]
    assert source_kinds(quantised, "both") == ["DequantizeLinear", "DequantizeLinear"]
    assert source_kinds(quantised, "large")[0] == "SpectralMask"
    assert source_kinds(quantised, "filtered")[0] == "Relu"
    assert source_kinds(quantised, "normed") == ["Relu"]
    assert source_kinds(quantised, "indices") == ["Conv"]
    pairs = [node.input[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear"]
    assert len(pairs) == len(set(pairs))  # one pair a tensor, however many read it
    assert quantised.functions == network.functions
    onnx.checker.check_model(quantised, full_check=True)
    assert read_metadata(quantised) == read_metadata(network)


def test_a_concatenation_has_the_largest_scale_of_its_parts(network: onnx.ModelProto):
    ranges = ranges_of(network, 1.0, large=3.0, a_out=12.7, both=5.0)
    tensors = stored(int8_onnx(network, ranges)[0])
    assert tensors["large.scale"] == tensors["a_out.scale"] == tensors["both.scale"] == np.float32(0.1)
    assert tensors["stem_relu.scale"] == np.float32(1 / 127)


@pytest.mark.parametrize(
    "form", [{"activations": "int8"}, {"activations": "uint8"}, {"activations": "mixed"}, {"rest": "f16"}], ids=str
)
def test_int8_follows_float(network: onnx.ModelProto, frames: list[np.ndarray], form: dict[str, str]):
    tensors = calibrated_tensors(network)
    values = run(network, frames[4][None], tensors)
    ranges = ranges_of(
        network, **{name: float(np.abs(value).max()) for name, value in zip(tensors, values, strict=True)}
    )
    (logits,) = run(network, frames[4][None], ["logits"])
    (low,) = run(int8_onnx(network, ranges, **form)[0], frames[4][None], ["logits"])
    error = np.linalg.norm(low - logits) / np.linalg.norm(logits)
    assert 1e-4 < error < 0.05


def test_uint8_has_zero_point_0_only_where_nothing_is_negative(network: onnx.ModelProto):
    quantised, summary = int8_onnx(network, ranges_of(network), activations="uint8")
    tensors = stored(quantised)
    zeros = {name: int(tensors[f"{name}.zero_point"]) for name in summary.tensors}
    assert all(tensors[f"{name}.zero_point"].dtype == np.uint8 for name in zeros)
    assert zeros["stem_relu"] == zeros["a1_relu"] == zeros["b1_relu"] == 0
    assert zeros["image"] == zeros["down"] == zeros["a2"] == 128
    # The resized map may be negative, so all that it is joined with has its zero point.
    assert zeros["large"] == zeros["a_out"] == zeros["both"] == 128
    assert source_kinds(quantised, "a_sum") == source_kinds(quantised, "b_sum") == ["DequantizeLinear"] * 2
    assert source_kinds(quantised, "filtered")[0] == source_kinds(quantised, "normed")[0] == "DequantizeLinear"
    assert tensors["stem_w.int8"].dtype == np.int8


def test_mixed_activations_are_uint8_where_nothing_is_negative_or_maps_are_joined(network: onnx.ModelProto):
    quantised, summary = int8_onnx(network, ranges_of(network, 100.0), activations="mixed")
    tensors = stored(quantised)
    zeros = {name: tensors[f"{name}.zero_point"] for name in summary.tensors}
    plain, joined = {"stem_relu", "a1_relu", "b1_relu", "b_out"}, {"large", "a_out", "both"}
    assert {name for name, zero in zeros.items() if (zero.dtype, int(zero)) == (np.uint8, 0)} == plain
    assert {name for name, zero in zeros.items() if (zero.dtype, int(zero)) == (np.uint8, 128)} == joined
    assert {zero.dtype for name, zero in zeros.items() if name not in plain | joined} == {np.dtype(np.int8)}
    # The largest value has the largest code: 255 above 0, or 127 on either side.
    for name, scale in summary.tensors.items():
        assert scale == pytest.approx(100 / (255 if name in plain else 127))
    assert source_kinds(quantised, "a_sum") == source_kinds(quantised, "b_sum") == ["DequantizeLinear"] * 2
    assert source_kinds(quantised, "filtered")[0] == source_kinds(quantised, "normed")[0] == "Relu"
    assert source_kinds(quantised, "logits") == ["DequantizeLinear", "DequantizeLinear", ""]


def test_a_relu_before_zero_point_128_is_rounded_on_both_sides_with_the_same_steps():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,2,5,6] x) => (float[1,2,5,6] y)
        <float[2,2,1,1] v = {1, -2, 3, 4}, float[2,4,1,1] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        {
            a = Conv (x, v)
            r = Relu (a)
            both = Concat <axis = 1> (x, r)
            y = Conv (both, w)
        }"""
    )
    for node in model.graph.node:
        node.name = node.output[0]
    quantised, summary = int8_onnx(model, ranges_of(model, 4.0), activations="uint8")
    assert source_kinds(quantised, "r") == ["DequantizeLinear"]
    assert summary.tensors["a"] == summary.tensors["r"] == 4 / 127
    x = np.random.default_rng(1).normal(0, 1, (1, 2, 5, 6)).astype(np.float32)
    plain = int8_onnx(model, ranges_of(model, 4.0))[0]
    np.testing.assert_array_equal(run(quantised, x, ["both"])[0], run(plain, x, ["both"])[0])


def test_onnx_runtime_runs_the_uint8_form_in_integer_kernels(network: onnx.ModelProto, tmp_path):
    import onnxruntime

    quantised, summary = int8_onnx(network, ranges_of(network), activations="uint8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(quantised.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = {node.name: node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    integer = [name for name, kind in kinds.items() if kind == "QLinearConv"]
    assert len(integer) == len(summary.quantised) == 8, kinds


def test_the_source_stays_as_it_is(network: onnx.ModelProto):
    before = network.SerializeToString(deterministic=True)
    int8_onnx(network, ranges_of(network), skip=["a1"])
    assert network.SerializeToString(deterministic=True) == before


def test_skipped_nodes_keep_their_float_weights(network: onnx.ModelProto):
    quantised, summary = int8_onnx(network, ranges_of(network), skip=["stem"])
    assert source_kinds(quantised, "stem")[:2] == ["Transpose", ""]
    assert summary.float_nodes["stem"] == "skipped on request" and "image" not in summary.tensors


def test_a_weight_that_two_nodes_share_is_stored_once():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[1,2,5,6] x) => (float[1,2,5,6] y) <float[2,2,1,1] w = {1, 2, 3, 4}>
        {
            a = Conv (x, w)
            y = Conv (a, w)
        }"""
    )
    for node in model.graph.node:
        node.name = node.output[0]
    quantised, _ = int8_onnx(model, ranges_of(model))
    assert [item.name for item in quantised.graph.initializer if item.name.endswith(".int8")] == ["w.int8"]


@pytest.mark.parametrize(
    ("operator", "axis"), [("MatMul (x, w)", 1), ("Gemm (x, w)", 1), ("Gemm <transB = 1> (x, w)", 0)]
)
def test_matrix_products_have_a_scale_per_output(operator: str, axis: int):
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[3,2] x) => (float[3,2] y) <float[2,2] w = {{1, 2, 3, 40}}>
        {{
            y = {operator}
        }}"""
    )
    model.graph.node[0].name = "y"
    tensors = stored(int8_onnx(model, ranges_of(model))[0])
    expected = np.abs([[1, 2], [3, 40]]).max(1 - axis) / 127
    np.testing.assert_allclose(tensors["w.scale"], expected, rtol=1e-6)


def test_ranges_of_another_model_are_refused(network: onnx.ModelProto):
    ranges = ranges_of(network)
    weight = next(item for item in network.graph.initializer if item.name == "a1_w")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, "a1_w"))
    with pytest.raises(RangesError, match=r"the ranges are of small .* other weights of it") as caught:
        int8_onnx(network, ranges)
    assert "\n" not in str(caught.value)


def test_a_missing_tensor_and_an_unknown_form_are_refused(network: onnx.ModelProto):
    ranges = ranges_of(network)
    del ranges.tensors["a1_relu"]
    with pytest.raises(RangesError, match="lack the tensor a1_relu"):
        int8_onnx(network, ranges)
    with pytest.raises(InputError, match="activations 'int4' is unknown"):
        int8_onnx(network, ranges_of(network), activations="int4")
    with pytest.raises(InputError, match="weight_bits 6 is unknown; choose 8 or 7"):
        int8_onnx(network, ranges_of(network), weight_bits=6)
