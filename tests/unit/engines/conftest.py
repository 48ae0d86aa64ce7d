"""A tiny ONNX file, engines made of it, and the plugin classes compiled for the host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgefsa.engines import BuildReport, build_engine
from edgefsa.engines.tensorrt.plugins import aot_plugins
from edgefsa.engines.tensorrt.plugins import library as plugin_library
from edgefsa.engines.tensorrt.plugins.aot_kernels import AotKernel
from tests.kernels.emulation.build import compiler, objects_folder
from tests.unit.engines import tiny
from tests.unit.engines.tensorrt.plugins.harness.harness import Harness, build_harness, include_dirs

Build = Callable[..., BuildReport]


@pytest.fixture(scope="session", params=include_dirs() or [None], ids=str)
def harness(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The plugin classes on the host, for each version of TensorRT's headers that is here."""
    if request.param is None:
        pytest.skip("needs TensorRT's public headers; set TENSORRT_INCLUDE_DIR to their folder")
    if compiler() is None:
        pytest.skip("needs g++ to compile the plugins for the host; there is none on the PATH")
    return Harness(build_harness(request.param, objects_folder(), tmp_path_factory.mktemp("plugins")))


@pytest.fixture
def onnx_path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    onnx.save(tiny.tiny_graph(), path)
    return path


@pytest.fixture
def frames() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (1, *tiny.SIZE_HW, 3), dtype=np.uint8)


@pytest.fixture
def quantiser(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tiny quantiser's graphs in place of edgefsa.quantize's, so that these tests stand on their own."""
    import edgefsa.quantize

    monkeypatch.setattr(edgefsa.quantize, "int8_onnx", tiny.tiny_int8)
    monkeypatch.setattr(edgefsa.quantize, "fp16_onnx", tiny.tiny_fp16)
    return edgefsa.quantize


@pytest.fixture
def build(quantiser: ModuleType, onnx_path: Path, tmp_path: Path) -> Build:
    """Build an engine of the tiny network."""

    def make(precision: str = "fp32", target: str = "openvino", **options: object) -> BuildReport:
        options.setdefault("ranges", tiny.tiny_ranges() if precision == "int8" else None)
        return build_engine(onnx_path, tmp_path / "engines", precision=precision, target=target, **options)

    return make


@pytest.fixture
def empty_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No library of this machine is found, and none is written outside tmp_path."""
    monkeypatch.delenv(plugin_library.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(plugin_library, "checkout_build_folder", lambda: tmp_path / "build")
    monkeypatch.setattr(plugin_library, "__file__", str(tmp_path / "package" / "plugin_library.py"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The kernels that were asked for, as their arguments, and by what names others have; nothing is compiled."""
    found: list[tuple[Any, ...]] = []

    def compile_kernel(*arguments: Any, **named: Any) -> AotKernel:
        found.append((*arguments, named) if named else arguments)
        return AotKernel("kernel", "ptx", (64, 3, 1), 0, (32, 4), 1000)

    monkeypatch.setattr(aot_plugins, "spectral_mask_kernel", compile_kernel)
    monkeypatch.setattr(aot_plugins, "upsample_argmax_kernel", compile_kernel)
    return found
