"""Kernels that go into an engine: PTX for a GPU and a CUDA, and what is registered with TensorRT."""

from __future__ import annotations

import functools
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.engines.tensorrt.plugins import aot_compile, aot_kernels, aot_plugins
from edgefsa.engines.tensorrt.plugins.aot_compile import ptx_for_cuda, ptx_from_source, ptx_version_for
from edgefsa.engines.tensorrt.plugins.aot_kernels import (
    MAX_SHARED_BYTES,
    AotKernel,
    KernelTarget,
    spectral_mask_kernel,
    upsample_argmax_kernel,
)
from edgefsa.errors import BuildError, PluginError

PTX = "//\n// Generated\n//\n\n.version 9.0\n.target sm_87\n.address_size 64\n"
POINTERS, BATCH = ".u64", ".u32"
SIZE_HW, WHOLE, HALVES = (np.array([32]), np.array([48])), np.array([0]), np.array([1])


@pytest.fixture(scope="module")
def nvrtc() -> None:
    try:
        ptx_from_source("", "empty.cu", "8.0")
    except PluginError as error:
        pytest.skip(f"needs NVRTC: {error}")


def test_each_cuda_has_its_ptx_version() -> None:
    # From the table of releases in the PTX ISA manual.
    assert [ptx_version_for(cuda) for cuda in ((12, 2), (12, 6), (12, 8), (13, 0))] == [(8, 2), (8, 5), (8, 7), (9, 0)]
    assert ptx_version_for((14, 1)) == max(aot_compile._PTX_OF_CUDA.values())
    with pytest.raises(PluginError, match=r"CUDA 11\.8 is too old"):
        ptx_version_for((11, 8))


def test_the_version_is_lowered_and_never_raised() -> None:
    assert ".version 8.5\n.target sm_87" in ptx_for_cuda(PTX, "8.7", (12, 6))
    old = PTX.replace("9.0", "8.2")
    assert ptx_for_cuda(old, "8.7", (13, 0)) == old


def test_a_cuda_that_does_not_know_the_gpu_is_told() -> None:
    with pytest.raises(PluginError, match=r"12\.0 needs PTX 8\.7, and CUDA 12\.6 reads up to 8\.5; update the driver"):
        ptx_for_cuda(PTX, "12.0", (12, 6))


def test_text_that_is_no_ptx_is_told() -> None:
    with pytest.raises(PluginError, match="not PTX"):
        ptx_for_cuda("\x7fELF", "8.7", (12, 6))


@pytest.mark.usefixtures("nvrtc")
def test_the_compilers_first_error_is_told() -> None:
    with pytest.raises(BuildError, match=r"wrong\.cu cannot be compiled: wrong\.cu\(2\).*undefined"):
        ptx_from_source("int x = 1;\nint y = z;\n", "wrong.cu", "8.0")


def parameters_of(ptx: str, name: str) -> list[str]:
    """Return the types of a kernel's parameters, in order."""
    head = re.search(rf"\.entry {name}\((.*?)\)", ptx, re.DOTALL)
    assert head, f"no kernel {name}"
    return re.findall(r"\.param (\.\w+)(?: \.ptr(?: \.\w+)* ?\d*)? \w+_param_\d+", head[1])


GPUS = [("8.0", (12, 2), "8.2"), ("8.7", (12, 6), "8.5"), ("9.0", (12, 8), "8.7"), ("12.0", (13, 0), "9.0")]


