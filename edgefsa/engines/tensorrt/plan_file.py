"""Files of plans that other tools wrote: a bare plan, or a plan behind Ultralytics' header. Reads no more than that.

A plan begins with "ftrt" (TensorRT for RTX: "vtrt"), and at byte 24 has the version of TensorRT that made it, as
trtexec's `--getPlanVersionOnly` reads it. Ultralytics writes a length of 4 bytes, little-endian, and so many bytes of
JSON before the plan. Nothing of a file is trusted: a length is held against the file's before anything is read by it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from edgefsa.errors import EngineError

# The first bytes of a plan, with the target whose runtime reads it.
PLAN_TAGS = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_PLAN_HEADER, _VERSION_AT = 28, 24
# Ultralytics' header holds the names of the classes and the export's options: 20 KB for 1000 classes.
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class PlanFile:
    """Where the plan lies in a file, what made it, and the header before it, {} for none.

    `runtime` is tensorrt or tensorrt-rtx, `version` its version, as 10.13.3.9.
    """

    path: Path
    offset: int
    runtime: str
    version: str
    header: dict[str, Any] = field(default_factory=dict)

    def copy_plan(self, path: Path) -> None:
        """Write the plan alone to `path`."""
        with self.path.open("rb") as source, path.open("wb") as sink:
            source.seek(self.offset)
            shutil.copyfileobj(source, sink, 1 << 20)

    def in_words(self) -> dict[str, str]:
        """Return what is known of the file without loading it."""
        shown = {name: value for name, value in self.header.items() if isinstance(value, (str, int, float, list))}
        return {
            "plan": str(self.path),
            "made by": f"{self.runtime} {self.version}" + (", with a header of Ultralytics" if self.header else ""),
            **{name: str(value)[:100] for name, value in shown.items()},
        }


def read_plan_file(path: str | Path) -> PlanFile:
    """Return what a file of a plan holds; EngineError, one line, where it is none or its header cannot be."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = {} if file.read(4) in PLAN_TAGS else _header(file, size, path)
            offset = file.tell() if header else 0
            file.seek(offset)
            start = file.read(_PLAN_HEADER)
    except OSError as error:
        raise EngineError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check the path") from None
    if start[:4] not in PLAN_TAGS or len(start) < _PLAN_HEADER:
        where = f" behind its header of {offset} bytes" if header else ""
        raise EngineError(f"{path} holds no TensorRT plan{where}, but {start[:4]!r}; export the engine again")
    version = ".".join(str(part) for part in start[_VERSION_AT:_PLAN_HEADER])
    return PlanFile(path, offset, PLAN_TAGS[start[:4]], version, header)


def _header(file: BinaryIO, size: int, path: Path) -> dict[str, Any]:
    """Read Ultralytics' header; the file is then where the plan begins."""
    file.seek(0)
    length = int.from_bytes(file.read(4), "little")
    if not 2 <= length <= min(_LONGEST_HEADER, size - 4):
        raise EngineError(
            f"{path} is neither a TensorRT plan nor an engine of Ultralytics: as a header its first 4 bytes ask for "
            f"{length} bytes, and the file has {size}; give a plan of trtexec or an .engine of Ultralytics"
        )
    try:
        value = json.loads(file.read(length).decode("utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not value:
        raise EngineError(f"{path} has a header of {length} bytes that is no JSON object; export the engine again")
    return value
