"""Files that pass for plugin libraries."""

from __future__ import annotations

import json
from pathlib import Path

from edgefsa.engines.tensorrt.plugins.sources import source_sha256


def write_library(path: Path, tensorrt: str = "10.13.3", architectures: str = "87", source: str | None = None) -> Path:
    note = {"tensorrt": tensorrt, "cudart": 12060, "architectures": architectures}
    note["source_sha256"] = source_sha256() if source is None else source
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x7fELF\0\xff" * 999 + b"edgefsa-plugins-note:" + json.dumps(note).encode() + b"\0\xff\0")
    return path
