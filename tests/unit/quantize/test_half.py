from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgefsa.errors import InputError, RangesError
from edgefsa.graph.files import read_metadata
from edgefsa.quantize import fp16_onnx, int8_onnx
from edgefsa.quantize.half import fits_half, half_scale
from tests.unit.quantize.conftest import run
from tests.unit.quantize.test_placement import mixer
from tests.unit.quantize.test_qdq import ranges_of, stored

HALF = {"stem", "stem_relu", "a1", "a2", "a_sum", "a_out", "b1", "down", "b_sum", "b_out", "large", "both", "mix"}


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    return {
        item.name: item.type.tensor_type.elem_type for item in [*inferred.value_info, *inferred.output, *inferred.input]
    }


def test_convolutions_run_in_float16_and_sensitive_nodes_in_float32(network: onnx.ModelProto):
    half = fp16_onnx(network)[0]
    onnx.checker.check_model(half, full_check=True)
    types = element_types(half)
    assert {types[name] for name in HALF} == {TensorProto.FLOAT16}
    assert {types[name] for name in ("image", "filtered", "normed", "logits")} == {TensorProto.FLOAT}
    assert types["frames"] == types["masks"] == TensorProto.UINT8


def test_casts_are_as_few_as_can_be(network: onnx.ModelProto):
    half = fp16_onnx(network)[0]
    added = {node.name for node in half.graph.node} - {node.name for node in network.graph.node}
    assert added == {"image/Half", "c_relu/Float", "filtered/Half", "mix_relu/Float"}


def test_weights_of_float16_nodes_are_stored_in_float16(network: onnx.ModelProto):
    tensors = {item.name: numpy_helper.to_array(item).dtype for item in fp16_onnx(network)[0].graph.initializer}
    assert tensors["stem_w.fp16"] == tensors["stem_b.fp16"] == np.float16 and "stem_w" not in tensors
    assert tensors["head_w"] == tensors["gain"] == tensors["basis_h"] == np.float32
    assert tensors["sizes"] == np.int64


def test_float16_follows_float32(network: onnx.ModelProto, frames: list[np.ndarray]):
    half = fp16_onnx(network)[0]
    (logits,) = run(network, frames[3][None], ["logits"])
    (low,) = run(half, frames[3][None], ["logits"])
    error = np.linalg.norm(low - logits) / np.linalg.norm(logits)
    assert low.dtype == np.float32 and 1e-6 < error < 5e-3
    assert half.functions == network.functions and read_metadata(half) == read_metadata(network)


def test_tensors_whose_range_is_large_stay_in_float32(network: onnx.ModelProto):
    types = element_types(fp16_onnx(network, ranges_of(network, 100, a1_relu=20_000))[0])
    assert types["a1_relu"] == types["a2"] == TensorProto.FLOAT
    assert types["a1"] == types["b1"] == TensorProto.FLOAT16


def test_ranges_of_another_model_are_refused(network: onnx.ModelProto):
    ranges = ranges_of(network)
    ranges.model_sha256 = "0" * 64
    with pytest.raises(RangesError):
        fp16_onnx(network, ranges)


@pytest.mark.parametrize(("value", "kept"), [(65504.0, np.float16), (65505.0, np.float32), (-1e6, np.float32)])
def test_a_node_with_a_weight_beyond_float16_stays_in_float32(network: onnx.ModelProto, value: float, kept: type):
    weight = next(item for item in network.graph.initializer if item.name == "a1_w")
    array = numpy_helper.to_array(weight).copy()
    array[0, 0, 0, 0] = value
    weight.CopyFrom(numpy_helper.from_array(array, "a1_w"))
    half = fp16_onnx(network)[0]
    stored = {item.name: numpy_helper.to_array(item) for item in half.graph.initializer}
    made = stored["a1_w.fp16" if kept is np.float16 else "a1_w"]
    assert made.dtype == kept and made[0, 0, 0, 0] == np.float32(value)
    assert stored["a2_w.fp16"].dtype == np.float16


def test_the_source_stays_as_it_is(network: onnx.ModelProto):
    before = network.SerializeToString(deterministic=True)
    fp16_onnx(network)[0]
    assert network.SerializeToString(deterministic=True) == before


def added_casts(model: onnx.ModelProto, source: onnx.ModelProto) -> set[str]:
    return {node.name for node in model.graph.node if node.op_type == "Cast"} - {
        node.name for node in source.graph.node
    }


def test_what_is_not_int8_runs_in_float16(network: onnx.ModelProto):
    rest, plain = int8_onnx(network, ranges_of(network), rest="f16")[0], int8_onnx(network, ranges_of(network))[0]
    onnx.checker.check_model(rest, full_check=True)
    types = element_types(rest)
    assert {types[name] for name in HALF} == {TensorProto.FLOAT16}
    assert {types[name] for name in ("image", "filtered", "normed", "logits")} == {TensorProto.FLOAT}
    pairs = ("QuantizeLinear", "DequantizeLinear")
    assert [n.name for n in rest.graph.node if n.op_type in pairs] == [
        n.name for n in plain.graph.node if n.op_type in pairs
    ]


