"""TensorRT-RTX: real plans on a machine without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgefsa import machine as device
from edgefsa.artifacts import Manifest
from edgefsa.engines import build_engine, inspect_engine, open_engine
from edgefsa.engines.tensorrt import rtx as tensorrt_rtx
from edgefsa.engines.tensorrt.builder import PlanBuild
from edgefsa.engines.tensorrt.rtx import TensorRtRtxTarget, known_capabilities
from edgefsa.errors import BuildError, InputError, PrecisionError, TargetError
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build


def needs_package() -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("fp32", {"stem": "f32", "body": "f32", "classifier": "f32"}),
        ("fp16", {"stem": "f16", "body": "f16", "classifier": "f32"}),
        ("int8", {"stem": "int8", "body": "int8", "classifier": "f32"}),
    ],
)
def test_a_plan_is_built_ahead_of_time(build: Build, precision: str, expected: dict[str, str]) -> None:
    needs_package()
    report = build(precision, "tensorrt-rtx", options={"compute_capabilities": ("8.6", "12.0")})
    rows = {node: row["precision"] for row in inspect_engine(report.engine)["layers"] for node in row["nodes"]}
    assert {name: rows[name] for name in tiny.CONVOLUTIONS} == expected
    manifest = Manifest.read(report.engine)
    assert manifest.device == {"compute_capabilities": ["8.6", "12.0"]}
    assert manifest.files["engine.plan"] and (report.engine / "engine.plan").stat().st_size > 10_000


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_stays_in_float32_is_not_rounded_to_tf32(
    build: Build, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_package()
    import tensorrt_rtx as package

    assert package.Builder(package.Logger()).create_builder_config().get_flag(package.BuilderFlag.TF32)
    flags = []
    compile_plan = PlanBuild.serialize

    def noting(self: PlanBuild, progress: Any) -> bytes:
        flags.append(self.config.get_flag(package.BuilderFlag.TF32))
        return compile_plan(self, progress)

    monkeypatch.setattr(PlanBuild, "serialize", noting)
    build(precision, "tensorrt-rtx")
    assert flags == [False]


def test_a_plan_is_pure(build: Build) -> None:
    """Nothing is put in front of it: it begins with the mark that TensorRT-RTX writes."""
    needs_package()
    assert (build("fp32", "tensorrt-rtx").engine / "engine.plan").read_bytes()[:4] == b"vtrt"


@pytest.mark.parametrize("capability", ["9.0", "8", "sm89", ""])
def test_a_compute_capability_that_is_not_supported(build: Build, capability: str) -> None:
    needs_package()
    with pytest.raises(InputError, match=r"8\.6, 8\.9"):
        build("fp32", "tensorrt-rtx", options={"compute_capabilities": (capability,)})


def test_what_the_parser_refuses_is_told_with_its_node(tmp_path: Path) -> None:
    needs_package()
    path = tmp_path / "m.onnx"
    onnx.save(tiny.refused_graph(), path)
    with pytest.raises(BuildError, match=r"node planes \(Transpose\).*UInt8") as caught:
        build_engine(path, tmp_path / "engines", target="tensorrt-rtx")
    assert "\n" not in str(caught.value) and list((tmp_path / "engines").iterdir()) == []


@pytest.mark.skipif(bool(device.gpus()), reason="here is a GPU")
def test_running_needs_a_gpu_and_says_so_in_one_line(build: Build) -> None:
    needs_package()
    engine = build("int8", "tensorrt-rtx").engine
    with pytest.raises(TargetError, match="no NVIDIA GPU") as caught:
        open_engine(engine)
    assert "\n" not in str(caught.value)


def test_what_could_not_run_here_says_how_sure_one_is_and_carries_the_truth(build: Build) -> None:
    needs_package()
    report = build("int8", "tensorrt-rtx")
    manifest = Manifest.read(report.engine)
    assert manifest.proof["evidence"] == "network" and manifest.proof["numbers"]["converted_to_engine"] is None
    assert "taken from the typed network that the builder accepted" in report.detail
    assert "the plan holds the weights of 2 of 2" in manifest.proof["account"]
    assert report.agreement.startswith("not proved")
    with np.load(report.engine / "golden.npz") as golden:
        assert len(golden["frames"]) == 8 and golden["outputs"].shape == golden["frames"].shape[:-1]
        agreement = (golden["outputs"] == np.stack([tiny.reference_masks(batch) for batch in golden["frames"]])).mean()
    assert 0.95 < agreement < 1, "the converted graph's masks are INT8's, near those of float64"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_plan_that_is_none_fails_the_build(build: Build, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    needs_package()
    monkeypatch.setattr(tensorrt_rtx.PlanBuild, "serialize", lambda self, progress: b"not an engine at all")
    with pytest.raises(BuildError, match="malformed"):
        build(precision, "tensorrt-rtx")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_plan_of_another_network_fails_the_build(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    needs_package()
    other = (build("fp32" if precision == "int8" else "int8", "tensorrt-rtx").engine / "engine.plan").read_bytes()
    monkeypatch.setattr(tensorrt_rtx.PlanBuild, "serialize", lambda self, progress: other)
    with pytest.raises(PrecisionError, match=r"holds the weights of [01] of the \d layers"):
        build(precision, "tensorrt-rtx")


def test_a_gpu_of_another_family(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_package()
    monkeypatch.setattr(tensorrt_rtx, "gpus", lambda: (device.Gpu("NVIDIA H200", "9.0", 140_000),))
    reason = TensorRtRtxTarget().unusable()
    assert reason is not None and "NVIDIA H200 (9.0)" in reason and "8.9" in reason


def test_capabilities_are_written_as_nvidia_does() -> None:
    needs_package()
    assert {"7.5", "8.6", "8.9", "12.0"} <= set(known_capabilities())
