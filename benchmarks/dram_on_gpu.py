"""The bytes that each kernel moves between its GPU and the memory, by Nsight Compute, beside those that have to move.

    python benchmarks/dram_on_gpu.py --library build/on_gpu/kernels-sm_90.so [--size 8x64x256x512] [--output dram.json]

Status 0 where they were read, 2 where ncu is missing or cannot read the counters of this machine.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from _kernel_sizes import HALF_LINEAR, bytes_moved, sizes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

UNUSABLE = 2
METRICS = {"dram__bytes_read.sum": "read", "dram__bytes_write.sum": "written"}
UNITS = {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
# How the names of a kernel's functions begin -> the kernel.
KERNELS = {
    ("dct", "sumSplits"): "truncated DCT",
    ("inverse",): "inverse DCT",
    ("spectralMask",): "spectral mask",
    ("upsampleArgmax",): "upsample + argmax",
}


def command_of(ncu: str, library: Path, size: str) -> list[str]:
    """Return the command that counts; the clocks stay as they are."""
    program = [sys.executable, str(ROOT / "benchmarks" / "kernels.py"), "--library", str(library), "--once", size]
    names = ["--kernel-name-base", "demangled", "--kernel-name", "regex:edgefsa"]
    return [ncu, "--clock-control", "none", "--csv", "--metrics", ",".join(METRICS), *names, *program]


def counted(text: str) -> list[dict[str, Any]]:
    """Return each launch in ncu's CSV: the function's name and the bytes read and written."""
    lines = text.splitlines()
    header = next((index for index, line in enumerate(lines) if line.startswith('"ID"')), None)
    if header is None:
        return []
    launches: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in csv.DictReader(io.StringIO("\n".join(lines[header:]))):
        if row["Metric Name"] in METRICS:
            value = float(row["Metric Value"].replace(",", "")) * UNITS[row["Metric Unit"]]
            launches[row["ID"]][METRICS[row["Metric Name"]]] = value
            launches[row["ID"]]["function"] = row["Kernel Name"]
    return list(launches.values())


def kernel_of(function: str) -> str:
    """Return the kernel that a function belongs to, by its demangled name; else the name."""
    name = next(iter(re.findall(r"::(\w+)[<(]", function)), function)
    return next((kernel for beginnings, kernel in KERNELS.items() if name.startswith(beginnings)), function)


def summary(launches: list[dict[str, Any]], size: str) -> list[dict[str, Any]]:
    """Add up the launches of each kernel, beside the bytes that have to move; two upsamplings were launched."""
    found: dict[str, dict[str, Any]] = defaultdict(lambda: {"read": 0.0, "written": 0.0, "launches": 0})
    for launch in launches:
        kernel = kernel_of(launch["function"])
        found[kernel]["read"] += launch.get("read", 0.0)
        found[kernel]["written"] += launch.get("written", 0.0)
        found[kernel]["launches"] += 1
    expected = bytes_moved(next(item for item in sizes() if item.label == size), HALF_LINEAR)
    expected["upsample + argmax"] += expected["upsample + argmax of noise"]
    return [{"kernel": kernel, **values, "has_to_move": expected.get(kernel)} for kernel, values in found.items()]


def main(arguments: list[str] | None = None) -> int:
    from edgefsa.artifacts import write_json
    from edgefsa.console import table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--size", choices=[size.label for size in sizes()], default="8x64x256x512")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    ncu = shutil.which("ncu") or shutil.which("ncu", path="/usr/local/cuda/bin")
    if ncu is None:
        print("error: ncu is not here; install Nsight Compute", file=sys.stderr)
        return UNUSABLE
    done = subprocess.run(command_of(ncu, options.library, options.size), capture_output=True, text=True, check=False)
    launches = counted(done.stdout)
    if not launches:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "==ERROR==" in line or "error:" in line]
        print(f"error: ncu read nothing: {lines[0] if lines else done.stderr[-300:]}", file=sys.stderr)
        return UNUSABLE
    rows = summary(launches, options.size)
    cells = [
        [
            row["kernel"],
            *(f"{row[key] / 1e6:.1f}" for key in ("read", "written")),
            f"{(row['has_to_move'] or 0) / 1e6:.1f}",
        ]
        for row in rows
    ]
    print(table(["kernel", "MB read", "MB written", "MB that have to move"], cells))
    if options.output:
        write_json(options.output, {"size": options.size, "kernels": rows, "launches": launches})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
