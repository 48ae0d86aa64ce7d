"""Build the plugin library once for this TensorRT, this GPU and these sources, in the user's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgefsa.artifacts import atomic_directory
from edgefsa.engines.device import gpus
from edgefsa.engines.plugin_library import LIBRARY_NAME, PluginLibrary, read_library, tensorrt_version
from edgefsa.engines.plugin_sources import cache_folder, source_sha256, sources_folder
from edgefsa.errors import BuildError, PluginError

LOG_NAME = "build.log"


def build_library(tensorrt: str, capability: str, *, include_dir: str | Path | None = None) -> PluginLibrary:
    """Give the library for TensorRT `tensorrt` ("10.13.3") and GPUs of `capability` ("8.7"), building it if need be.

    `include_dir` is the folder of TensorRT's headers; CMake looks in the usual places where it is None. Takes CMake
    3.22, nvcc and a C++ compiler, and some minutes. Raises PluginError or BuildError with what is missing or failed.
    """
    architecture = capability.replace(".", "")
    short = ".".join(tensorrt.split(".")[:3])
    target = cache_folder() / f"tensorrt-{short}-sm_{architecture}-{source_sha256()[:16]}"
    if (target / LIBRARY_NAME).is_file():
        return read_library(target / LIBRARY_NAME)
    with atomic_directory(target, overwrite=True) as partial, tempfile.TemporaryDirectory() as scratch:
        log = partial / LOG_NAME
        _run_cmake(Path(scratch), architecture, include_dir, log)
        shutil.copy2(Path(scratch) / LIBRARY_NAME, partial / LIBRARY_NAME)
        built = read_library(partial / LIBRARY_NAME)
        if built.fault(tensorrt, capability) is not None:
            raise BuildError(
                f"the headers are of TensorRT {built.tensorrt}, and this is {tensorrt}; set TENSORRT_INCLUDE_DIR to "
                "the folder of its own"
            )
    return read_library(target / LIBRARY_NAME)


def build_for_this_machine(*, capability: str | None = None, include_dir: str | Path | None = None) -> PluginLibrary:
    """Build for the installed TensorRT and, where `capability` is None, the first GPU; see `build_library`."""
    tensorrt = tensorrt_version()
    if not tensorrt:
        raise PluginError(
            "the package tensorrt is not installed, and the plugins are for it; pip install 'edgefsa[tensorrt]' (a "
            "Jetson has it from JetPack: use Python's --system-site-packages)"
        )
    if capability is None:
        if not gpus():
            raise PluginError("the driver shows no NVIDIA GPU to build for; name one with --compute-capability 8.7")
        capability = gpus()[0].compute_capability
    return build_library(tensorrt, capability, include_dir=include_dir)


def _run_cmake(build: Path, architecture: str, include_dir: str | Path | None, log: Path) -> None:
    include_dir = include_dir or os.environ.get("TENSORRT_INCLUDE_DIR")
    configure = ["cmake", "-S", str(sources_folder()), "-B", str(build), f"-DCMAKE_CUDA_ARCHITECTURES={architecture}"]
    if include_dir:
        configure.append(f"-DTENSORRT_INCLUDE_DIR={include_dir}")
    compiling = ["cmake", "--build", str(build), "--target", "edgefsa_plugins", "--parallel", str(os.cpu_count() or 1)]
    with log.open("w", encoding="utf-8") as file:
        for command in (configure, compiling):
            try:
                status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
            except FileNotFoundError:
                raise PluginError("cmake is not here, and the plugins are built with it; install cmake 3.22") from None
            if status != 0:
                raise BuildError(f"the plugin library cannot be built: {_reason(log)}")


def _reason(log: Path) -> str:
    """Give the first error of a build log in one line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    for index, line in enumerate(lines):
        if line.startswith("CMake Error"):
            return " ".join(" ".join(lines[index + 1 : index + 5]).split()) or line
        if "error:" in line or "fatal" in line:
            return line
    return lines[-1] if lines else "the log is empty"
