"""Kernels that go into an engine, compiled for the host with the same settings: what they compute, against float64."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.engines.tensorrt.plugins import aot_kernels
from edgefsa.engines.tensorrt.plugins.aot_kernels import (
    AotKernel,
    KernelTarget,
    spectral_mask_kernel,
    upsample_argmax_kernel,
)
from tests.kernels import test_spectral_mask as spectral_mask
from tests.kernels import test_upsample_argmax as upsample
from tests.kernels.emulation.build import Operator, build_emulator, build_kernels, compiler, link, objects_folder
from tests.kernels.emulation.run import EmulatedOperator
from tests.kernels.tensors import relative_l2

Array = npt.NDArray[Any]

FACTS = ("gridX", "gridY", "gridZ", "batchAxis", "blockX", "blockY", "sharedBytes")
LAUNCH = ("batch", "grid_x", "grid_y", "grid_z", "block_x", "block_y", "shared_bytes")
TARGET = KernelTarget("8.7")
DTYPES = {"float32": np.float32, "float16": np.float16}
# The nodes' inputs and output, in the order in which an engine hands their addresses over: the batch comes between.
MASK = ("x", "gain", "basis_h", "basis_w", "coupling_gain", "coupling_base", "y")
KERNELS = {
    "spectral_mask.cu": ("edgefsaSpectralMask", MASK),
    "upsample_argmax.cu": ("edgefsaUpsampleArgmax", ("logits", "mask")),
}


@dataclass
class HostCompiler:
    """Stands for NVRTC: compiles a kernel and a launcher of it for the host, and gives its facts as PTX has them."""

    objects: Path
    folder: Path
    library: Path | None = None

    def ptx_from_source(self, text: str, name: str, *_: Any, defines: Mapping[str, str], **__: Any) -> str:
        """Take the arguments of `aot_compile.ptx_from_source`."""
        head = "".join(f"#define {key} {value}\n" for key, value in defines.items())
        kernel, tensors = KERNELS[name]
        source = self.folder / f"aot_{len(list(self.folder.glob('*.cpp')))}.cpp"
        source.write_text(head + text + launcher_of(kernel, tensors))
        self.library = link([*build_kernels([source], self.objects), *build_emulator(self.objects)], source)
        facts = ctypes.CDLL(str(self.library))
        values = {fact: ctypes.c_int.in_dll(facts, fact).value for fact in FACTS}
        return "".join(f".global .align 4 .u32 {fact} = {value};\n" for fact, value in values.items() if value)


def launcher_of(kernel: str, tensors: tuple[str, ...]) -> str:
    """Return a launch as an engine makes it: addresses of the inputs, the batch, the address of the output."""
    addresses = ", ".join(f"void* {name}" for name in tensors)
    numbers = ", ".join(f"int {name}" for name in LAUNCH)
    given = ", ".join(f"Address{{{name}}}" for name in tensors[:-1])
    return f"""
struct Address {{
    void* value;
    template <typename T>
    operator T*() const {{ return static_cast<T*>(value); }}
}};
extern "C" std::size_t operatorWorkspaceBytes(...) {{ return 0; }}
extern "C" int operatorLaunch(void*, {addresses}, {numbers}) {{
    const dim3 grid(grid_x, grid_y, grid_z), block(block_x, block_y);
    const Address output{{{tensors[-1]}}};
    return edgefsa::launchKernel({kernel}, grid, block, shared_bytes, nullptr, {given}, batch, output);
}}
"""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> HostCompiler:
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    compile_here = HostCompiler(objects_folder(), tmp_path)
    monkeypatch.setattr(aot_kernels, "ptx_from_source", compile_here.ptx_from_source)
    return compile_here


def run(host: HostCompiler, kernel: AotKernel, inputs: dict[str, Array], name: str, output: Array) -> Array:
    """Launch a kernel for the batch of `output`, as the engine would."""
    assert host.library is not None
    batch = output.shape[0]
    grid = [batch * size if axis == kernel.batch_axis else size for axis, size in enumerate(kernel.grid)]
    values = dict(zip(LAUNCH, (batch, *grid, *kernel.block, kernel.shared_bytes), strict=True))
    operator = EmulatedOperator(Operator(kernel.name, "", "", (), (*inputs, name), LAUNCH), host.library)
    return operator.run(inputs, {name: (output.shape, output.dtype)}, values)[name]


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        (spectral_mask.Case((2, 3, 16, 64), radius=1), "float16"),
        (spectral_mask.Case((3, 2, 13, 17), radius=2), "float32"),
        (spectral_mask.Case((1, 2, 200, 72), radius=2), "float32"),
    ],
    ids=["packs", "single elements", "beyond 48 KB"],
)
def test_the_mask_inside_an_engine_computes_the_formula(
    host: HostCompiler, case: spectral_mask.Case, dtype: str
) -> None:
    tensors = spectral_mask.tensors_of(case)
    x = tensors["x"].astype(DTYPES[dtype])
    modes = (tensors["basis_h"].shape[1], tensors["basis_w"].shape[1])
    kernel = spectral_mask_kernel((-1, *case.shape[1:]), modes, dtype, TARGET)
    y = run(host, kernel, {name: tensors[name] for name in MASK[:-1]} | {"x": x}, "y", x)
    wanted = spectral_mask.formula(tensors | {"x": x})
    assert relative_l2(y, wanted) < (2e-3 if dtype == "float16" else 1e-5)


@pytest.mark.parametrize(
    ("shape", "size_hw", "dtype", "half_indices"),
    [
        ((2, 19, 5, 37), (20, 148), "float16", True),
        ((1, 30, 4, 6), (16, 24), "float32", False),
        ((2, 6, 16, 34), (5, 11), "float32", False),
    ],
    ids=["4 times", "more classes than are staged at once", "smaller"],
)
def test_the_classes_inside_an_engine_are_the_largest(
    host: HostCompiler, shape: tuple[int, ...], size_hw: tuple[int, int], dtype: str, half_indices: bool
) -> None:
    logits = upsample.logits_of(shape, DTYPES[dtype])
    kernel = upsample_argmax_kernel((-1, *shape[1:]), size_hw, dtype, TARGET, half_indices=half_indices)
    output = np.zeros((shape[0], *size_hw), np.float16 if half_indices else np.int32)
    mask = run(host, kernel, {"logits": logits}, "mask", output)
    upsample.assert_largest(mask, upsample.upsampled(logits, size_hw))
