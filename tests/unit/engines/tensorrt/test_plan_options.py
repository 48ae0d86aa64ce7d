"""Plans for other versions and GPUs, for a DLA, without weights, with plugins inside: on played machines."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgefsa import machine as device
from edgefsa.artifacts import Manifest
from edgefsa.engines import directory, open_engine
from edgefsa.engines.tensorrt import target as tensorrt
from edgefsa.engines.tensorrt.options import TensorRtOptions
from edgefsa.engines.tensorrt.runtime import HOST_CODE_VARIABLE
from edgefsa.errors import BuildError, EngineError, InputError, TargetError
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build
from tests.unit.engines.tensorrt.facade import Played
from tests.unit.engines.tensorrt.played_machine import GPU, VERSIONS, play_machine, write_library

CARD = device.Gpu("NVIDIA RTX A4000", "8.6", 16_000)


@pytest.fixture(params=VERSIONS)
def each(request: pytest.FixtureRequest, shared_dir: Path, monkeypatch: Any, tmp_path: Path) -> Played:
    return play_machine(request.param, shared_dir, monkeypatch, tmp_path)


@pytest.fixture
def machine(shared_dir: Path, monkeypatch: Any, tmp_path: Path) -> Played:
    return play_machine("10.13.3.9", shared_dir, monkeypatch, tmp_path)


def build_record(engine: Path) -> dict[str, Any]:
    return dict(Manifest.read(engine).precision_detail["builder"])


def opened(engine: Path, **options: Any) -> None:
    with open_engine(engine, **options):
        pass


# Versions and GPUs ----------------------------------------------------------------------------------------------


def test_a_plan_for_later_versions_needs_consent_to_its_code(
    each: Played, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build("fp16", "tensorrt", options={"version_compatible": True}).engine
    assert each.flags == {"VERSION_COMPATIBLE"} and build_record(engine)["version_compatible"] is True
    with pytest.raises(EngineError, match=rf"lean runtime.*{HOST_CODE_VARIABLE}=1"):
        opened(engine)
    opened(engine, host_code=True)
    monkeypatch.setenv(HOST_CODE_VARIABLE, "1")
    opened(engine)


@pytest.mark.parametrize(
    ("here", "serves"), [("10.14.1", True), ("10.13.2", True), ("10.12.0", False), ("11.0.0", False)]
)
def test_which_versions_open_a_compatible_plan(
    machine: Played, build: Build, monkeypatch: pytest.MonkeyPatch, here: str, serves: bool
) -> None:
    engine = build("fp16", "tensorrt", options={"version_compatible": True}).engine
    monkeypatch.setattr(tensorrt, "tensorrt_version", lambda: here)
    if serves:
        opened(engine, host_code=True)
    else:
        with pytest.raises(EngineError, match=f"built with tensorrt 10.13.3.9, and here is {here}"):
            opened(engine, host_code=True)


@pytest.mark.parametrize(("capability", "runs"), [("8.0", True), ("12.0", True), ("7.5", False)])
def test_a_plan_for_ampere_and_later(
    machine: Played, build: Build, monkeypatch: pytest.MonkeyPatch, capability: str, runs: bool
) -> None:
    engine = build("fp16", "tensorrt", options={"hardware_compatible": "ampere+"}).engine
    assert vars(machine.config)["hardware_compatibility_level"].name == "AMPERE_PLUS"
    monkeypatch.setattr(directory, "gpus", lambda: (device.Gpu("another", capability, 8_000),))
    if runs:
        opened(engine)
    else:
        with pytest.raises(EngineError, match=r"built for compute capability 8\.7"):
            opened(engine)


def test_levels_that_a_version_or_a_gpu_lacks(each: Played, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"hardware_compatible": "same-capability"}
    if each.version == "10.3.0":
        with pytest.raises(TargetError, match=r"10\.3\.0 has no hardware compatibility same-capability, only ampere\+"):
            build("fp16", "tensorrt", options=wanted)
    else:
        assert (
            build_record(build("fp16", "tensorrt", options=wanted).engine)["hardware_compatible"] == "same-capability"
        )
    for gpu, words in (
        (dataclasses.replace(GPU, integrated=True), "is a board's"),
        (dataclasses.replace(GPU, compute_capability="7.5"), "8.0 or later"),
    ):
        monkeypatch.setattr(tensorrt, "gpus", lambda gpu=gpu: (gpu,))
        with pytest.raises(TargetError, match=words):
            build("fp16", "tensorrt", options={"hardware_compatible": "ampere+"}, overwrite=True)


# Without weights ------------------------------------------------------------------------------------------------


def test_weights_come_back_from_the_graph_beside_the_plan(each: Played, build: Build) -> None:
    engine = build("int8", "tensorrt", options={"strip_weights": True}).engine
    assert each.flags == {"STRIP_PLAN", "REFIT_IDENTICAL"}
    stored = len(onnx.load(engine / "network.onnx").graph.initializer)
    assert f"refit {stored}" in each.events and stored > 6
    each.events.clear()
    opened(engine)
    assert each.events == ["deserialize", f"refit {stored}"]
    each.refuses_weights = "stem.weight"
    with pytest.raises(EngineError, match=r"network\.onnx cannot be put .* 1 are missing, as stem\.weight"):
        opened(engine)


def test_weights_that_cannot_be_put_back_fail_the_build(machine: Played, build: Build, tmp_path: Path) -> None:
    machine.refuses_weights = "body.bias"
    with pytest.raises(BuildError, match=r"missing, as body\.bias; build without --strip-weights"):
        build("fp16", "tensorrt", options={"strip_weights": True})
    assert list((tmp_path / "engines").iterdir()) == []


@pytest.mark.skipif(bool(device.gpus()), reason="here is a GPU")
def test_tensorrt_rtx_strips_weights_with_a_gpu_only(build: Build) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    with pytest.raises(TargetError, match="a machine with a GPU only"):
        build("fp16", "tensorrt-rtx", options={"strip_weights": True})


# A DLA ----------------------------------------------------------------------------------------------------------


def test_layers_on_a_dla(machine: Played, build: Build) -> None:
    machine.dla_cores = 2
    write_library(machine.version)
    report = build("fp16", "tensorrt", options={"dla": 1, "gpu_fallback": True})
    record, manifest = build_record(report.engine), Manifest.read(report.engine)
    assert (record["dla"], record["gpu_fallback"]) == (1, True) and machine.flags == {"GPU_FALLBACK"}
    assert record["dla_layers"]["taken"] == 3 < record["dla_layers"]["of"]
    assert vars(machine.config)["default_device_type"].name == "DLA" and report.plugins.startswith("UpsampleArgmax of")
    assert (manifest.proof["evidence"], manifest.proof["proved"]) == ("network", 2)
    opened(report.engine)  # the played runtime reads it for that core alone


@pytest.mark.parametrize(
    ("cores", "precision", "options", "words"),
    [
        (0, "fp16", {"dla": 0}, "sees 0 DLA cores on this machine, so there is no dla 0"),
        (2, "int8", {"dla": 2}, "sees 2 DLA cores"),
        (2, "fp32", {"dla": 0}, "fp16 and int8 only"),
        (2, "fp16", {"dla": 0}, r"takes 3 of the \d+ layers of this network; give gpu_fallback too"),
        (2, "fp16", {"dla": 0, "strip_weights": True}, "keeps its weights"),
    ],
)
def test_what_a_dla_cannot_do(
    machine: Played, build: Build, cores: int, precision: str, options: dict[str, Any], words: str
) -> None:
    machine.dla_cores = cores
    with pytest.raises((BuildError, InputError, TargetError), match=words) as caught:
        build(precision, "tensorrt", options=options)
    assert "\n" not in str(caught.value)


def test_a_dla_takes_one_batch_and_some_layer(machine: Played, build: Build, onnx_path: Path) -> None:
    machine.dla_cores, machine.dla_takes = 1, lambda layer: False
    options = {"dla": 0, "gpu_fallback": True}
    with pytest.raises(BuildError, match=r"takes 0 of the \d+ layers of this network; leave dla out"):
        build("fp16", "tensorrt", options=options)
    onnx.save(tiny.tiny_graph(batch=4, batches=[1, 2, 4]), onnx_path)
    with pytest.raises(InputError, match="one number of frames, not 1:2:4"):
        build("fp16", "tensorrt", options=options)


# Plugins inside -------------------------------------------------------------------------------------------------


def test_the_library_inside_the_plan(each: Played, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    library = write_library(each.version)
    wanted = {"plugins": "library", "serialize_plugins": True, "version_compatible": True}
    report = build("fp16", "tensorrt", options=wanted)
    (entry,) = Manifest.read(report.engine).plugins
    assert entry["where"] == "plan" and report.plugins == f"UpsampleArgmax of {library}, inside the plan"
    assert vars(each.config)["plugins_to_serialize"] == [str(library)]
    library.unlink()
    each.events.clear()
    with pytest.raises(EngineError, match="lean runtime, the plugin library"):
        opened(report.engine)
    opened(report.engine, host_code=True)
    assert each.events == ["deserialize"], "nothing else is loaded"


def test_without_a_library_there_is_nothing_to_put_in(machine: Played, build: Build) -> None:
    with pytest.raises(InputError, match="no plugin library to serialize"):
        build("fp16", "tensorrt", options={"serialize_plugins": True, "version_compatible": True})


# Open batches and the line ---------------------------------------------------------------------------------------


def test_an_open_batch_is_one_profile(each: Played, build: Build, onnx_path: Path, frames: Any) -> None:
    onnx.save(tiny.tiny_graph(batch=4, batches=[1, 2, 4]), onnx_path)
    report = build("fp16", "tensorrt")
    assert each.profile == tuple((count, *tiny.SIZE_HW, 3) for count in (1, 2, 4))
    assert "--minShapes=frames:1x32x48x3 --optShapes=frames:2x32x48x3 --maxShapes=frames:4x32x48x3" in report.trtexec
    with open_engine(report.engine) as session:
        assert (session.run(frames) == tiny.reference_masks(frames)).all()


def test_the_line_of_trtexec(machine: Played, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    report = build("fp16", "tensorrt")
    plain = (
        "trtexec --onnx=network.onnx --saveEngine=engine.plan --memPoolSize=workspace:1024M --stronglyTyped --noTF32 "
        "--profilingVerbosity=detailed --timingCacheFile=timing.cache --skipInference"
    )
    assert report.trtexec == Manifest.read(report.engine).precision_detail["trtexec"] == plain
    assert {"network.onnx", "engine.plan", "timing.cache"} <= set(Manifest.read(report.engine).files)
    assert (report.engine / "network.onnx").read_bytes() == machine.parsed.SerializeToString()  # type: ignore[union-attr]
    library = write_library(machine.version)
    monkeypatch.setattr(tensorrt, "gpus", lambda: (CARD,))
    monkeypatch.setattr(directory, "gpus", lambda: (CARD,))
    write_library(machine.version, architectures="86")
    options = {
        "plugins": "library", "serialize_plugins": True, "version_compatible": True, "strip_weights": True,
        "hardware_compatible": "same-capability", "workspace_mb": 300, "optimization_level": 4,
    }  # fmt: skip
    assert build("fp16", "tensorrt", options=options, overwrite=True).trtexec == (
        "trtexec --onnx=network.onnx --saveEngine=engine.plan --memPoolSize=workspace:300M "
        "--builderOptimizationLevel=4 --stripWeights --stronglyTyped --noTF32 --profilingVerbosity=detailed "
        f"--timingCacheFile=timing.cache --dynamicPlugins={library} --setPluginsToSerialize={library} "
        "--versionCompatible --hardwareCompatibilityLevel=sameComputeCapability --skipInference"
    )
    machine.dla_cores, machine.flags = 1, {"TF32"}
    line = build("int8", "tensorrt", options={"plugins": "none", "dla": 0, "gpu_fallback": True}).trtexec
    assert line.endswith("--timingCacheFile=timing.cache --useDLACore=0 --allowGPUFallback --skipInference")


def test_the_line_of_tensorrt_rtx(build: Build) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    options = {"compute_capabilities": ("8.6", "12.0"), "workspace_mb": 200, "optimization_level": 2}
    report = build("int8", "tensorrt-rtx", options=options)
    assert report.trtexec == (
        "tensorrt_rtx --onnx=int8.onnx --saveEngine=engine.plan --memPoolSize=workspace:200M "
        "--builderOptimizationLevel=2 --noTF32 --computeCapabilities=86,120 --skipInference"
    )
    assert build_record(report.engine) == {"workspace_mb": 200, "optimization_level": 2}


# What cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hardware_compatible": "all"}, r"hardware_compatible all is unknown; use ampere\+ or same-capability"),
        ({"dla": -1}, "dla -1 is no core"),
        ({"gpu_fallback": True}, "gpu_fallback is for layers that a DLA does not take"),
        ({"serialize_plugins": True}, "serialize_plugins needs version_compatible"),
        ({"serialize_plugins": True, "version_compatible": True, "plugins": "kernels"}, "not for plugins kernels"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TensorRtOptions(**options)


@pytest.mark.parametrize("name", ["dla", "version_compatible", "hardware_compatible", "serialize_plugins"])
def test_what_tensorrt_rtx_does_not_have(build: Build, name: str) -> None:
    with pytest.raises(InputError, match=f"tensorrt-rtx has no option {name} .*leave {name}=0 out"):
        build("fp16", "tensorrt-rtx", options={name: 0})
