"""CUDA C++ to PTX with NVRTC, for a GPU that need not be here and a CUDA that may be older than the compiler's.

PTX is text that the driver of the target compiles: it has to know the GPU (`.target`) and the language's version
(`.version`). NVRTC writes its own version; a driver of an older CUDA refuses it, so it is lowered where the GPU allows.
"""

from __future__ import annotations

import importlib
import os
import re
import site
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgefsa.errors import BuildError, PluginError

# CUDA -> PTX version, and compute capability -> the first PTX version that has it (the release table of NVIDIA's
# "Parallel Thread Execution ISA").
_PTX_OF_CUDA = {
    (12, 0): (8, 0),
    (12, 1): (8, 1),
    (12, 2): (8, 2),
    (12, 3): (8, 3),
    (12, 4): (8, 4),
    (12, 5): (8, 5),
    (12, 6): (8, 5),
    (12, 8): (8, 7),
    (12, 9): (8, 8),
    (13, 0): (9, 0),
    (13, 1): (9, 1),
}
_PTX_OF_CAPABILITY = {
    "7.5": (6, 3),
    "8.0": (7, 0),
    "8.6": (7, 1),
    "8.7": (7, 4),
    "8.9": (7, 8),
    "9.0": (7, 8),
    "10.0": (8, 6),
    "10.3": (8, 8),
    "11.0": (9, 0),
    "12.0": (8, 7),
    "12.1": (8, 8),
}
_VERSION = re.compile(r"^\.version (\d+)\.(\d+)$", re.MULTILINE)
# NVRTC has no headers of the host; the kernels need these names of them. It knows cudaError_t and cudaStream_t.
_HOST_HEADERS = {
    "cstdint": "typedef signed char int8_t; typedef unsigned char uint8_t; typedef int int32_t;\n"
    "typedef unsigned uint32_t; typedef unsigned long uintptr_t;\n"
    "namespace std { using ::int8_t; using ::uint8_t; using ::int32_t; using ::uint32_t; using ::uintptr_t; }",
    "cstddef": "namespace std { using ::size_t; }",
    "cuda_runtime_api.h": "",
}


def ptx_version_for(cuda: tuple[int, int]) -> tuple[int, int]:
    """Return the PTX version of a CUDA release; of one that came later than this list, the newest that is known."""
    known = [release for release in _PTX_OF_CUDA if release <= cuda]
    if not known:
        raise PluginError(f"CUDA {cuda[0]}.{cuda[1]} is too old for edgefsa's kernels; use 12.0 or newer")
    return _PTX_OF_CUDA[max(known)]


def ptx_for_cuda(ptx: str, capability: str, cuda: tuple[int, int]) -> str:
    """Return `ptx` in a version that the driver of `cuda` reads; PluginError where that CUDA does not know the GPU."""
    found = _VERSION.search(ptx)
    if found is None:
        raise PluginError("the compiler gave something that is not PTX; install another CUDA toolkit")
    own, wanted = (int(found[1]), int(found[2])), ptx_version_for(cuda)
    needed = _PTX_OF_CAPABILITY.get(capability, own)
    if wanted < needed:
        raise PluginError(
            f"a GPU of compute capability {capability} needs PTX {needed[0]}.{needed[1]}, and CUDA {cuda[0]}.{cuda[1]} "
            f"reads up to {wanted[0]}.{wanted[1]}; update the driver of the target"
        )
    if own <= wanted:
        return ptx
    return _VERSION.sub(f".version {wanted[0]}.{wanted[1]}", ptx, count=1)


def ptx_from_source(
    source: str,
    name: str,
    capability: str,
    *,
    cuda: tuple[int, int] | None = None,
    include_dirs: Sequence[str | Path] = (),
    defines: Mapping[str, str] | None = None,
) -> str:
    """Compile `source` (called `name` in messages) for GPUs of `capability` ("8.7"); return PTX.

    `cuda` is the release of the target's driver (`device.driver_cuda`), the compiler's own where it is None. Raises
    PluginError where NVRTC is not here or too old for the GPU, BuildError with the compiler's first error.
    """
    nvrtc = _nvrtc()
    options = [
        f"--gpu-architecture=compute_{capability.replace('.', '')}",
        "--std=c++17",
        "--device-as-default-execution-space",
    ]
    options += [f"--include-path={folder}" for folder in [*include_dirs, *cuda_include_dirs()]]
    options += [f"--define-macro={key}={value}" for key, value in (defines or {}).items()]
    ptx = _compile(nvrtc, source, name, options)
    return ptx if cuda is None else ptx_for_cuda(ptx, capability, cuda)


def _nvrtc() -> Any:
    remedy = "pip install cuda-bindings nvidia-cuda-nvrtc, or install the CUDA toolkit"
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    except ImportError:
        raise PluginError(f"the package cuda-bindings is not installed, and kernels need it; {remedy}") from None
    try:
        nvrtc.nvrtcVersion()
    except Exception as error:  # the loader's error has no stable type
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PluginError(f"the library libnvrtc cannot be loaded ({reason}); {remedy}") from None
    return nvrtc


def _compile(nvrtc: Any, source: str, name: str, options: Sequence[str]) -> str:
    headers = [text.encode() for text in _HOST_HEADERS.values()]
    names = [header.encode() for header in _HOST_HEADERS]
    status, program = nvrtc.nvrtcCreateProgram(source.encode(), name.encode(), len(headers), headers, names)
    _check(nvrtc, status, name)
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise BuildError(f"{name} cannot be compiled: {_first_error(nvrtc, program)}")
        status, size = nvrtc.nvrtcGetPTXSize(program)
        _check(nvrtc, status, name)
        text: bytes = b" " * size
        (status,) = nvrtc.nvrtcGetPTX(program, text)
        _check(nvrtc, status, name)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return text.rstrip(b"\0").decode()


def _check(nvrtc: Any, status: Any, name: str) -> None:
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise BuildError(f"NVRTC cannot compile {name}: {status.name}; install another CUDA toolkit")


def _first_error(nvrtc: Any, program: Any) -> str:
    _, size = nvrtc.nvrtcGetProgramLogSize(program)
    log = b" " * size
    nvrtc.nvrtcGetProgramLog(program, log)
    lines = [line.strip() for line in log.rstrip(b"\0").decode(errors="replace").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "NVRTC gave no reason")


def cuda_include_dirs() -> list[Path]:
    """Find the folder of cuda_fp16.h: of a toolkit, or of NVIDIA's wheels."""
    roots = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    roots.append(Path("/usr/local/cuda"))
    for folder in site.getsitepackages():
        roots += sorted(Path(folder).glob("nvidia/cu*")) + [Path(folder) / "nvidia" / "cuda_runtime"]
    for root in roots:
        if (root / "include" / "cuda_fp16.h").is_file():
            return [root / "include"]
    raise PluginError("the header cuda_fp16.h is not here; install the CUDA toolkit, or set CUDA_HOME")
