"""Where the sources of the plugins lie, and what their hash is."""

from __future__ import annotations

import functools
from pathlib import Path

from edgefsa.artifacts import sha256_of_bytes, sha256_of_file
from edgefsa.errors import PluginError
from edgefsa.resources import is_in_checkout, resource_folder

_HASHED_FOLDERS = ("cmake", "kernels", "tensorrt")
_HASHED_SUFFIXES = (".cu", ".cuh", ".h", ".cpp", ".cmake")


def sources_folder() -> Path:
    """Return the folder `plugins`: a checkout has it at its root, a wheel inside the package."""
    folder = resource_folder("plugins")
    if not (folder / "CMakeLists.txt").is_file():
        raise PluginError(f"the sources of the plugins are not in {folder}; install edgefsa again")
    return folder


def checkout_build_folder() -> Path | None:
    """Return the folder that `make plugins` builds in, or None where edgefsa is installed without its checkout."""
    folder = resource_folder("plugins")
    return folder.parent / "build" / "plugins" if is_in_checkout(folder) else None


@functools.cache
def source_sha256() -> str:
    """Return one hash over every file that the library is made of; plugins/cmake/sources.cmake computes the same."""
    folder = sources_folder()
    paths = [path for name in _HASHED_FOLDERS for path in (folder / name).rglob("*") if _is_hashed(path)]
    names = [path.relative_to(folder).as_posix() for path in [*paths, folder / "CMakeLists.txt"]]
    return sha256_of_bytes("".join(f"{name}:{sha256_of_file(folder / name)}\n" for name in sorted(names)).encode())


def _is_hashed(path: Path) -> bool:
    return path.is_file() and (path.suffix in _HASHED_SUFFIXES or path.name == "CMakeLists.txt")
