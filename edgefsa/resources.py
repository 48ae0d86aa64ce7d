"""The folders that the package carries beside its modules: `calibration` and `plugins`."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_folder(name: str) -> Path:
    """Return the folder of the package `edgefsa.<name>`, wherever this installation has it.

    In a checkout that is on Python's path and not installed nothing leads to that package, and the folder lies beside
    the package's own.
    """
    try:
        return Path(str(importlib.resources.files(f"{__package__}.{name}")))
    except ModuleNotFoundError:
        return _PACKAGE.parent / name


def is_in_checkout(folder: Path) -> bool:
    """Return whether a folder of `resource_folder` is a checkout's, and not a copy inside the installed package."""
    return folder.resolve().parent != _PACKAGE
