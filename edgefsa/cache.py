"""The folders of the user's cache, which keep what was made once and takes long."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import platformdirs


def cache_folder(kind: str) -> Path:
    """Return the folder of what this user has built of a kind ("plugins", "timing", "scenes"); it may not exist yet.

    It lies in the cache folder of the operating system's user, which EDGEFSA_CACHE_DIR replaces.
    """
    own = os.environ.get("EDGEFSA_CACHE_DIR")
    base = Path(own) if own else platformdirs.user_cache_path("edgefsa", appauthor=False)
    return base / kind


def keep_newest(folder: Path, pattern: str, count: int) -> None:
    """Remove the files of a folder that fit `pattern` and were changed or used longest ago, all but `count` of them."""
    with contextlib.suppress(OSError):  # another process removes the same
        files = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
        for file in files[:-count]:
            file.unlink(missing_ok=True)
