"""What a build refuses, proves and leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgefsa
from edgefsa.artifacts import Manifest, sha256_of_file
from edgefsa.engines import build_engine, open_engine
from edgefsa.engines.cpu.openvino import half_type
from edgefsa.errors import (
    BuildError,
    EngineError,
    GraphError,
    InputError,
    OutputError,
    PrecisionError,
    RangesError,
    TargetError,
)
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build


def engines_in(folder: Path) -> list[str]:
    """Everything that a build left, hidden files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_report_and_the_directory(build: Build, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = build("int8", progress=lambda done, total: steps.append((done, total)))
    assert report.engine == tmp_path / "engines" / "tiny-openvino-int8-32x48"
    assert engines_in(report.engine) == sorted(
        [
            "engine.bin",
            "engine.xml",
            "golden.npz",
            "int8.onnx",
            "layers.json",
            "manifest.json",
            "model.onnx",
            "ranges.json",
        ]
    )
    told = report.as_dict()
    assert (told["engine"], told["target"], told["precision"]) == (str(report.engine), "openvino", "int8")
    assert told["detail"].startswith("2 of 2 int8 layers") and told["seconds"] > 0
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_manifest_says_what_the_engine_is(build: Build, onnx_path: Path) -> None:
    engine = build("int8").engine
    manifest = Manifest.read(engine)
    assert manifest.model == tiny.METADATA
    assert manifest.versions["edgefsa"] == edgefsa.__version__ and manifest.versions["openvino"]
    assert manifest.quantization is not None and manifest.quantization["data"]["name"] == "noise"
    assert manifest.precision_detail["compute"] == "int8" and manifest.precision_detail["float"] == "f32"
    assert set(manifest.files) == set(engines_in(engine)) - {"manifest.json"}
    assert manifest.files["model.onnx"] == sha256_of_file(onnx_path)
    with np.load(engine / "golden.npz") as golden:
        assert (golden["outputs"][0] == tiny.reference_masks(golden["frames"][0])).mean() > 0.95


def test_auto_says_what_it_picked_and_why_not_the_others(build: Build) -> None:
    report = build("fp32", "auto")
    assert report.target == "openvino"
    assert "tensorrt-rtx: " in report.why and "GPU" in report.why


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"precision": "int4"}, InputError, "int4"),
        ({"target": "tpu"}, TargetError, "openvino, onnxruntime"),
        ({"precision": "int8", "ranges": None}, RangesError, "edgefsa calibrate"),
        ({"options": {"compute_capabilities": ("8.6",)}}, InputError, "openvino has no option"),
        ({"precision": "int8", "skip": ("stem", "body")}, PrecisionError, "--skip"),
        ({"ranges": tiny.tiny_ranges()}, InputError, "not fp32"),
        ({"skip": ("stem",)}, InputError, "stem.* int8 builds"),
        ({"weight_bits": 7}, InputError, r"weight bits \(7\) are for int8 builds, not fp32"),
        ({"precision": "int8", "weight_bits": 4}, InputError, "weights of 4 bits are unknown; use 7 or 8"),
    ],
)
def test_what_cannot_be_built(
    build: Build, tmp_path: Path, options: dict[str, object], error: type[Exception], word: str
) -> None:
    with pytest.raises(error, match=word) as caught:
        build(**options)
    assert "\n" not in str(caught.value)
    assert engines_in(tmp_path / "engines") == []


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(GraphError, match=r"m\.onnx"):
        build_engine(path, tmp_path / "engines", target="openvino")
    assert engines_in(tmp_path / "engines") == []


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", ".hidden"])
def test_a_graph_cannot_choose_where_its_engine_goes(onnx_path: Path, tmp_path: Path, name: str) -> None:
    onnx.save(tiny.tiny_graph(model=name), onnx_path)
    with pytest.raises(GraphError, match="metadata with model"):
        build_engine(onnx_path, tmp_path / "a" / "engines", target="openvino")
    assert engines_in(tmp_path) == [onnx_path.name]


