"""The target tensorrt on a real GPU, with plugins, with kernels and with bodies, against ONNX Runtime on the CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.data.synthetic import render_scene
from edgefsa.engines import build_engine, inspect_engine, open_engine, targets
from edgefsa.engines.tensorrt.plugins.build import build_for_this_machine
from edgefsa.engines.tensorrt.plugins.library import find_library, tensorrt_version
from edgefsa.errors import EdgeFsaError, PluginError

MODELS = ("fsanet-edge", "spanet-edge")
SIZE_HW = (360, 480)
# Pixels whose class is the CPU's: float16 moves the borders between classes a little, INT8 more.
AGREEMENT = {"fp32": 0.999, "fp16": 0.995, "int8": 0.97}


@pytest.fixture(scope="module")
def machine(cuda: Any) -> str:
    """TensorRT's version, where it can build here."""
    reason = targets()["tensorrt"].unbuildable()
    if reason is not None:
        pytest.skip(f"needs full TensorRT: {reason}")
    return tensorrt_version()


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, machine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edgefsa.build import ModelRequest, export_model

    path = tmp_path_factory.mktemp("models") / f"{request.param}.onnx"
    export_model(ModelRequest(request.param, size_hw=SIZE_HW), path)
    return path


@pytest.fixture(scope="module")
def library(machine: str, capability: str) -> Any:
    try:
        return find_library(machine, capability)
    except PluginError:
        try:
            return build_for_this_machine(capability=capability)
        except EdgeFsaError as error:
            pytest.skip(f"needs the plugin library: {error}")


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Masks of ONNX Runtime in float32."""
    report = build_engine(model, tmp_path_factory.mktemp("cpu"), target="onnxruntime")
    return masks_of(report.engine)


def masks_of(engine: Path) -> np.ndarray:
    with open_engine(engine) as session:
        return np.concatenate([session.run(render_scene(seed, size_hw=SIZE_HW)[0][None]) for seed in range(4)])


def build(model: Path, folder: Path, precision: str, plugins: str) -> Any:
    from edgefsa.build import shipped_ranges

    ranges = shipped_ranges(model.stem) if precision != "fp32" else None
    return build_engine(
        model, folder, precision=precision, target="tensorrt", ranges=ranges, options={"plugins": plugins}
    )


def check(model: Path, folder: Path, expected: np.ndarray, precision: str, plugins: str, where: str) -> None:
    """Build, and hold masks, proof and plugin layers against what was asked for."""
    engine = build(model, folder, precision, plugins).engine
    manifest = Manifest.read(engine)
    proof = manifest.proof
    assert proof["proved"] == proof["expected"] and (proof["proved"] > 0) == (precision != "fp32")
    assert {entry["where"] for entry in manifest.plugins} == ({where} if where else set())
    layers = [layer for layer in inspect_engine(engine)["layers"] if layer["kind"] == "plugin"]
    assert bool(layers) == bool(where)
    agreement = float((masks_of(engine) == expected).mean())
    assert agreement >= AGREEMENT[precision], f"{agreement:.4f} of the pixels agree"


@pytest.mark.parametrize("precision", AGREEMENT)
def test_with_the_library(
    model: Path, library: Any, expected: np.ndarray, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFSA_PLUGIN_LIBRARY", str(library.path))
    check(model, tmp_path, expected, precision, "library", "library")


@pytest.mark.parametrize("precision", AGREEMENT)
def test_with_bodies(model: Path, expected: np.ndarray, tmp_path: Path, precision: str) -> None:
    check(model, tmp_path, expected, precision, "none", "")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_with_kernels_in_the_engine(
    model: Path, machine: str, expected: np.ndarray, tmp_path: Path, precision: str
) -> None:
    try:
        check(model, tmp_path, expected, precision, "kernels", "engine")
    except PluginError as error:
        pytest.skip(f"needs kernels inside engines: {error}")


def test_an_engine_runs_in_a_process_that_has_neither_torch_nor_onnx(
    model: Path, library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFSA_PLUGIN_LIBRARY", str(library.path))
    engine = build(model, tmp_path, "int8", "library").engine
    code = (
        "import json, sys, numpy\n"
        "from edgefsa.engines import open_engine\n"
        f"with open_engine({str(engine)!r}) as session:\n"
        "    masks = session.run(numpy.zeros(session.input_shape, numpy.uint8))\n"
        "print(json.dumps([list(masks.shape), sorted({'torch', 'onnx'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[1, *SIZE_HW], []]


def test_the_second_build_takes_its_timings_from_the_first(
    model: Path, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    first, second = (build(model, tmp_path / name, "fp16", "none") for name in ("first", "second"))
    assert (first.engine / "timing.cache").stat().st_size > 1000
    assert second.seconds < first.seconds


def test_trtexec_opens_the_plan(model: Path, library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trtexec = shutil.which("trtexec") or shutil.which("trtexec", path="/usr/src/tensorrt/bin")
    if trtexec is None:
        pytest.skip("needs trtexec; it is neither on the PATH nor in /usr/src/tensorrt/bin")
    monkeypatch.setenv("EDGEFSA_PLUGIN_LIBRARY", str(library.path))
    engine = build(model, tmp_path, "fp16", "library").engine
    command = [trtexec, f"--loadEngine={engine / 'engine.plan'}", f"--dynamicPlugins={library.path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("kind", ["cuda.bindings", "pycuda"])
def test_either_package_gives_the_memory(
    model: Path, machine: str, expected: np.ndarray, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefsa.engines.tensorrt import memory as cuda_memory

    pytest.importorskip(kind, reason=f"needs the package {kind}")
    monkeypatch.setattr(cuda_memory, "_importable", lambda name: name == kind)
    check(model, tmp_path, expected, "fp16", "none", "")
