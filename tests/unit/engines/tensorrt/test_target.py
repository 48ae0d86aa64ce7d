"""The target tensorrt on machines of three versions: the parser is real, compiling and running are played."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgefsa import machine as device
from edgefsa.artifacts import Manifest
from edgefsa.engines import choose_target, directory, inspect_engine, open_engine
from edgefsa.engines.tensorrt import target as tensorrt
from edgefsa.engines.tensorrt.plugins import aot_plugins
from edgefsa.engines.tensorrt.target import TensorRtTarget
from edgefsa.engines.tensorrt.timing_cache import timing_cache_path
from edgefsa.errors import BuildError, EngineError, InputError, PluginError, PrecisionError, TargetError
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build
from tests.unit.engines.tensorrt.facade import Played
from tests.unit.engines.tensorrt.played_machine import GPU, VERSIONS, play_machine, write_library

OLDEST = "10.3.0"


@pytest.fixture(params=VERSIONS)
def each(request: pytest.FixtureRequest, shared_dir: Path, monkeypatch: Any, tmp_path: Path) -> Played:
    """A machine without a plugin library, for each version."""
    return play_machine(request.param, shared_dir, monkeypatch, tmp_path)


@pytest.fixture
def machine(shared_dir: Path, monkeypatch: Any, tmp_path: Path) -> Played:
    """One of them."""
    return play_machine("10.13.3.9", shared_dir, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("precision", "compute", "rest"),
    [
        ("fp32", {"stem": "f32", "body": "f32", "classifier": "f32"}, "f32"),
        ("fp16", {"stem": "f16", "body": "f16", "classifier": "f32"}, "f16"),
        ("int8", {"stem": "int8", "body": "int8", "classifier": "f32"}, "f16"),
    ],
)
def test_an_engine_is_built_proved_and_run(
    each: Played, build: Build, precision: str, compute: dict[str, str], rest: str, frames: Any
) -> None:
    report = build(precision, "tensorrt")
    manifest = Manifest.read(report.engine)
    rows = {node: row["precision"] for row in inspect_engine(report.engine)["layers"] for node in row["nodes"]}
    assert {name: rows[name] for name in tiny.CONVOLUTIONS} == compute
    assert (manifest.precision_detail["compute"], manifest.precision_detail["float"]) == (compute["stem"], rest)
    assert manifest.proof["proved"] == (3 if precision == "fp32" else 2) and manifest.proof["evidence"] == "engine"
    assert manifest.versions["tensorrt"] == each.version and manifest.golden
    assert manifest.device == {"gpu": GPU.name, "compute_capabilities": ["8.7"], "driver_cuda": "12.6"}
    with open_engine(report.engine) as session:
        assert (session.run(frames) == tiny.reference_masks(frames)).all()


def test_the_plan_is_tensorrts_own_file(machine: Played, build: Build) -> None:
    assert (build("fp32", "tensorrt").engine / "engine.plan").read_bytes().startswith(b"ptrt")


def test_types_come_from_the_file(each: Played, build: Build) -> None:
    """Of 10.3 on; none of the flags that allowed other types, which TensorRT 11 lacks."""
    for precision in ("fp32", "fp16", "int8"):
        each.flags = {"TF32"}
        build(precision, "tensorrt")
        assert (each.creation, each.flags) == ({"STRONGLY_TYPED"}, set())
    assert 2**28 <= each.pools["WORKSPACE"] <= 2**31


@pytest.mark.parametrize(
    ("weights", "told"),
    [("Float", r"body \(f32\)"), ("Half", r"body \(f16\)"), ("Int4", r"body \(unknown\)")],
)
def test_a_layer_in_another_type_fails_the_build(
    machine: Played, build: Build, weights: str, told: str, tmp_path: Path
) -> None:
    def report(rows: list[dict[str, Any]]) -> object:
        for row in rows:
            if row["Name"] == "body":
                row["Weights"] = {"Type": weights}
        return {"Layers": rows}

    machine.report = report
    with pytest.raises(PrecisionError, match=rf"1 of 2 int8 layers .*TensorRT's engine inspector: {told}"):
        build("int8", "tensorrt")
    assert list((tmp_path / "engines").iterdir()) == []


def test_an_answer_without_layers_types_fails_the_build(each: Played, build: Build) -> None:
    each.report = lambda rows: {"Layers": [row["Name"] for row in rows]}
    with pytest.raises(PrecisionError, match="without detailed profiling"):
        build("int8", "tensorrt")


# Plugins -------------------------------------------------------------------------------------------------------


def parsed_operators(machine: Played) -> list[str]:
    assert machine.parsed is not None and not machine.parsed.functions, "bodies are inlined"
    return [node.op_type for node in machine.parsed.graph.node if node.domain == "edgefsa"]


def test_the_library_is_used_where_one_serves(each: Played, build: Build) -> None:
    library = write_library(each.version)
    report = build("fp16", "tensorrt")
    manifest = Manifest.read(report.engine)
    assert parsed_operators(each) == ["UpsampleArgmax"]
    (entry,) = manifest.plugins
    assert (entry["name"], entry["where"], entry["tensorrt"]) == ("UpsampleArgmax", "library", each.version)
    assert len(entry["sha256"]) == 64 and report.plugins == f"UpsampleArgmax of {library}"
    assert [layer["kind"] for layer in inspect_engine(report.engine)["layers"]].count("plugin") == 1
    assert inspect_engine(report.engine)["summary"]["plugins"] == "UpsampleArgmax (library)"


def test_without_a_library_the_bodies_go_in_and_the_reason_is_told(machine: Played, build: Build) -> None:
    report = build("fp16", "tensorrt")
    why = Manifest.read(report.engine).precision_detail["plugins"]["why"]
    assert report.plugins == f"none: {why}" and "none.so" in why and "make plugins" in why
    assert parsed_operators(machine) == [] and Manifest.read(report.engine).plugins == []


def test_a_library_that_does_not_serve_is_refused_when_asked_for(each: Played, build: Build) -> None:
    write_library("9.1.0")
    with pytest.raises(PluginError, match=rf"built for TensorRT 9\.1\.0, and this is {each.version}"):
        build("fp16", "tensorrt", options={"plugins": "library"})
    assert "9.1.0" in build("fp16", "tensorrt", options={"plugins": "auto"}).plugins


def test_bodies_can_be_asked_for(machine: Played, build: Build) -> None:
    write_library(machine.version)
    report = build("fp16", "tensorrt", options={"plugins": "none"})
    assert report.plugins == "none: asked for" and parsed_operators(machine) == []


def test_kernels_inside_the_engine(each: Played, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []

    def register(module: Any, capability: str, cuda: Any) -> None:
        seen.append((capability, cuda))
        each.registered.update(aot_plugins.OPERATORS)

    if each.version == OLDEST:
        with pytest.raises(PluginError, match=r"10\.3\.0 takes no kernels into an engine"):
            build("fp16", "tensorrt", options={"plugins": "kernels"})
        return
    monkeypatch.setattr(aot_plugins, "register_aot_plugins", register)
    report = build("fp16", "tensorrt", options={"plugins": "kernels"})
    assert seen == [("8.7", (12, 6))] and each.creation == {"STRONGLY_TYPED", "PREFER_AOT_PYTHON_PLUGINS"}
    (entry,) = Manifest.read(report.engine).plugins
    assert (entry["name"], entry["where"], entry["namespace"]) == ("UpsampleArgmax", "engine", "edgefsa")
    assert report.plugins == "UpsampleArgmax as kernels inside the engine"
    each.events.clear()
    with open_engine(report.engine):
        assert each.events == ["deserialize"], "nothing is loaded for it"


def test_a_graph_without_operators_for_plugins(machine: Played, build: Build, onnx_path: Path) -> None:
    onnx.save(tiny.tiny_graph(outputs="logits"), onnx_path)
    with pytest.raises(PluginError, match="--plugins library has nothing to do"):
        build("fp32", "tensorrt", options={"plugins": "library"})


def test_an_engine_that_lost_its_plugin_layer_fails_the_build(machine: Played, build: Build) -> None:
    write_library(machine.version)
    machine.report = lambda rows: {"Layers": [row for row in rows if row["LayerType"] != "PluginV3"]}
    with pytest.raises(BuildError, match="no plugin layer for tail"):
        build("fp16", "tensorrt")


@pytest.mark.parametrize("target", ["openvino", "tensorrt-rtx"])
def test_plugins_are_for_tensorrt(build: Build, target: str) -> None:
    with pytest.raises(InputError, match=f"{target} has no option plugins .*leave plugins=none out"):
        build("fp32", target, options={"plugins": "none"})


def test_the_kinds_of_plugins_are_known(machine: Played, build: Build) -> None:
    with pytest.raises(InputError, match="auto, library, kernels, none"):
        build("fp32", "tensorrt", options={"plugins": "all"})


# Opening -------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(machine: Played, build: Build) -> Path:
    write_library(machine.version)
    path = build("int8", "tensorrt").engine
    machine.events.clear()
    machine.registered.clear()
    return path


def test_the_library_is_loaded_before_the_plan_is_read(machine: Played, engine: Path, frames: Any) -> None:
    with open_engine(engine) as session:
        assert machine.events == ["load_library", "deserialize"]
        assert (session.run(frames) == tiny.reference_masks(frames)).all()
    with open_engine(engine):
        assert machine.events == ["load_library", "deserialize", "deserialize"], "once a process"


def message_of_opening(engine: Path) -> str:
    with pytest.raises((EngineError, TargetError)) as caught, open_engine(engine):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_plugin_library(machine: Played, engine: Path) -> None:
    write_library(machine.version, cudart=12080)
    text = message_of_opening(engine)
    assert "UpsampleArgmax: sha256" in text and "rebuild it" in text and "EDGEFSA_PLUGIN_LIBRARY" in text
    assert "deserialize" not in machine.events


def test_no_plugin_library(machine: Played, engine: Path) -> None:
    Path(write_library(machine.version)).unlink()
    assert "make plugins" in message_of_opening(engine)


def test_a_gpu_of_another_capability(machine: Played, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = device.Gpu("NVIDIA GeForce RTX 4060", "8.9", 8_000)
    monkeypatch.setattr(directory, "gpus", lambda: (other,))
    text = message_of_opening(engine)
    assert "capability 8.7 (NVIDIA Jetson Orin NX), and here is 8.9 (NVIDIA GeForce RTX 4060)" in text


@pytest.mark.parametrize("version", ["10.3.0.30", "10.13.3.8", "12.0.0"])
def test_another_version(machine: Played, engine: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(tensorrt, "tensorrt_version", lambda: version)
    assert f"built with tensorrt {machine.version}, and here is {version}" in message_of_opening(engine)


def test_logits_have_to_be_asked_for_at_the_build(machine: Played, engine: Path) -> None:
    with pytest.raises(TargetError, match="--outputs logits"):
        TensorRtTarget().open_logits(engine, Manifest.read(engine))


# The timing cache ----------------------------------------------------------------------------------------------


def test_the_timing_cache_goes_from_build_to_build(each: Played, build: Build) -> None:
    kept = timing_cache_path(each.version, GPU.name, GPU.compute_capability)
    assert kept.name == f"tensorrt-{each.version}-nvidia-jetson-orin-nx-sm_87.cache"
    first, second = (build(precision, "tensorrt").engine for precision in ("fp32", "fp16"))
    assert each.timing == [b"", b"timing+"]
    assert (first / "timing.cache").read_bytes() == b"timing+"
    assert (second / "timing.cache").read_bytes() == kept.read_bytes() == b"timing++"
    assert "timing.cache" in Manifest.read(second).files


def test_a_timing_cache_that_is_refused_does_not_stop_a_build(machine: Played, build: Build) -> None:
    kept = timing_cache_path(machine.version, GPU.name, GPU.compute_capability)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"damaged")
    build("fp32", "tensorrt")
    assert machine.timing == [b""] and kept.read_bytes() == b"timing+"


def test_a_cache_folder_that_cannot_be_written_does_not_stop_a_build(
    machine: Played, build: Build, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert (build("fp32", "tensorrt").engine / "timing.cache").is_file()


# Machines ------------------------------------------------------------------------------------------------------


def test_auto_prefers_it(machine: Played) -> None:
    assert choose_target("int8")[0] == "tensorrt"


def test_without_the_package_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "tensorrt_version", lambda: "")
    reason = TensorRtTarget().unusable()
    assert reason is not None and "edgefsa[tensorrt]" in reason and "python3-libnvinfer" in reason
    assert f"tensorrt: {reason}" in choose_target("fp32")[1]


def test_a_package_that_is_too_old(machine: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "tensorrt_version", lambda: "8.5.2.2")
    assert "8.5.2.2 is too old; install 10.3 or newer" in str(TensorRtTarget().unusable())


def test_without_a_gpu(machine: Played, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "gpus", tuple)
    with pytest.raises(TargetError, match="no NVIDIA GPU") as caught:
        build("fp32", "tensorrt")
    assert "\n" not in str(caught.value)


def test_what_the_parser_refuses_is_told_with_its_node(machine: Played, build: Build, onnx_path: Path) -> None:
    onnx.save(tiny.refused_graph(), onnx_path)
    with pytest.raises(BuildError, match=r"TensorRT cannot take this graph: node planes \(Transpose\): .*UInt8"):
        build("fp32", "tensorrt")


def test_opening_and_running_needs_neither_torch_nor_onnx() -> None:
    import subprocess

    code = "import sys, edgefsa.engines.tensorrt.target; print({'onnx', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_mask_is_uint8(machine: Played, build: Build) -> None:
    """The plugin gives int32, and the parser holds the output to the type in the file: a Cast stands between."""
    write_library(machine.version)
    build("fp16", "tensorrt")
    assert machine.parsed is not None
    assert machine.parsed.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    with np.load(build("fp32", "tensorrt").engine / "golden.npz") as golden:
        assert golden["outputs"].dtype == np.uint8


def test_the_command_line_takes_plugins_and_refuses_them_elsewhere(
    machine: Played, onnx_path: Path, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from edgefsa.cli import app

    def run(*options: str) -> Any:
        return CliRunner().invoke(app, ["build", str(onnx_path), "--precision", "fp32", "-o", str(tmp_path), *options])

    done = run("--target", "tensorrt", "--plugins", "none")
    assert done.exit_code == 0 and "none: asked for" in done.output
    refused = run("--target", "openvino", "--plugins", "library")
    assert refused.exit_code != 0 and "openvino has no option plugins" in str(refused.exception)
