"""Rendered scenes, kept in the user's cache: rendering one takes a good part of a second, reading it milliseconds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np

from edgefsa.artifacts import atomic_file
from edgefsa.cache import cache_folder, keep_newest
from edgefsa.errors import OutputError
from edgefsa.media.frames import Frame, Mask

_KEPT = 500  # about 0.4 MB each


def kept_scene(seed: int, size_hw: tuple[int, int]) -> tuple[Frame, Mask]:
    """Return what `render_scene` renders: a frame uint8 [H, W, 3] BGR, and its label uint8 [H, W].

    It is rendered where it is not in the cache, and kept there where that can be written.
    """
    path = scene_path(seed, size_hw)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if stored is not None and stored.shape == (*size_hw, 4):
        return np.ascontiguousarray(stored[..., :3]), np.ascontiguousarray(stored[..., 3])
    from edgefsa.data.synthetic import render_scene

    frame, label = render_scene(seed, size_hw)
    with contextlib.suppress(OutputError):
        _keep(path, frame, label)
    return frame, label


def scene_path(seed: int, size_hw: tuple[int, int]) -> Path:
    """Return where a scene is kept, as a PNG whose fourth channel is the label."""
    height, width = size_hw
    return cache_folder("scenes") / renderer_sha256()[:16] / f"{seed}-{height}x{width}.png"


@functools.lru_cache(maxsize=1)
def renderer_sha256() -> str:
    """Return a hash of the program that renders, so that nothing rendered outlives a change of it."""
    digest = hashlib.sha256()
    for file in sorted((Path(__file__).parent / "synthetic").glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _keep(path: Path, frame: Frame, label: Mask) -> None:
    """Store a scene; remove those of other renderers, and the oldest where there are many."""
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    with atomic_file(path) as partial:
        partial.write_bytes(cv2.imencode(".png", np.dstack([frame, label]), fast)[1].tobytes())
    with contextlib.suppress(OSError):  # another process removes the same
        for folder in path.parent.parent.iterdir():
            if folder != path.parent:
                shutil.rmtree(folder, ignore_errors=True)
    keep_newest(path.parent, "*.png", _KEPT)