@functools.cache
def kernels_for(capability: str, cuda: tuple[int, int]) -> tuple[AotKernel, AotKernel]:
    target = KernelTarget(capability, cuda)
    mask = spectral_mask_kernel((-1, 6, 40, 48), (5, 5), "float16", target)
    return mask, upsample_argmax_kernel((-1, 19, 8, 12), (32, 48), "float32", target)


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(("capability", "cuda", "version"), GPUS)
def test_the_kernels_are_for_the_gpu_and_the_cuda(capability: str, cuda: tuple[int, int], version: str) -> None:
    mask, upsample = kernels_for(capability, cuda)
    assert parameters_of(mask.ptx, mask.name) == [POINTERS] * 6 + [BATCH, POINTERS]
    assert parameters_of(upsample.ptx, upsample.name) == [POINTERS, BATCH, POINTERS]
    architecture = f"sm_{capability.replace('.', '')}"
    for kernel in (mask, upsample):
        assert f"\n.version {version}\n.target {architecture}\n" in kernel.ptx
        assert kernel.shared_bytes <= MAX_SHARED_BYTES
    assert (mask.grid, mask.batch_axis, mask.block) == ((6, 1, 1), 0, (256, 1))
    # 32 x 4 cells a block, and a sample for each block in z.
    assert (upsample.grid, upsample.batch_axis, upsample.block) == ((1, 2, 1), 2, (32, 4))


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(("capability", "cuda"), [gpu[:2] for gpu in GPUS])
def test_nvidias_assembler_takes_the_kernels_and_spills_nothing(
    tmp_path: Path, capability: str, cuda: tuple[int, int]
) -> None:
    """It holds instructions against the version of PTX."""
    ptxas = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
    if ptxas is None:
        pytest.skip("needs ptxas of the CUDA toolkit; there is none on the PATH or in /usr/local/cuda/bin")
    for kernel in kernels_for(capability, cuda):
        (tmp_path / "kernel.ptx").write_text(kernel.ptx)
        command = [ptxas, "-v", f"-arch=sm_{capability.replace('.', '')}", str(tmp_path / "kernel.ptx")]
        command += ["-o", str(tmp_path / "kernel.cubin")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr


@pytest.mark.usefixtures("nvrtc")
def test_a_plane_is_kept_in_shared_memory_where_it_fits() -> None:
    target = KernelTarget("8.7")
    small, large = (spectral_mask_kernel((1, 4, side, side), (5, 5), "float16", target) for side in (64, 256))
    assert 64 * 64 * 2 < small.shared_bytes <= MAX_SHARED_BYTES
    assert large.shared_bytes < small.shared_bytes + 256 * 256 * 2 and large.shared_bytes <= MAX_SHARED_BYTES
    with pytest.raises(BuildError, match="use the plugin library"):
        spectral_mask_kernel((1, 1, 2048, 4096), (5, 5), "float16", target)


class FakePlugin(ModuleType):
    """tensorrt.plugin as its documentation has it: what is registered is kept, and its form is checked."""

    def __init__(self) -> None:
        super().__init__("faketensorrt.plugin")
        self.described: dict[str, Any] = {}
        self.implemented: dict[str, Any] = {}

    class TensorDesc:
        def __init__(self, shape: tuple[Any, ...], dtype: str) -> None:
            self.shape, self.shape_expr, self.dtype = shape, shape, dtype

        def like(self) -> Any:
            return type(self)(self.shape, self.dtype)

    class KernelLaunchParams:
        def __init__(self) -> None:
            self.grid_x = self.grid_y = self.block_x = self.shared_mem = None

    class SymExprs(list):  # type: ignore[type-arg]
        pass

    class SymIntExprs(SymExprs):
        @classmethod
        def from_tuple(cls, items: Any) -> Any:
            return cls(items)

    class SymInt32:
        def __init__(self, value: Any) -> None:
            self.value = value

    def from_shape_expr(self, shape: tuple[Any, ...], dtype: str) -> Any:
        return self.TensorDesc(shape, dtype)

    def register(self, identity: str) -> Any:
        def keep(function: Any) -> None:
            signature = inspect.signature(function)
            assert signature.return_annotation is self.TensorDesc
            kinds = [item.annotation for item in signature.parameters.values()]
            known = (self.TensorDesc, npt.NDArray[np.int64])
            assert all(kind in known for kind in kinds) and kinds[0] is self.TensorDesc
            self.described[identity] = function

        return keep

    def aot_impl(self, identity: str) -> Any:
        def keep(function: Any) -> None:
            names = list(inspect.signature(function).parameters)
            assert names == [*inspect.signature(self.described[identity]).parameters, "outputs", "tactic"]
            assert len(inspect.signature(function).return_annotation.__args__) == 4
            self.implemented[identity] = function

        return keep


class Batch:
    """An unknown dimension, as a symbol."""

    def __mul__(self, other: int) -> tuple[str, int]:
        return ("batch", other)


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Any:
    plugin = FakePlugin()
    monkeypatch.setitem(sys.modules, "faketensorrt.plugin", plugin)
    kinds: dict[str, Any] = {"float16": "f16", "float32": "f32", "int32": "i32", "int8": "i8"}
    creators: list[SimpleNamespace] = []
    kinds["get_plugin_registry"] = lambda: SimpleNamespace(all_creators=creators)
    module = SimpleNamespace(__name__="faketensorrt", __version__="10.13.3.9", QuickPluginCreationRequest=1, **kinds)
    return SimpleNamespace(module=module, plugin=plugin, creators=creators)


def test_the_mask_is_described_and_launched(tensorrt: Any, asked: list[tuple[Any, ...]]) -> None:
    aot_plugins.register_aot_plugins(tensorrt.module, "8.7", (12, 6))
    tensor, batch = tensorrt.plugin.TensorDesc, Batch()
    shapes = [(batch, 64, 32, 48), (64,), (32, 5), (48, 3), (15, 15), (15, 15)]
    inputs = [tensor(shape, "f16" if index == 0 else "f32") for index, shape in enumerate(shapes)]
    described = tensorrt.plugin.described["edgefsa::SpectralMask"](*inputs)
    assert (described.shape, described.dtype) == (shapes[0], "f16")
    name, ptx, launch, extra = tensorrt.plugin.implemented["edgefsa::SpectralMask"](*inputs, (described,), None)
    assert (name, ptx) == ("kernel", "ptx")
    assert (launch.grid_x, launch.grid_y, launch.grid_z) == (("batch", 64), 3, 1)
    assert (launch.block_x, launch.block_y, launch.shared_mem) == (32, 4, 1000)
    assert [item.value for item in extra] == [batch]
    assert asked == [([batch, 64, 32, 48], (5, 3), "float16", KernelTarget("8.7", (12, 6)))]


def test_the_upsampling_is_described_and_launched(tensorrt: Any, asked: list[tuple[Any, ...]]) -> None:
    aot_plugins.register_aot_plugins(tensorrt.module, "9.0")
    batch = Batch()
    logits = tensorrt.plugin.TensorDesc((batch, 19, 8, 12), "f32")
    for half_indices, dtype in [(WHOLE, "i32"), (HALVES, "f16")]:
        described = tensorrt.plugin.described["edgefsa::UpsampleArgmax"](logits, *SIZE_HW, half_indices)
        assert (described.shape, described.dtype) == ((batch, 32, 48), dtype)
        tensorrt.plugin.implemented["edgefsa::UpsampleArgmax"](logits, *SIZE_HW, half_indices, (described,), None)
    given = ([batch, 19, 8, 12], (32, 48), "float32", KernelTarget("9.0"))
    assert asked == [(*given, {"half_indices": False}), (*given, {"half_indices": True})]


def test_another_type_is_told(tensorrt: Any) -> None:
    aot_plugins.register_aot_plugins(tensorrt.module, "8.7")
    logits = tensorrt.plugin.TensorDesc((1, 19, 8, 12), "i8")
    with pytest.raises(PluginError, match="float32 and float16, not i8"):
        tensorrt.plugin.implemented["edgefsa::UpsampleArgmax"](logits, *SIZE_HW, WHOLE, (logits,), None)


@pytest.mark.parametrize("position", range(1, 6))
def test_a_mask_with_weights_of_another_type_is_told(tensorrt: Any, position: int) -> None:
    aot_plugins.register_aot_plugins(tensorrt.module, "8.7")
    names = ("x", "gain", "basis_h", "basis_w", "coupling_gain", "coupling_base")
    shapes = [(1, 64, 32, 48), (64,), (32, 5), (48, 3), (15, 15), (15, 15)]
    inputs = [
        tensorrt.plugin.TensorDesc(shape, "f16" if index in (0, position) else "f32")
        for index, shape in enumerate(shapes)
    ]
    with pytest.raises(PluginError, match=f"reads {names[position]} as float32, not f16"):
        tensorrt.plugin.implemented["edgefsa::SpectralMask"](*inputs, (inputs[0],), None)


def test_plugins_of_the_library_in_this_process_are_told(tensorrt: Any) -> None:
    item = SimpleNamespace(name="SpectralMask", plugin_version="1", plugin_namespace="edgefsa")
    tensorrt.creators.append(item)
    with pytest.raises(PluginError, match="library is loaded in this process; build with --plugins kernels"):
        aot_plugins.register_aot_plugins(tensorrt.module, "8.7")
    item.plugin_namespace = "another"
    aot_plugins.register_aot_plugins(tensorrt.module, "8.7")


def test_an_old_tensorrt_is_told() -> None:
    with pytest.raises(PluginError, match=r"TensorRT 10\.3\.0 takes no kernels into an engine; use 10\.9"):
        aot_plugins.register_aot_plugins(SimpleNamespace(__name__="tensorrt", __version__="10.3.0"), "8.7")


@pytest.mark.parametrize("version", ["10.13.3.9", "11.4.0.106"])
def test_the_names_are_those_of_tensorrt(shared_dir: Path, version: str) -> None:
    api = json.loads((shared_dir / "tensorrt-api" / f"tensorrt-{version}.json").read_text())
    assert "QuickPluginCreationRequest" in api
    assert "PREFER_AOT_PYTHON_PLUGINS" in api["NetworkDefinitionCreationFlag"]
    assert {"float16", "float32", "int32", "get_plugin_registry"} <= set(api)
    assert {"load_library", "all_creators"} <= set(api["IPluginRegistry"])
    assert {"name", "plugin_version", "plugin_namespace"} <= set(api["IPluginCreatorV3One"])


def test_tensorrt_10_3_has_the_registry_and_no_kernels_in_engines(shared_dir: Path) -> None:
    api = json.loads((shared_dir / "tensorrt-api" / "tensorrt-10.3.0.json").read_text())
    assert "QuickPluginCreationRequest" not in api
    assert {"load_library", "all_creators"} <= set(api["IPluginRegistry"])


def test_the_operators_are_a_part_of_the_librarys() -> None:
    from edgefsa.engines.tensorrt.plugins.library import PLUGINS

    assert set(aot_plugins.OPERATORS) < set(PLUGINS)
    assert aot_kernels.MAX_SHARED_BYTES == 49152
