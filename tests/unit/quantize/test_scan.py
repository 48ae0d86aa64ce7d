"""What float16 would meet, against NumPy on the same tensors."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, numpy_helper

from edgefsa.errors import RangesError
from edgefsa.quantize import fp16_onnx, int8_onnx, scan_halves
from tests.unit.quantize.conftest import run
from tests.unit.quantize.test_half import element_types
from tests.unit.quantize.test_qdq import ranges_of


def scaled(network: onnx.ModelProto, **factors: float) -> onnx.ModelProto:
    """Return the network with stored tensors multiplied."""
    made = onnx.ModelProto()
    made.CopyFrom(network)
    for item in made.graph.initializer:
        if item.name in factors:
            value = numpy_helper.to_array(item) * np.float32(factors[item.name])
            item.CopyFrom(numpy_helper.from_array(value, item.name))
    return made


def test_tensors_are_measured_over_all_frames(network: onnx.ModelProto, frames: list[np.ndarray]):
    scan = scan_halves(network, [frame[None] for frame in frames], "noise")
    names = ["stem", "a1_relu", "filtered", "logits"]
    values = [run(network, frame[None], names) for frame in frames]
    for index, name in enumerate(names):
        whole = np.concatenate([item[index].ravel() for item in values]).astype(np.float64)
        lost = np.linalg.norm(whole - whole.astype(np.float16)) / np.linalg.norm(whole)
        assert scan.tensors[name].amax == pytest.approx(np.abs(whole).max(), rel=1e-5)
        assert scan.tensors[name].rounding == pytest.approx(lost, rel=1e-2)
    assert scan.frames == 5 and scan.data == "noise" and not scan.unfit_tensors() and not scan.unfit_nodes()
    assert "masks" not in scan.tensors and "frames" not in scan.tensors


def test_partial_sums_are_the_largest_that_an_order_of_additions_meets():
    """By brute force: all orders of the three products of a pixel."""
    text = """<ir_version: 10, opset_import: ["" : 20]>
    network (uint8[1,2,2,3] frames) => (float[1,1,2,2] logits) {
        cast = Cast <to = 1> (frames)
        image = Transpose <perm = [0, 3, 1, 2]> (cast)
        logits = Conv (image, weight)
        mean = GlobalAveragePool (image)
    }"""
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    weight = np.array([300.0, -280.0, 120.0], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight.reshape(1, 3, 1, 1), "weight"))
    frames = np.random.default_rng(0).integers(0, 255, (1, 2, 2, 3), dtype=np.uint8)
    products = frames.reshape(-1, 3) * weight.astype(np.float64)
    orders = [np.abs(np.cumsum(products[:, list(order)], axis=1)).max() for order in itertools.permutations(range(3))]
    scan = scan_halves(model, [frames])
    assert scan.sums["logits"] == pytest.approx(max(orders), rel=1e-6)
    assert scan.sums["mean"] == pytest.approx(frames.reshape(-1, 3).sum(0).max(), rel=1e-6)


def test_what_overflows_stays_in_float32_with_the_reason(network: onnx.ModelProto, frames: list[np.ndarray]):
    loud = scaled(network, a1_w=2e4, a1_b=2e4, a2_w=5e-5)
    batches = [frame[None] for frame in frames]
    scan = scan_halves(loud, batches)
    half, kept = fp16_onnx(loud, scan=scan)
    types = element_types(half)
    assert types["a1"] == types["a2"] == TensorProto.FLOAT and types["b1"] == TensorProto.FLOAT16
    assert "reaches" in kept["a1"] and "65504" in kept["a1"] and "norm" in kept["normed"]
    assert kept["logits"] == "the classifier" and kept["filtered"] == "frequency operator"
    (logits,) = run(loud, batches[3], ["logits"])
    (low,) = run(half, batches[3], ["logits"])
    assert np.linalg.norm(low - logits) / np.linalg.norm(logits) < 5e-3


def test_sums_that_overflow_stay_in_float32_though_their_result_fits(network: onnx.ModelProto):
    """Two channels of nearly opposite weights, each of whose parts passes 65504."""
    loud = scaled(network, c_w=1.0)
    item = next(item for item in loud.graph.initializer if item.name == "c_w")
    weight = numpy_helper.to_array(item).copy()
    weight[:, 0::2], weight[:, 1::2] = 3000.0, -3000.0
    item.CopyFrom(numpy_helper.from_array(weight, "c_w"))
    for name in ("b2_w", "down_w"):  # the same in all channels, so that they cancel
        source = next(item for item in loud.graph.initializer if item.name == name)
        value = numpy_helper.to_array(source)
        source.CopyFrom(numpy_helper.from_array(np.repeat(np.abs(value[:1]), len(value), axis=0), name))
    bias = next(item for item in loud.graph.initializer if item.name == "b2_b")
    bias.CopyFrom(numpy_helper.from_array(np.zeros(12, np.float32), "b2_b"))
    frames = np.full((1, 24, 32, 3), 200, np.uint8)
    scan = scan_halves(loud, [frames])
    assert scan.tensors["c"].amax < 8192 and scan.sums["c"] > 65504
    kept = fp16_onnx(loud, scan=scan)[1]
    assert "partial sums reach" in kept["c"] and "b2" not in kept


def test_subnormal_tensors_and_weights_stay_in_float32(network: onnx.ModelProto, frames: list[np.ndarray]):
    quiet = scaled(network, a1_w=1e-7, a1_b=1e-7, a2_w=1e5)
    scan = scan_halves(quiet, [frame[None] for frame in frames])
    kept = fp16_onnx(quiet, scan=scan)[1]
    assert "subnormal" in kept["a1"] and "subnormal" in kept["a1_relu"] and "b1" not in kept
    # The weights alone show it without any frames.
    assert "its stored a1_w is subnormal" in fp16_onnx(quiet)[1]["a1"]


def test_int8_graphs_whose_rest_is_float16_heed_it_too(network: onnx.ModelProto, frames: list[np.ndarray]):
    loud = scaled(network, a1_w=2e4, a1_b=2e4, a2_w=5e-5)
    scan = scan_halves(loud, [frame[None] for frame in frames])
    ranges = ranges_of(loud)
    plain, summary = int8_onnx(loud, ranges, rest="f16")
    wary, cautious = int8_onnx(loud, ranges, rest="f16", scan=scan)
    assert element_types(plain)["a1_relu"] == TensorProto.FLOAT16 and "a1" not in summary.f32_nodes
    assert element_types(wary)["a1_relu"] == TensorProto.FLOAT and "reaches" in cautious.f32_nodes["a1"]


def test_the_record_names_the_extremes(network: onnx.ModelProto, frames: list[np.ndarray]):
    record = scan_halves(scaled(network, a1_w=2e4), [frames[4][None]], "noise").as_dict()
    assert record["data"] == "noise" and record["frames"] == 1
    assert record["largest"]["tensor"] in ("a1", "a1_relu") and record["largest"]["amax"] > 65504
    assert record["roughest"] == {"tensor": record["roughest"]["tensor"], "rounding": None}, "infinite"
    assert record["largest_sum"]["node"] in ("a1", "a2")


def test_broken_weights_are_refused(network: onnx.ModelProto, frames: list[np.ndarray]):
    with pytest.raises(RangesError, match="is not finite on frames of noise"):
        scan_halves(scaled(network, a1_w=np.inf), [frames[0][None]], "noise")