def test_errors_name_the_engine_and_not_the_folder_it_is_made_in(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(graph: onnx.ModelProto, path: Path) -> None:
        path.write_bytes(graph.SerializeToString()[:99])

    monkeypatch.setattr("edgefsa.engines.cpu.onnxruntime.write_graph", cut_short)
    with pytest.raises(EngineError, match="ONNX Runtime cannot load") as caught:
        build("fp32", "onnxruntime")
    assert ".partial" not in str(caught.value)
    assert str(tmp_path / "engines" / "tiny-onnxruntime-fp32-32x48" / "engine.onnx") in str(caught.value)


def test_layers_that_stay_in_float_fail_the_build_by_name(
    build: Build, quantiser: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the Relu left between a convolution and its Q, ONNX Runtime computes in float32 and says nothing."""

    def recoded(model: onnx.ModelProto, *_: object, **__: object) -> tuple[onnx.ModelProto, dict[str, object]]:
        quantised, summary = tiny.tiny_int8(model, tiny.tiny_ranges())
        (zero,) = (item for item in quantised.graph.initializer if item.name == "zero")
        zero.CopyFrom(numpy_helper.from_array(np.array(128, np.uint8), "zero"))
        return quantised, summary

    monkeypatch.setattr(quantiser, "int8_onnx", recoded)
    with pytest.raises(PrecisionError, match=r"2 of 2 int8 layers .*stem \(f32\), body \(f32\)"):
        build("int8", "onnxruntime")
    assert engines_in(tmp_path / "engines") == []


def test_fp16_on_openvino_says_which_type(build: Build) -> None:
    if half_type() is None:
        with pytest.raises(PrecisionError, match="16-bit"):
            build("fp16")
        return
    report = build("fp16")
    detail = Manifest.read(report.engine).precision_detail
    assert detail["compute"] == half_type() and detail["layers"] == {half_type(): 3}
    full = build("fp32").engine / "engine.bin"
    assert (report.engine / "engine.bin").stat().st_size < 0.6 * full.stat().st_size


def test_fp16_where_the_cpu_has_no_fast_type_is_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefsa.engines.cpu.openvino.half_type", lambda: None)
    with pytest.raises(PrecisionError, match="no 16-bit type"):
        build("fp16", "openvino")
    with pytest.raises(TargetError, match="no 16-bit type"):
        build("fp16", "auto")


def test_an_engine_is_replaced_only_when_asked(build: Build) -> None:
    engine = build("fp32").engine
    before = (engine / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        build("fp32")
    assert (engine / "manifest.json").read_bytes() == before
    build("fp32", overwrite=True)
    with open_engine(engine):
        pass


@pytest.mark.parametrize("failing", ["write_layers", "prove", "store_golden"])
def test_a_build_that_breaks_off_keeps_the_old_engine_and_leaves_nothing(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    engine = build("fp32").engine
    before = {path.name: path.read_bytes() for path in engine.iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"edgefsa.engines.build.{failing}", stop)
    with pytest.raises(KeyboardInterrupt):
        build("fp32", overwrite=True)
    assert {path.name: path.read_bytes() for path in engine.iterdir()} == before
    assert engines_in(tmp_path / "engines") == [engine.name]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_openvino_on_a_full_disk(onnx_path: Path, tmp_path: Path) -> None:
    """engine.xml is the largest file of so small a network: the limit lies just above model.onnx."""
    code = f"""
import resource
from edgefsa.engines import build_engine
from edgefsa.errors import OutputError
import openvino
limit = {onnx_path.stat().st_size + 100}
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    build_engine({str(onnx_path)!r}, {str(tmp_path / "engines")!r}, target="openvino")
except OutputError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "full disk" in result.stdout and len(result.stdout.splitlines()) == 1
    assert engines_in(tmp_path / "engines") == []


def test_a_graph_that_openvino_cannot_take(tmp_path: Path) -> None:
    model = tiny.tiny_graph()
    model.graph.node[4].input[1] = "body.weight"  # 8 input channels where the stem has 3
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(BuildError, match="OpenVINO") as caught:
        build_engine(path, tmp_path / "engines", target="openvino")
    assert "\n" not in str(caught.value)
    assert engines_in(tmp_path / "engines") == []
