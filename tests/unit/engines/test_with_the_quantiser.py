"""The real quantiser's graphs on every target that builds here: each layer that it quantised is proved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, inspect_engine, open_engine, targets
from edgefsa.engines.convert import check_half, half_graph
from edgefsa.engines.target import BuildJob
from edgefsa.errors import PrecisionError, RangesError
from edgefsa.graph.files import load_graph, read_metadata, weights_hash
from edgefsa.quantize import HalfScan, Ranges, ranges_from_calibration, scan_halves
from edgefsa.quantize.scan import TensorScan
from tests.unit.engines import tiny


@pytest.mark.parametrize("target", targets())
def test_ranges_to_int8_engine(onnx_path: Path, tmp_path: Path, target: str) -> None:
    if targets()[target].unbuildable() is not None:
        pytest.skip(str(targets()[target].unbuildable()))
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (4, *tiny.SIZE_HW, 3), dtype=np.uint8)
    ranges = ranges_from_calibration(onnx_path, frames, method="minmax")
    report = build_engine(onnx_path, tmp_path, precision="int8", target=target, ranges=ranges)
    manifest = Manifest.read(report.engine)
    assert manifest.quantization is not None
    assert set(tiny.QUANTISED) <= set(manifest.quantization["quantised"])
    assert manifest.proof["proved"] == len(manifest.quantization["quantised"])
    if targets()[target].unusable() is None:
        with open_engine(report.engine) as session:
            assert (session.run(frames[:1]) == tiny.reference_masks(frames[:1])).mean() > 0.95


def test_what_tensorrt_rtx_does_not_run_in_int8_runs_in_float16(onnx_path: Path, tmp_path: Path) -> None:
    if targets()["tensorrt-rtx"].unbuildable() is not None:
        pytest.skip(str(targets()["tensorrt-rtx"].unbuildable()))
    frames = np.random.default_rng(5).integers(0, 256, (4, *tiny.SIZE_HW, 3), dtype=np.uint8)
    ranges = ranges_from_calibration(onnx_path, frames, method="minmax")
    engine = build_engine(onnx_path, tmp_path, precision="int8", target="tensorrt-rtx", ranges=ranges).engine
    manifest = Manifest.read(engine)
    assert manifest.precision_detail["float"] == manifest.quantization["rest"] == "f16"
    kinds = {node: row for row in inspect_engine(engine)["layers"] for node in row["nodes"]}
    assert {kinds[name]["precision"] for name in tiny.CONVOLUTIONS} == {"int8"}
    assert {kinds[name]["precision"] for name in ("stem_relu", "body_relu")} == {"f16"}
    graph = onnx.shape_inference.infer_shapes(load_graph(engine / "int8.onnx"), strict_mode=True).graph
    types = {item.name: item.type.tensor_type.elem_type for item in [*graph.value_info, *graph.output]}
    assert types["logits"] == onnx.TensorProto.FLOAT and types["stem_relu"] == onnx.TensorProto.FLOAT16


@pytest.fixture
def half_job(onnx_path: Path, tmp_path: Path) -> BuildJob:
    """An fp16 job whose ranges hold one tensor that float16 has no room for."""
    source = load_graph(onnx_path)
    tensors = {"image": {"amax": 3.0}, "stem_relu": {"amax": 4.0}, "body_relu": {"amax": 30_000.0}}
    ranges = Ranges("tiny", weights_hash(source), "minmax", {"name": "made up"}, tensors)
    return BuildJob(tmp_path, source, read_metadata(source), "fp16", ranges)


def test_an_fp16_graph_keeps_in_float32_what_its_ranges_ask_for(half_job: BuildJob) -> None:
    types = {item.name: numpy_helper.to_array(item).dtype for item in half_graph(half_job)[0].graph.initializer}
    assert types["stem.weight.fp16"] == types["body.weight.fp16"] == np.float16
    graph = onnx.shape_inference.infer_shapes(half_graph(half_job)[0], strict_mode=True).graph
    kinds = {item.name: item.type.tensor_type.elem_type for item in graph.value_info}
    assert kinds["body_out"] == onnx.TensorProto.FLOAT16 and kinds["body_relu"] == onnx.TensorProto.FLOAT


def test_a_target_of_one_type_refuses_such_ranges(half_job: BuildJob) -> None:
    with pytest.raises(PrecisionError, match="no room for body_relu by their ranges"):
        check_half(half_job)
    assert half_job.ranges is not None
    half_job.ranges.tensors["body_relu"]["amax"] = 8000.0
    check_half(half_job)
    half_job.ranges.model_sha256 = "0" * 64
    with pytest.raises(RangesError, match="calibrate this one"):
        check_half(half_job)


def test_what_stays_in_float32_is_in_the_manifest_and_shown(onnx_path: Path, tmp_path: Path) -> None:
    if targets()["tensorrt-rtx"].unbuildable() is not None:
        pytest.skip(str(targets()["tensorrt-rtx"].unbuildable()))
    engine = build_engine(onnx_path, tmp_path, precision="fp16", target="tensorrt-rtx").engine
    detail = Manifest.read(engine).precision_detail
    assert detail["f32_nodes"]["classifier"] == "the classifier"
    assert set(detail["f32_nodes"]).isdisjoint({"stem", "body"})
    scan = detail["range_scan"]
    assert scan["data"] == "coloured blocks" and scan["frames"] == 8 and scan["largest"]["amax"] == 254
    summary = inspect_engine(engine)["summary"]
    assert "classifier (the classifier)" in summary["kept in float32"]
    assert "largest value 254" in summary["range scan"] and "on 8 frames of coloured blocks" in summary["range scan"]


def test_a_scan_keeps_what_overflows_in_float32_where_there_are_no_ranges(half_job: BuildJob) -> None:
    """The stem 20,000 times as large and the body as much smaller: the same network, in float32."""
    source = half_job.source
    for item in source.graph.initializer:
        factor = {"stem.weight": 2e4, "stem.bias": 2e4, "body.weight": 5e-5}.get(item.name)
        if factor is not None:
            value = numpy_helper.to_array(item) * np.float32(factor)
            item.CopyFrom(numpy_helper.from_array(value, item.name))
    frames = np.random.default_rng(5).integers(0, 256, (2, 1, *tiny.SIZE_HW, 3), dtype=np.uint8)
    job = replace(half_job, ranges=None, scan=lambda: scan_halves(source, frames, "noise"))
    graph, record = half_graph(job)
    kept = record["f32_nodes"]
    assert "float16 ends at 65504" in kept["stem"] and "stem_relu reaches" in kept["body"] + kept["stem_relu"]
    assert "body_relu" not in kept and record["range_scan"]["data"] == "noise"
    types = {item.name: numpy_helper.to_array(item).dtype for item in graph.graph.initializer}
    assert types["stem.weight"] == np.float32


def test_a_target_of_one_type_refuses_what_a_scan_finds(half_job: BuildJob) -> None:
    scan = HalfScan("frames", 1, {"body_relu": TensorScan(30_000.0, 2e-4)}, {})
    with pytest.raises(PrecisionError, match="no room for body_relu"):
        check_half(replace(half_job, ranges=None, scan=lambda: scan))
    check_half(replace(half_job, ranges=None))
