"""Build the plugin library once for this TensorRT, this GPU and these sources, in the user's cache."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgefsa.artifacts import atomic_directory
from edgefsa.cache import cache_folder
from edgefsa.engines.tensorrt.plugins.cmake import build_command, configure_command
from edgefsa.engines.tensorrt.plugins.library import (
    LIBRARY_NAME,
    PluginLibrary,
    architecture_number,
    read_library,
    serves,
    tensorrt_version,
)
from edgefsa.engines.tensorrt.plugins.sources import source_sha256, sources_folder
from edgefsa.errors import BuildError, InputError, PluginError
from edgefsa.machine import gpus

try:
    import fcntl
except ImportError:  # not on Windows, which the plugins are not for
    fcntl = None  # type: ignore[assignment]

LOG_NAME, LOCK_NAME = "build.log", "build.lock"
# Of every TensorRT, GPU and version of the sources; some 10 MB each.
KEPT_BUILDS = 8


def build_library(tensorrt: str, capability: str, *, include_dir: str | Path | None = None) -> PluginLibrary:
    """Return the library for TensorRT `tensorrt` ("10.13.3") and GPUs of `capability` ("8.7"), building it if need be.

    `include_dir` is the folder of TensorRT's headers; CMake looks in the usual places where it is None. Takes CMake
    3.22, nvcc and a C++ compiler, and some minutes; JOBS says how many compilers run at once where it is not to be as
    many as the free memory takes. Raises PluginError, BuildError or InputError with what is missing, failed or wrong.
    """
    short = ".".join(tensorrt.split(".")[:3])
    target = cache_folder("plugins") / f"tensorrt-{short}-sm_{architecture_number(capability)}-{source_sha256()[:16]}"
    with _only_builder(target.parent):
        if not _is_sound(target / LIBRARY_NAME):
            _build(target, tensorrt, capability, include_dir)
            _forget_oldest(target.parent)
    return read_library(target / LIBRARY_NAME)


def _is_sound(path: Path) -> bool:
    try:
        read_library(path)
    except PluginError:
        return False
    return True


def _build(target: Path, tensorrt: str, capability: str, include_dir: str | Path | None) -> None:
    with atomic_directory(target, overwrite=True) as partial, tempfile.TemporaryDirectory() as scratch:
        build, log = Path(scratch), partial / LOG_NAME
        architecture = architecture_number(capability)
        _run(configure_command(sources_folder(), scratch, architecture=architecture, include_dir=include_dir), log)
        found = _headers_version(build)
        if not serves(found, tensorrt):
            raise BuildError(
                f"the headers are of TensorRT {found}, and this is {tensorrt}; set TENSORRT_INCLUDE_DIR to the folder "
                "of its own"
            )
        _run(_build_command(scratch), log)
        shutil.copy2(build / LIBRARY_NAME, partial / LIBRARY_NAME)


def _build_command(folder: str) -> list[str]:
    try:
        return build_command(folder, "edgefsa_plugins")
    except ValueError as error:
        raise InputError(str(error)) from None


def _headers_version(build: Path) -> str:
    """Return the version of the headers that CMake found, before minutes go into compiling with them."""
    cache = (build / "CMakeCache.txt").read_text(encoding="utf-8")
    folder = re.search(r"^TENSORRT_INCLUDE_DIR:\w+=(.+)$", cache, re.MULTILINE)
    try:
        text = (Path(folder[1] if folder else "") / "NvInferVersion.h").read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BuildError(f"cannot read {error.filename}: {reason}; set TENSORRT_INCLUDE_DIR to TensorRT's") from None
    # NV_TENSORRT_MAJOR, or in TensorRT 11 what it stands for.
    return ".".join(re.findall(r"#define \w+_(?:MAJOR|MINOR|PATCH)(?:_ENTERPRISE)? (\d+)", text)[:3])


@contextlib.contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """Wait until no other process builds into `folder`; one that is killed keeps nobody waiting."""
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / LOCK_NAME).open("w"))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PluginError(
                f"cannot write to {folder}: {reason}; set EDGEFSA_CACHE_DIR to a folder of yours"
            ) from None
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_oldest(folder: Path) -> None:
    builds = sorted(folder.glob(f"*/{LIBRARY_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[KEPT_BUILDS:]:
        shutil.rmtree(path.parent, ignore_errors=True)


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


def _run(command: Sequence[str], log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        try:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
        except FileNotFoundError:
            raise PluginError("cmake is not here, and the plugins are built with it; install cmake 3.22") from None
    if status != 0:
        raise BuildError(f"the plugin library cannot be built: {_reason(log)}")


def _reason(log: Path) -> str:
    """Return the first error of a build log in one line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    for index, line in enumerate(lines):
        if line.startswith("CMake Error"):
            said = " ".join(" ".join(lines[index + 1 : index + 5]).split())
            return said.partition(" Call Stack")[0] or line
        if "error:" in line or "fatal" in line:
            return line
    return lines[-1] if lines else "the log is empty"
