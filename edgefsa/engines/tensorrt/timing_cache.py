"""What TensorRT measured of its kernels, kept for the next build: one file per version and GPU in the user's cache."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from edgefsa.artifacts import atomic_file
from edgefsa.cache import cache_folder
from edgefsa.engines.names import TIMING_CACHE_NAME
from edgefsa.errors import OutputError


def timing_cache_path(version: str, gpu: str, capability: str) -> Path:
    """Return the file for a version of TensorRT ("10.13.3.9"), a GPU's name and its compute capability ("8.7")."""
    device = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return cache_folder("timing") / f"tensorrt-{version}-{device}-sm_{capability.replace('.', '')}.cache"


def use_timing_cache(config: Any, path: Path) -> Any:
    """Let a build begin with what `path` holds, or with nothing where it is missing or TensorRT refuses it."""
    stored = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def store_timing_cache(cache: Any, path: Path, directory: Path) -> None:
    """Keep what a build measured, in the engine's directory and for the next build."""
    data = bytes(cache.serialize())
    (directory / TIMING_CACHE_NAME).write_bytes(data)
    # A cache that cannot be written costs the next build time and nothing else.
    with contextlib.suppress(OutputError), atomic_file(path) as partial:
        partial.write_bytes(data)
