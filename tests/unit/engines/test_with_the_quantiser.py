"""The real quantiser's graphs on every target that builds here: each layer that it quantised is proved."""

from __future__ import annotations

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
from edgefsa.quantize import Ranges, ranges_from_calibration
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