def test_rounding_follows_the_tensor_and_its_readers_without_a_cast(network: onnx.ModelProto):
    rest = int8_onnx(network, ranges_of(network), rest="f16")[0]
    # Only around what stays in float32 and has no pair: the frequency operator, the norm.
    assert added_casts(rest, network) == {"c_relu/Float", "filtered/Half", "mix_relu/Float"}
    made = {name: node for node in rest.graph.node for name in node.output}
    kinds = {"image": TensorProto.FLOAT, "a_out": TensorProto.FLOAT16, "normed": TensorProto.FLOAT}
    types = element_types(rest)
    for tensor, kind in kinds.items():
        rounded = made[f"{tensor}/QuantizeLinear"]
        assert rounded.input[0] == tensor and types[tensor] == kind
    # The frame is rounded from float32 and read as float16: the scale is the same number in both.
    scale, low = stored(rest)["image.scale"], stored(rest)["image.scale.fp16"]
    assert (scale.dtype, low.dtype) == (np.float32, np.float16) and scale == low
    assert made["image/DequantizeLinear"].input[1] == "image.scale.fp16"


def test_weights_are_rounded_with_the_scale_that_float16_has(network: onnx.ModelProto):
    weight = next(item for item in network.graph.initializer if item.name == "a1_w")
    values = numpy_helper.to_array(weight).copy()
    values[0] *= 0.002 / np.abs(values[0]).max()  # a step that is subnormal in float16
    weight.CopyFrom(numpy_helper.from_array(values, "a1_w"))
    tensors = stored(int8_onnx(network, ranges_of(network), rest="f16")[0])
    codes, scale = tensors["a1_w.int8"], tensors["a1_w.scale.fp16"]
    assert scale.dtype == np.float16 and 0 < scale[0] < np.finfo(np.float16).smallest_normal
    error = codes * scale.astype(np.float64).reshape(-1, 1, 1, 1) - values
    assert (np.abs(error) <= scale.astype(np.float64).reshape(-1, 1, 1, 1) * (0.5 + 1e-6)).all()
    assert (np.abs(codes).max(axis=(1, 2, 3)) >= 126).all()
    # The classifier stays in float32, and its scales as they are.
    amax = np.abs(numpy_helper.to_array(next(i for i in network.graph.initializer if i.name == "head_w")))
    assert (tensors["head_w.scale"] == amax.max(axis=(1, 2, 3)) / np.float32(127)).all()


def test_a_map_is_dequantised_for_each_type_that_reads_it():
    model = mixer()
    rest = int8_onnx(model, ranges_of(model), rest="f16", int8_operators=True)[0]
    onnx.checker.check_model(rest, full_check=True)
    assert not added_casts(rest, model)
    types, nodes = element_types(rest), {node.name: node for node in rest.graph.node}
    assert nodes["low"].input[0] == "both/DequantizeLinear" and types["both/DequantizeLinear"] == TensorProto.FLOAT
    assert nodes["product"].input[0] == "both/DequantizeLinear/Half"
    assert types["both/DequantizeLinear/Half"] == types["product"] == TensorProto.FLOAT16
    assert nodes["both/DequantizeLinear"].input[0] == nodes["both/DequantizeLinear/Half"].input[0]
    assert nodes["low/QuantizeLinear"].input[0] == "low" and types["low"] == TensorProto.FLOAT


@pytest.mark.parametrize("amax", [20_000.0, 0.005])
def test_tensors_that_float16_does_not_hold_stay_in_float32_with_int8(network: onnx.ModelProto, amax: float):
    rest, summary = int8_onnx(network, ranges_of(network, 100, a1_relu=amax), rest="f16")
    types = element_types(rest)
    assert types["a1_relu"] == types["a1_relu/DequantizeLinear"] == types["a2"] == TensorProto.FLOAT
    assert types["a1"] == types["a_out/DequantizeLinear"] == TensorProto.FLOAT16
    assert summary.tensors["a1_relu"] == amax / 127 and summary.tensors["a_out"] == float(np.float16(100 / 127))


def test_an_unknown_rest_is_refused(network: onnx.ModelProto):
    with pytest.raises(InputError, match="rest 'bf16' is unknown; choose f32 or f16"):
        int8_onnx(network, ranges_of(network), rest="bf16")


def test_scales_go_up_to_the_next_float16():
    scales = np.concatenate([np.geomspace(1e-7, 60.0, 4001), [2.0**-24, 2.0**-14, 0.25]]).astype(np.float32)
    rounded = half_scale(scales)
    low = rounded.astype(np.float16)
    assert rounded.dtype == np.float32 and (low == rounded).all() and (rounded >= scales).all()
    assert (np.nextafter(low, np.float16(0)).astype(np.float64) < scales).all()
    assert [fits_half(scale) for scale in (2.0**-14, 6.1e-5, 8192 / 127, 65.0)] == [True, False, True, False]
