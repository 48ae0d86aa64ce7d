"""Builds what `on_gpu.sh` carries to a machine with a GPU: kernels for three architectures, plugins, driver, PTX.

    make gpu-files TENSORRT_INCLUDE_DIR=/opt/TensorRT-10.13/include

It takes nvcc, CMake, g++, NVRTC and TensorRT's headers, and no GPU; what changed is built anew, and FOLDER
(build/on_gpu) holds the files. Status 2 where something is missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from _gpu_files import AOT, DRIVER, KERNELS, LIMIT_BYTES, PLUGINS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgefsa.artifacts import write_json  # noqa: E402
from edgefsa.engines.tensorrt.plugins.aot_compile import cuda_include_dirs  # noqa: E402
from edgefsa.engines.tensorrt.plugins.aot_kernels import (  # noqa: E402
    AotKernel,
    KernelTarget,
    spectral_mask_kernel,
    upsample_argmax_kernel,
)
from edgefsa.engines.tensorrt.plugins.cmake import build_command, configure_command  # noqa: E402
from edgefsa.engines.tensorrt.plugins.library import LIBRARY_NAME as PLUGINS_NAME  # noqa: E402
from edgefsa.engines.tensorrt.plugins.sources import sources_folder  # noqa: E402
from edgefsa.errors import BuildError, EdgeFsaError  # noqa: E402
from edgefsa.kernels.launchers import build_kernels  # noqa: E402
from edgefsa.models import SpectralMask  # noqa: E402

HARNESS = ROOT / "tests" / "unit" / "engines" / "tensorrt" / "plugins" / "harness" / "harness.cpp"
# The CUDA release whose drivers read the PTX; an H200 of 2025 has a newer one.
PTX_CUDA = (12, 4)
CAPABILITIES = ("7.5", "8.7", "9.0")
MASKS = {"staged": (2, 16, 64, 128), "twice": (1, 8, 256, 512), "odd": (3, 5, 13, 17)}
UPSAMPLINGS = {"cells": ((2, 19, 64, 128), (256, 512)), "pixels": ((1, 6, 16, 34), (5, 11))}


def aot_cases() -> Iterator[tuple[str, dict[str, object], AotKernel]]:
    """Yield the kernels that engines may carry: a name, what it is for, and the compiled kernel."""
    for capability in CAPABILITIES:
        target = KernelTarget(capability, PTX_CUDA)
        for dtype in ("float32", "float16"):
            facts = {"dtype": dtype, "capability": capability}
            for name, shape in MASKS.items():
                weights = SpectralMask(shape[1]).operator(*shape[2:]).tensors
                modes = (weights["basis_h"].shape[1], weights["basis_w"].shape[1])
                mask = spectral_mask_kernel(shape, modes, dtype, target)
                yield f"mask-{name}-{dtype}-{capability}", {**facts, "operator": "SpectralMask", "shape": shape}, mask
            for name, (shape, size_hw) in UPSAMPLINGS.items():
                is_half = dtype == "float16"  # as engines have it
                argmax = upsample_argmax_kernel(shape, size_hw, dtype, target, half_indices=is_half)
                described = {**facts, "operator": "UpsampleArgmax", "shape": shape, "size_hw": size_hw}
                indices = "float16" if is_half else "int32"
                yield f"argmax-{name}-{dtype}-{capability}", {**described, "indices": indices}, argmax


def build_driver(include_dir: Path, output: Path) -> None:
    """Compile the driver that plays TensorRT's part; it finds the plugins in the library loaded before it."""
    includes = [f"-I{ROOT / 'plugins' / 'tensorrt'}", f"-I{ROOT / 'plugins'}", f"-isystem{include_dir}"]
    includes += [f"-isystem{folder}" for folder in cuda_include_dirs()]
    run(["g++", "-std=c++17", "-O1", "-shared", "-fPIC", *includes, str(HARNESS), "-o", str(output)])


def build_plugins(include_dir: Path, folder: Path, architecture: str, output: Path) -> None:
    """Compile the plugin library where the kernels of its architecture are compiled already."""
    configure = configure_command(sources_folder(), folder, include_dir=include_dir)
    run([*configure, f"-DCMAKE_CUDA_ARCHITECTURES={architecture}", "-DEDGEFSA_KERNELS_ONLY=OFF"])
    run(build_command(folder, "edgefsa_plugins"))
    shutil.copy2(folder / PLUGINS_NAME, output)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{command[0]} failed: {' '.join((done.stdout + done.stderr).split())[-600:]}")


def travelling_bytes(folder: Path) -> int:
    """Return the bytes of the tracked files and of the folder."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [ROOT / name for name in names.split("\0") if name]
    return sum(path.stat().st_size for path in [*tracked, *folder.rglob("*")] if path.is_file())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "on_gpu")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "gpu_files", help="where CMake builds")
    given = os.environ.get("TENSORRT_INCLUDE_DIR", "").split(os.pathsep)[0]
    parser.add_argument("--tensorrt-include-dir", type=Path, default=Path(given), help="the folder of NvInferRuntime.h")
    options = parser.parse_args(arguments)
    include_dir, folder = options.tensorrt_include_dir.resolve(), options.folder.resolve()
    try:
        if not (include_dir / "NvInferRuntime.h").is_file():
            raise EdgeFsaError(f"NvInferRuntime.h is not in {include_dir}; give its folder as --tensorrt-include-dir")
        (folder / AOT).mkdir(parents=True, exist_ok=True)
        for name, facts, kernel in aot_cases():
            write_json(folder / AOT / f"{name}.json", {**facts, **dataclasses.asdict(kernel)})
        build_driver(include_dir, folder / DRIVER)
        for architecture, name in KERNELS.items():
            print(f"kernels for {architecture} ...", flush=True)
            shutil.copy2(build_kernels(architecture, options.scratch / architecture), folder / name)
        print("plugins ...", flush=True)
        architecture = next(iter(KERNELS))
        build_plugins(include_dir, options.scratch / architecture, architecture, folder / PLUGINS)
    except EdgeFsaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    travelling = travelling_bytes(folder)
    print(f"{folder} is ready; with the tracked files {travelling / 1e6:.1f} MB travel")
    if travelling > LIMIT_BYTES:
        print(f"error: that is more than the {LIMIT_BYTES / 1e6:.0f} MB that may travel", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
