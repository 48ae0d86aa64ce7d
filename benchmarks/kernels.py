"""The CUDA kernels against the memory's speed, and against the PyTorch forms that they stand for.

Two feature maps, FP16, batch 1 and 8, cold cache, contestants in turn. Bytes are those that have to move once: the
map or the logits, and the result; bases and weights are not counted. --traffic prints them and needs no GPU.

Where the machine with the GPU has no compiler, build the kernels elsewhere and bring them:

    make plugins KERNELS_ONLY=1 CUDA_ARCHITECTURES=90
    python benchmarks/kernels.py --library build/plugins/libedgefsa_kernels.so --check
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _kernel_sizes import Size, bytes_moved, sizes
from _kernel_targets import cells_of, targets_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout serves too where edgefsa is not installed

from edgefsa.console import table  # noqa: E402
from edgefsa.errors import EdgeFsaError  # noqa: E402

if TYPE_CHECKING:
    from _kernel_cases import Case

    from edgefsa.kernels.launchers import Kernels

NOTHING, COPY = "nothing", "copy of the map"


def print_traffic() -> None:
    """Print the table of expected bytes."""
    rows = [[name, size.label, f"{moved / 1e6:.1f}"] for size in sizes() for name, moved in bytes_moved(size).items()]
    print(table(["kernel", "size", "MB moved"], rows))


def forms_that_run(contest: dict[str, Case]) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Run every PyTorch form once; return those that work, by kernel and form, and why others do not."""
    calls: dict[str, Callable[[], Any]] = {}
    failures: dict[str, str] = {}
    for name, case in contest.items():
        for form, run in case.forms.items():
            try:
                run()
            except Exception as error:  # of a compiler that is missing, say: the rest is measured all the same
                failures[f"{name}: {form}"] = f"{type(error).__name__}: {str(error)[:300]}"
            else:
                calls[f"{name}: {form}"] = run
    return calls, failures


def measure_size(kernels: Kernels, size: Size, rounds: int, bandwidth: float) -> dict[str, Any]:
    """Check and time every kernel and every form at one size."""
    from _gpu import cold_medians_ms
    from _kernel_cases import cases

    contest = cases(kernels, size)
    errors = {name: case.relative_l2() for name, case in contest.items()}
    forms, failures = forms_that_run(contest)
    calls = {NOTHING: lambda: None, COPY: contest["truncated DCT"].copy}
    medians = cold_medians_ms({**calls, **{name: case.run for name, case in contest.items()}, **forms}, rounds)
    row: dict[str, Any] = {"shape": size.shape, "median_ms": medians, "relative_l2": errors, "kernels": []}
    row["not_measured"] = failures
    # What a copy of just as many bytes as the map's reaches: launches and a short run's ends are in it too.
    row["copy_of_the_map_share"] = 2 * size.map_bytes / (medians[COPY] * 1e-3) / bandwidth
    moved = bytes_moved(size)
    for name, case in contest.items():
        share = moved[name] / (medians[name] * 1e-3) / bandwidth
        speedups = {
            form: medians[f"{name}: {form}"] / medians[name] for form in case.forms if f"{name}: {form}" in forms
        }
        row["kernels"].append({"kernel": name, "bytes": moved[name], "share": share, "times_faster": speedups})
    return row


def report(rows: list[dict[str, Any]]) -> str:
    """Lay the results out for people."""
    cells = []
    for row in rows:
        for item in row["kernels"]:
            time_ms = row["median_ms"][item["kernel"]]
            share = f"{100 * item['share']:.0f} %"
            faster = ", ".join(f"{value:.1f} ({form})" for form, value in item["times_faster"].items())
            size = " x ".join(map(str, row["shape"]))
            cells.append([item["kernel"], size, f"{1000 * time_ms:.1f}", share, faster or "-"])
    return table(["kernel", "size", "median us", "of copy bandwidth", "times faster than"], cells)


def require_cuda() -> Any:
    """Return PyTorch with a GPU; leaves with one line and status 2 where there is none."""
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if torch is None or not torch.cuda.is_available():
        print("error: this needs PyTorch with CUDA and an NVIDIA GPU; --traffic works without", file=sys.stderr)
        raise SystemExit(2)
    return torch


def library_for(capability: str, given: Path | None) -> Path:
    """Return the kernels' library; leaves with one line and status 2 where there is none."""
    from edgefsa.kernels.launchers import build_kernels

    try:
        if given is not None and not given.is_file():
            raise EdgeFsaError(f"there is no library at {given}")
        return given.resolve() if given is not None else build_kernels(capability)
    except (EdgeFsaError, FileNotFoundError) as error:  # the latter where there is no cmake
        print(f"error: {error}; --library takes one that was built elsewhere", file=sys.stderr)
        raise SystemExit(2) from None


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument(
        "--traffic", "--dry-run", action="store_true", help="print the bytes that have to move, and leave"
    )
    parser.add_argument("--library", type=Path, help="the kernels, built already; by default they are built here")
    parser.add_argument("--check", action="store_true", help="end with status 1 where a target is missed")
    parser.add_argument("--output", type=Path, help="the JSON to write; benchmarks/results/kernels-GPU.json by default")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.traffic:
        print_traffic()
        return 0
    torch = require_cuda()
    from _gpu import copy_bandwidth, gpu_description

    from edgefsa.artifacts import write_json
    from edgefsa.kernels.launchers import Kernels

    gpu = gpu_description()
    kernels = Kernels(library_for(gpu["compute_capability"], options.library))
    with torch.inference_mode():
        bandwidth = copy_bandwidth(options.rounds)
        rows = [measure_size(kernels, size, options.rounds, bandwidth) for size in sizes()]
    targets = targets_of(rows)
    missed = sum(not target["is_reached"] for target in targets)
    print(f"{gpu['name']}: a large copy moves {bandwidth / 1e9:.0f} GB/s\n")
    print(report(rows), "\n")
    print(table(["kernel", "size", "target", "wanted", "reached", "is reached"], cells_of(targets)))
    print(f"{missed} of {len(targets)} targets are missed" if missed else f"all {len(targets)} targets are reached")
    name = "".join(letter if letter.isalnum() else "-" for letter in gpu["name"].lower())
    output = options.output or Path(__file__).parent / "results" / f"kernels-{name}.json"
    record = {
        "command": f"python benchmarks/kernels.py --rounds {options.rounds}",
        "gpu": gpu,
        "gpu_after": gpu_description(),
        "copy_bytes_per_second": bandwidth,
        "targets": targets,
        "rows": rows,
    }
    print(f"wrote {write_json(output, record)}", file=sys.stderr)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
