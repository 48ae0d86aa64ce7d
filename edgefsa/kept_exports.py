"""Exports of models by name, kept in the user's cache: tracing one takes longer than building its engine."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import edgefsa
from edgefsa.artifacts import atomic_file, sha256_of_bytes
from edgefsa.cache import cache_folder, keep_newest
from edgefsa.errors import OutputError

if TYPE_CHECKING:
    from edgefsa.build import ModelRequest

_PACKAGE = Path(edgefsa.__file__).parent
_EXPORTERS = ("torch", "onnx", "onnxscript", "onnx-ir", "numpy", "opencv-python-headless")
_KEPT, _LARGEST_BYTES = 12, 64 << 20


def export_once(request: ModelRequest, output: Path, export: Callable[[], object]) -> None:
    """Write the ONNX file of `request` to `output`: from the cache, or by `export`, which writes it there.

    Only exports of named models are kept, as a checkpoint or a file of classes may be another one tomorrow. The cache
    knows them by the request and by the program that exported. One that cannot be written costs time and nothing else.
    """
    if request.checkpoint is not None or request.classes is not None:
        export()
        return
    kept = cache_folder("exports") / f"{_key(request)}.onnx"
    with contextlib.suppress(OSError):
        shutil.copyfile(kept, output)
        kept.touch()  # used last
        return
    export()
    if output.stat().st_size <= _LARGEST_BYTES:
        with contextlib.suppress(OutputError, OSError):
            with atomic_file(kept) as partial:
                shutil.copyfile(output, partial)
            keep_newest(kept.parent, "*.onnx", _KEPT)


def _key(request: ModelRequest) -> str:
    facts = json.dumps(asdict(request), sort_keys=True, default=str)
    return sha256_of_bytes(f"{facts} {exporter_sha256()}".encode())[:32]


@functools.cache
def exporter_sha256() -> str:
    """Return a hash (hex) of this package with its weights' records, and of the libraries that export."""
    digest = hashlib.sha256()
    for name in _EXPORTERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{name} {importlib.metadata.version(name)} ".encode())
    for file in sorted([*_PACKAGE.rglob("*.py"), *_PACKAGE.glob("models/weights/*.json")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()
