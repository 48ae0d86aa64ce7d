"""The CUDA kernels against the memory's speed, and against the PyTorch forms that they stand for.

Two feature maps, FP16, batch 1 and 8, cold cache, contestants in turn. Bytes are those that have to move once: the
map or the logits, and the result; bases and weights are not counted. --traffic prints them and needs no GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _kernel_sizes import Size, bytes_moved, sizes

from edgefsa.console import table
from edgefsa.errors import EdgeFsaError

if TYPE_CHECKING:
    from _kernels import Kernels

MAX_RELATIVE_L2 = 5e-3
# What the project asks of them: a share of the copy bandwidth, or so many times faster than a PyTorch form.
WANTED_SHARE = 0.8
WANTED_SPEEDUP = {"dense PyTorch": 10.0, "separable, torch.compile": 3.0, "torch.fft": 8.0}


def print_traffic() -> None:
    """Print the table of expected bytes."""
    rows = [[name, size.label, f"{moved / 1e6:.1f}"] for size in sizes() for name, moved in bytes_moved(size).items()]
    print(table(["kernel", "size", "MB moved"], rows))


def measure_size(kernels: Kernels, size: Size, rounds: int, bandwidth: float) -> dict[str, Any]:
    """Check and time every kernel and every form at one size."""
    from _gpu import cold_medians_ms
    from _kernel_cases import cases

    contest = cases(kernels, size)
    errors = {name: case.relative_l2() for name, case in contest.items()}
    wrong = [f"{name} ({error:.1e})" for name, error in errors.items() if not error <= MAX_RELATIVE_L2]
    if wrong:
        sys.exit(f"at {size.label} these give other numbers than their formula: {', '.join(wrong)}")
    calls: dict[str, Callable[[], Any]] = {"copy of the map": contest["truncated DCT"].copy}
    for name, case in contest.items():
        calls[name] = case.run
        calls |= {f"{name}: {form}": run for form, run in case.forms.items()}
    medians = cold_medians_ms(calls, rounds)
    row: dict[str, Any] = {"shape": size.shape, "median_ms": medians, "relative_l2": errors, "kernels": []}
    moved = bytes_moved(size)
    for name, case in contest.items():
        share = moved[name] / (medians[name] * 1e-3) / bandwidth if name in moved else None
        speedups = {form: medians[f"{name}: {form}"] / medians[name] for form in case.forms}
        row["kernels"].append({"kernel": name, "bytes": moved.get(name), "share": share, "times_faster": speedups})
    return row


def report(rows: list[dict[str, Any]]) -> str:
    """Lay the results out for people."""
    cells = []
    for row in rows:
        for item in row["kernels"]:
            time_ms = row["median_ms"][item["kernel"]]
            share = "-" if item["share"] is None else f"{100 * item['share']:.0f} %"
            faster = ", ".join(f"{value:.1f} ({form})" for form, value in item["times_faster"].items())
            size = " x ".join(map(str, row["shape"]))
            cells.append([item["kernel"], size, f"{1000 * time_ms:.1f}", share, faster or "-"])
    return table(["kernel", "size", "median us", "of copy bandwidth", "times faster than"], cells)


def require_cuda() -> Any:
    """Give PyTorch with a GPU; leaves with one line and status 2 where there is none."""
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if torch is None or not torch.cuda.is_available():
        print("error: this needs PyTorch with CUDA and an NVIDIA GPU; --traffic works without", file=sys.stderr)
        raise SystemExit(2)
    return torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument(
        "--traffic", "--dry-run", action="store_true", help="print the bytes that have to move, and leave"
    )
    parser.add_argument("--output", type=Path, help="the JSON to write; benchmarks/results/kernels-GPU.json by default")
    arguments = parser.parse_args()
    if arguments.traffic:
        print_traffic()
        return
    torch = require_cuda()
    from _gpu import copy_bandwidth, gpu_description
    from _kernels import Kernels, build_kernels

    from edgefsa.artifacts import write_json

    gpu = gpu_description()
    try:
        kernels = Kernels(build_kernels(gpu["compute_capability"]))
    except EdgeFsaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with torch.inference_mode():
        bandwidth = copy_bandwidth(arguments.rounds)
        rows = [measure_size(kernels, size, arguments.rounds, bandwidth) for size in sizes()]
    print(f"{gpu['name']}: a large copy moves {bandwidth / 1e9:.0f} GB/s\n")
    print(report(rows))
    name = "".join(letter if letter.isalnum() else "-" for letter in gpu["name"].lower())
    output = arguments.output or Path(__file__).parent / "results" / f"kernels-{name}.json"
    wanted = {"share": WANTED_SHARE, "times_faster": WANTED_SPEEDUP}
    record = {
        "command": f"python benchmarks/kernels.py --rounds {arguments.rounds}",
        "gpu": gpu,
        "gpu_after": gpu_description(),
        "copy_bytes_per_second": bandwidth,
        "wanted": wanted,
        "rows": rows,
    }
    print(f"wrote {write_json(output, record)}", file=sys.stderr)


if __name__ == "__main__":
    main()
