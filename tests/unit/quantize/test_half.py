from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgefsa.errors import RangesError
from edgefsa.export.graph import read_metadata
from edgefsa.quantize import fp16_onnx
from tests.unit.quantize.conftest import run
from tests.unit.quantize.test_qdq import ranges_of

HALF = {"stem", "stem_relu", "a1", "a2", "a_sum", "a_out", "b1", "down", "b_sum", "b_out", "large", "both", "mix"}


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    return {
        item.name: item.type.tensor_type.elem_type for item in [*inferred.value_info, *inferred.output, *inferred.input]
    }


def test_convolutions_run_in_float16_and_sensitive_nodes_in_float32(network: onnx.ModelProto):
    half = fp16_onnx(network)
    onnx.checker.check_model(half, full_check=True)
    types = element_types(half)
    assert {types[name] for name in HALF} == {TensorProto.FLOAT16}
    assert {types[name] for name in ("image", "filtered", "normed", "logits")} == {TensorProto.FLOAT}
    assert types["frames"] == types["masks"] == TensorProto.UINT8


def test_casts_are_as_few_as_can_be(network: onnx.ModelProto):
    half = fp16_onnx(network)
    added = {node.name for node in half.graph.node} - {node.name for node in network.graph.node}
    assert added == {"image/Half", "c_relu/Float", "filtered/Half", "mix_relu/Float"}


def test_weights_of_float16_nodes_are_stored_in_float16(network: onnx.ModelProto):
    tensors = {item.name: numpy_helper.to_array(item).dtype for item in fp16_onnx(network).graph.initializer}
    assert tensors["stem_w.fp16"] == tensors["stem_b.fp16"] == np.float16 and "stem_w" not in tensors
    assert tensors["head_w"] == tensors["gain"] == tensors["basis_h"] == np.float32
    assert tensors["sizes"] == np.int64


def test_float16_follows_float32(network: onnx.ModelProto, frames: list[np.ndarray]):
    half = fp16_onnx(network)
    (logits,) = run(network, frames[3][None], ["logits"])
    (low,) = run(half, frames[3][None], ["logits"])
    error = np.linalg.norm(low - logits) / np.linalg.norm(logits)
    assert low.dtype == np.float32 and 1e-6 < error < 5e-3
    assert half.functions == network.functions and read_metadata(half) == read_metadata(network)


def test_tensors_whose_range_is_large_stay_in_float32(network: onnx.ModelProto):
    types = element_types(fp16_onnx(network, ranges_of(network, 100, a1_relu=20_000)))
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
    half = fp16_onnx(network)
    stored = {item.name: numpy_helper.to_array(item) for item in half.graph.initializer}
    made = stored["a1_w.fp16" if kept is np.float16 else "a1_w"]
    assert made.dtype == kept and made[0, 0, 0, 0] == np.float32(value)
    assert stored["a2_w.fp16"].dtype == np.float16


def test_the_source_stays_as_it_is(network: onnx.ModelProto):
    before = network.SerializeToString(deterministic=True)
    fp16_onnx(network)
    assert network.SerializeToString(deterministic=True) == before
