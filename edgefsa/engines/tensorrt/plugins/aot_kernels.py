"""The operators that one kernel computes, as PTX for one shape, type and GPU, with how to launch it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgefsa.engines.tensorrt.plugins.aot_compile import ptx_from_source
from edgefsa.engines.tensorrt.plugins.sources import sources_folder
from edgefsa.errors import BuildError

# More needs a call on the kernel before its launch, which an engine does not make.
MAX_SHARED_BYTES = 48 << 10
_TYPES = {"float32": ("float", 4), "float16": ("__half", 2)}
# Of the shared memory of a multiprocessor with compute capability 7.5, which is 64 KB; the others have 100 KB and more.
_HALF_OF_7_5 = 32 << 10
_FACT = re.compile(r"\.global \.align 4 \.u32 (\w+) = (\d+);")


@dataclass(frozen=True)
class AotKernel:
    """A kernel on the addresses of the inputs, then the batch (int32), then the output.

    `grid` is for one sample; with more of them its axis `batch_axis` grows. `block` counts threads.
    """

    name: str
    ptx: str
    grid: tuple[int, int, int]
    batch_axis: int
    block: tuple[int, int]
    shared_bytes: int


@dataclass(frozen=True)
class KernelTarget:
    """What PTX is for: a compute capability as "8.7", and the CUDA release of the driver (None: the compiler's own)."""

    capability: str
    cuda: tuple[int, int] | None = None


def spectral_mask_kernel(shape: Sequence[int], modes: tuple[int, int], dtype: str, target: KernelTarget) -> AotKernel:
    """Return the kernel of SpectralMask for x [_, C, H, W] of `dtype` ("float16" or "float32") and (mh, mw) modes.

    A plane is read once where it fits into 48 KB of shared memory and a multiprocessor has room for two of them; else
    twice, the second time mostly out of the L2 cache.
    """
    _, channels, height, width = shape
    _, size = _TYPES[dtype]
    pack = 16 // size
    whole_packs = width % pack == 0
    # The numbers of modes that the library has kernels for: r = 1, r = 2, all.
    template = next(count for count in (3, 5, 9) if modes[0] <= count or count == 9) if whole_packs else 9
    shapes = {"CHANNELS": channels, "HEIGHT": height, "WIDTH": width, "MH": modes[0], "MW": modes[1]}
    choices = {"VEC": pack if whole_packs else 1, "MODES_H": template}
    most_bytes = _HALF_OF_7_5 if target.capability == "7.5" else MAX_SHARED_BYTES
    fits = height * width * size <= most_bytes
    for staged in (1, 0) if fits else (0,):
        kernel = _compile(
            "spectral_mask", "edgefsaSpectralMask", dtype, {**shapes, **choices, "STAGED": staged}, target
        )
        if kernel.shared_bytes <= (most_bytes if staged else MAX_SHARED_BYTES):
            return kernel
    raise BuildError(
        f"the bases of SpectralMask at {height} x {width} take {kernel.shared_bytes} bytes of shared memory, more than "
        f"the {MAX_SHARED_BYTES} that an engine's own kernel may have; use the plugin library"
    )


def upsample_argmax_kernel(
    shape: Sequence[int], size_hw: tuple[int, int], dtype: str, target: KernelTarget, *, half_indices: bool = False
) -> AotKernel:
    """Return the kernel of UpsampleArgmax for logits [_, K, h, w] of `dtype` and a mask of `size_hw`.

    The mask is int32, or float16 with `half_indices`.
    """
    _, classes, low_height, low_width = shape
    shapes = {"CLASSES": classes, "LOW_HEIGHT": low_height, "LOW_WIDTH": low_width}
    shapes |= {"HEIGHT": size_hw[0], "WIDTH": size_hw[1]}
    index = {"INDEX": "__half" if half_indices else "int"}
    return _compile("upsample_argmax", "edgefsaUpsampleArgmax", dtype, {**shapes, **index}, target)


def _compile(source: str, name: str, dtype: str, values: Mapping[str, int | str], target: KernelTarget) -> AotKernel:
    folder = sources_folder()
    defines = {f"AOT_{key}": str(value) for key, value in values.items()} | {"AOT_TYPE": _TYPES[dtype][0]}
    text = (folder / "aot" / f"{source}.cu").read_text(encoding="utf-8")
    ptx = ptx_from_source(
        text, f"{source}.cu", target.capability, cuda=target.cuda, include_dirs=[folder], defines=defines
    )
    found = {key: int(value) for key, value in _FACT.findall(ptx)}
    # A zero has no initialiser in PTX.
    grid = (found["gridX"], found["gridY"], found["gridZ"])
    block = (found["blockX"], found["blockY"])
    return AotKernel(name, ptx, grid, found.get("batchAxis", 0), block, found.get("sharedBytes", 0))
