"""What an engine takes: memory and time in a fresh process that opens and runs it, bytes on the disk, multiplications.

`python -m edgefsa.verify.footprint ENGINE [THREADS]` is that process; it prints what it found as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefsa.errors import EngineError
from edgefsa.machine.memory import peak_rss_mib

_RUNS = 3
_LONGEST_S = 600


@dataclass(frozen=True)
class Footprint:
    """The most memory (MiB) that a process held, from its start until it had run the engine, libraries included.

    `open_s` is the time to open the engine, its checks included, `first_run_ms` that of its first run. `peak_rss_mib`
    is None on systems that do not tell.
    """

    peak_rss_mib: float | None
    open_s: float
    first_run_ms: float


def footprint_of(engine: str | Path, threads: int | None = None) -> Footprint:
    """Open and run an engine in a process of its own; EngineError, with its last line, where that fails."""
    command = [sys.executable, "-m", __name__, str(engine), *([] if threads is None else [str(threads)])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{engine} did not open and run within {_LONGEST_S} s in a process of its own") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise EngineError(f"{engine} cannot be opened and run in a process of its own: {said}")
    return Footprint(**json.loads(done.stdout.splitlines()[-1]))


def bytes_on_disk(engine: str | Path) -> int:
    """Return the bytes of all files of an engine directory."""
    return sum(path.stat().st_size for path in Path(engine).rglob("*") if path.is_file())


def macs_of(engine: str | Path) -> int | None:
    """Return the multiply-accumulates of a frame; None without the package onnx, or the graph to count them in."""
    try:
        import onnx

        from edgefsa.graph.cost import macs_by_node
    except ModuleNotFoundError:
        return None
    from edgefsa.artifacts import Manifest
    from edgefsa.engines.names import SOURCE_NAME

    path = Path(engine) / SOURCE_NAME
    if not path.is_file():
        return None
    batch = int(Manifest.read(engine).model["batch"])
    return sum(macs_by_node(onnx.load(path)).values()) // batch


def _run(engine: str, threads: int | None) -> Footprint:
    from edgefsa.engines import open_engine

    begun = time.perf_counter()
    with open_engine(engine, threads=threads) as session:
        opened = time.perf_counter()
        frames = np.zeros(session.input_shape, np.uint8)
        session.run(frames)
        first_run_s = time.perf_counter() - opened
        for _ in range(_RUNS - 1):
            session.run(frames)
        return Footprint(peak_rss_mib(), opened - begun, 1000 * first_run_s)


if __name__ == "__main__":
    _found = _run(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
    sys.stdout.write(json.dumps(vars(_found)) + "\n")
