"""INT8 weights on CPUs without dot products, as ONEDNN_MAX_CPU_ISA makes one of this machine for OpenVINO."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from edgefsa import machine
from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, inspect_engine, open_engine
from edgefsa.engines.registry import target_of
from edgefsa.errors import EngineError
from edgefsa.graph.files import write_metadata
from edgefsa.quantize import Ranges, ranges_from_calibration
from tests.unit.engines import tiny

# Convolutions of signed maps, of one that is never negative and of both joined.
TEXT = """<ir_version: 10, opset_import: ["" : 20]>
network (uint8[1,32,48,3] frames) => (float[1,4,16,24] logits) <float[1] grey = {128}>
{
    float_frames = Cast <to = 1> (frames)
    planes = Transpose <perm = [0, 3, 1, 2]> (float_frames)
    image = Sub (planes, grey)
    left = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (image, left_w)
    right_sum = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (image, right_w)
    right = Relu (right_sum)
    both = Concat <axis = 1> (left, right)
    mixed = Conv <pads = [1, 1, 1, 1]> (both, mixed_w)
    logits = Conv (mixed, logits_w)
}"""
SHAPES = {"left_w": (8, 3, 3, 3), "right_w": (8, 3, 3, 3), "mixed_w": (8, 16, 3, 3), "logits_w": (4, 8, 1, 1)}
BOUND = 0.01  # relative L2: a sum on the border of two codes may be rounded to either
# Stores the logits of an engine that is built here or that is named, which is opened without any check.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine
from edgefsa.engines.registry import target_of
from edgefsa.quantize import Ranges
folder, engine = Path(sys.argv[1]), sys.argv[2]
if not engine:
    ranges = Ranges.read(folder / "ranges.json")
    built = build_engine(folder / "m.onnx", folder / "limited", precision="int8", target="openvino", ranges=ranges)
    engine = built.engine
with target_of("openvino").open(Path(engine), Manifest.read(engine)) as session:
    np.save(folder / "logits.npy", session.run(np.load(folder / "frames.npy")))
print(engine)
"""
needs_avx2 = pytest.mark.skipif(
    "avx2" not in machine.cpu().features or target_of("openvino").unusable() is not None,
    reason="needs OpenVINO on an x86 CPU with AVX2",
)
needs_dot_products = pytest.mark.skipif(
    not machine.sums_in_32_bits(target_of("openvino").cpu()), reason="no engine with 8-bit weights is built on this CPU"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """m.onnx, ranges.json and frames.npy. All weights are large, so that sums of two products go far beyond 16 bits."""
    model = onnx.parser.parse_model(TEXT)
    for node in model.graph.node:
        node.name = node.output[0]
    rng = np.random.default_rng(4)
    for name, shape in SHAPES.items():
        value = rng.uniform(0.4, 1, shape) * rng.choice([-1, 1], shape) / np.prod(shape[1:])
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    write_metadata(model, {**tiny.METADATA, "outputs": "logits"})
    onnx.save(model, tmp_path / "m.onnx")
    frames = rng.integers(0, 256, (3, *tiny.SIZE_HW, 3), dtype=np.uint8)
    np.save(tmp_path / "frames.npy", frames[:1])
    ranges_from_calibration(tmp_path / "m.onnx", frames, method="minmax").write(tmp_path / "ranges.json")
    return tmp_path


def on_avx2(folder: Path, engine: Path | None = None) -> tuple[Path, npt.NDArray[np.float32]]:
    """Run PROGRAM in a process whose oneDNN takes the CPU for one with AVX2; returns the engine and its logits."""
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(engine or "")],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(result.stdout.split()[-1]), np.load(folder / "logits.npy")


def distance(engine: Path, logits: npt.NDArray[np.float32]) -> float:
    """Return the relative L2 distance of logits to those of the engine's int8.onnx, computed by onnx in NumPy."""
    frames = np.load(engine.parents[1] / "frames.npy")
    (expected,) = ReferenceEvaluator(str(engine / "int8.onnx")).run(None, {"frames": frames})
    return float(np.linalg.norm(logits - expected) / np.linalg.norm(expected))


def build(folder: Path, **options: Any) -> Path:
    ranges = Ranges.read(folder / "ranges.json")
    options = {"target": "openvino", "overwrite": True, **options}
    return build_engine(folder / "m.onnx", folder / "engines", precision="int8", ranges=ranges, **options).engine


@needs_avx2
def test_an_engine_built_on_avx2_computes_its_graph(folder: Path) -> None:
    engine, logits = on_avx2(folder)
    manifest = Manifest.read(engine)
    assert manifest.quantization is not None
    assert manifest.quantization["weight_bits"] == 7
    assert "VNNI" in manifest.quantization["weight_bits_why"] and "AVX2" in manifest.quantization["weight_bits_why"]
    assert inspect_engine(engine)["summary"]["int8 weights"].startswith("7 bits: ")
    assert manifest.device["cpu_features"] == [] and "ONEDNN_MAX_CPU_ISA=AVX2" in manifest.device["cpu"]
    assert distance(engine, logits) < BOUND
    with open_engine(engine) as session:  # and runs on this CPU as it is
        assert distance(engine, session.run(np.load(folder / "frames.npy"))) < BOUND


@needs_avx2
@needs_dot_products
def test_weights_of_8_bits_are_out_of_bound_on_avx2_and_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build(folder)
    with open_engine(engine) as session:
        assert distance(engine, session.run(np.load(folder / "frames.npy"))) < BOUND
    assert distance(engine, on_avx2(folder, engine)[1]) > 10 * BOUND
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(EngineError, match=r"vnni.*ONEDNN_MAX_CPU_ISA=AVX2.*rebuild it here"):
        open_engine(engine)


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_an_engine_for_an_older_cpu_relies_on_no_feature(folder: Path, target: str) -> None:
    manifest = Manifest.read(build(folder, target=target, weight_bits=7))
    assert manifest.quantization is not None
    assert (manifest.quantization["weight_bits"], manifest.quantization["weight_bits_why"]) == (7, "asked for")
    assert manifest.device["cpu_features"] == []
