"""The CUDA kernels against the memory's speed, and against the PyTorch forms that they stand for.

Two feature maps, batch 1 and 8, FP16 in both layouts and INT8; cold cache, contestants in turn. Each kernel is held
against a copy of as many bytes, timed in the same rounds. Bytes are those that have to move once: the map or the
logits, and the result; bases and weights are not counted. --traffic prints them and needs no GPU.

Where the machine with the GPU has no compiler, build the kernels elsewhere and bring them:

    make plugins KERNELS_ONLY=1 CUDA_ARCHITECTURES=90
    python benchmarks/kernels.py --library build/plugins/libedgefsa_kernels.so --check

The JSON is written after each size. Status: 0 where all is right; 1 where an aim is missed, with --check alone; 2 where
there is no GPU or no library, or an option is wrong; 3 where the result of a kernel is wrong, aims or not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _kernel_sizes import FLOAT_VARIANTS, MAP_VARIANTS, Size, bytes_moved, sizes
from _kernel_targets import cells_of, targets_of, wrong_kernels

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout serves too where edgefsa is not installed

from edgefsa.console import table  # noqa: E402
from edgefsa.errors import EdgeFsaError  # noqa: E402

if TYPE_CHECKING:
    from _kernel_cases import Case

    from edgefsa.kernels.launchers import Kernels

NOTHING = "nothing"
AIM_MISSED, UNUSABLE, WRONG = 1, 2, 3
# torch.compile takes half a minute for each size: one a run.
COMPILED_AT = "8x512x128x256"


def print_traffic() -> None:
    """Print the table of expected bytes."""
    rows = [
        [name, variant.label, size.label, f"{moved / 1e6:.1f}"]
        for size in sizes()
        for variant in MAP_VARIANTS
        for name, moved in bytes_moved(size, variant).items()
    ]
    print(table(["kernel", "variant", "size", "MB moved"], rows))


def forms_that_run(contest: Iterable[Case]) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Run every PyTorch form once; return those that work, by kernel and form, and why others do not."""
    calls: dict[str, Callable[[], Any]] = {}
    failures: dict[str, str] = {}
    for case in contest:
        for form, run in case.forms.items():
            try:
                run()
            except Exception as error:  # of a compiler that is missing, say: the rest is measured all the same
                failures[f"{case.name}: {form}"] = f"{type(error).__name__}: {str(error)[:300]}"
            else:
                calls[f"{case.name}: {form}"] = run
    return calls, failures


def measure_size(kernels: Kernels, size: Size, rounds: int, is_compiled: bool) -> dict[str, Any]:
    """Check and time every kernel and every form at one size."""
    from _gpu import cold_medians_ms, copy_of
    from _kernel_cases import LARGEST_ERRORS, cases

    contest = cases(kernels, size, is_compiled)
    errors = {case.name: case.error() for case in contest}
    forms, failures = forms_that_run(contest)
    copies = {f"copy of {moved}": copy_of(moved) for moved in {case.bytes for case in contest}}
    calls = {NOTHING: lambda: None, **copies, **{case.name: case.run for case in contest}, **forms}
    medians = cold_medians_ms(calls, rounds)
    rows = []
    for case in contest:
        kind, error = errors[case.name]
        time_ms, copy_ms = medians[case.name], medians[f"copy of {case.bytes}"]
        # A form that failed is None: its target is missed.
        speedups = {form: medians.get(f"{case.name}: {form}") for form in case.forms}
        faster = {form: None if value is None else value / time_ms for form, value in speedups.items()}
        rows.append(
            {
                **{"kernel": case.kernel, "variant": case.variant.label, "bytes": case.bytes},
                **{"median_ms": time_ms, "equal_copy_ms": copy_ms, "share": copy_ms / time_ms},
                **{"times_faster": faster, "error_kind": kind, "error": error, "largest_error": LARGEST_ERRORS[kind]},
            }
        )
    return {"shape": size.shape, "kernels": rows, "nothing_ms": medians[NOTHING], "not_measured": failures}


def report(rows: list[dict[str, Any]]) -> str:
    """Lay the results out for people."""
    cells = []
    for row in rows:
        size = "x".join(map(str, row["shape"]))
        for item in row["kernels"]:
            faster = ", ".join(f"{value:.1f} ({form})" for form, value in item["times_faster"].items() if value)
            figures = [f"{1000 * item['median_ms']:.1f}", f"{100 * item['share']:.0f} %", faster or "-"]
            cells.append([item["kernel"], item["variant"], size, *figures])
    return table(["kernel", "variant", "size", "median us", "of an equal copy", "times faster than"], cells)


def require_cuda() -> Any:
    """Return PyTorch with a GPU; leaves with one line and status 2 where there is none."""
    try:
        import torch
    except ImportError:
        torch = None  # type: ignore[assignment]
    if torch is None or not torch.cuda.is_available():
        print("error: this needs PyTorch with CUDA and an NVIDIA GPU; --traffic works without", file=sys.stderr)
        raise SystemExit(UNUSABLE)
    return torch


def kernels_for(capability: str, given: Path | None) -> Kernels:
    """Return the kernels; leaves with one line and status 2 where there are none."""
    from edgefsa.kernels.launchers import Kernels, load_kernels

    try:
        if given is not None and not given.is_file():
            raise EdgeFsaError(f"there is no library at {given}")
        return load_kernels(capability) if given is None else Kernels(given.resolve())
    except EdgeFsaError as error:
        print(f"error: {error}; --library takes one that was built elsewhere", file=sys.stderr)
        raise SystemExit(UNUSABLE) from None


def run_once(kernels: Kernels, size: Size) -> None:
    """Launch each kernel of linear halves once, for a profiler; the attention block's steps alone."""
    import torch
    from _kernel_cases import cases

    steps = [case for case in cases(kernels, size) if case.variant is FLOAT_VARIANTS[0]]
    for case in steps:
        if case.kernel != "attention block":
            case.run()
            torch.cuda.synchronize()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    labels = [size.label for size in sizes()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument(
        "--traffic", "--dry-run", action="store_true", help="print the bytes that have to move, and leave"
    )
    parser.add_argument("--library", type=Path, help="the kernels, built already; by default they are built here")
    parser.add_argument("--check", action="store_true", help="end with status 1 where a target is missed")
    parser.add_argument("--output", type=Path, help="the JSON to write; benchmarks/results/kernels-GPU.json by default")
    parser.add_argument(
        "--compile-at", choices=[*labels, "none"], default=COMPILED_AT, help="the size that torch.compile is timed at"
    )
    parser.add_argument("--once", choices=labels, help="launch each kernel once at a size, for a profiler, and leave")
    return parser.parse_args(arguments)


def measured(kernels: Kernels, options: argparse.Namespace, record: dict[str, Any], output: Path) -> dict[str, Any]:
    """Measure size after size; the record is written after each."""
    from _gpu import gpu_description

    from edgefsa.artifacts import write_json

    for size in sizes():
        record["rows"].append(measure_size(kernels, size, options.rounds, size.label == options.compile_at))
        record["targets"], record["wrong"] = targets_of(record["rows"]), wrong_kernels(record["rows"])
        record["gpu_after"] = gpu_description()
        write_json(output, record)
    record["is_complete"] = True
    print(f"wrote {write_json(output, record)}", file=sys.stderr)
    return record


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    if options.traffic:
        print_traffic()
        return 0
    torch = require_cuda()
    from _gpu import copy_bandwidth, gpu_description

    gpu = gpu_description()
    kernels = kernels_for(gpu["compute_capability"], options.library)
    with torch.inference_mode():
        if options.once:
            run_once(kernels, next(size for size in sizes() if size.label == options.once))
            return 0
        bandwidth = copy_bandwidth(options.rounds)
        command = f"python benchmarks/kernels.py --rounds {options.rounds} --compile-at {options.compile_at}"
        record = {"command": command, "gpu": gpu, "copy_bytes_per_second": bandwidth, "is_complete": False, "rows": []}
        name = "".join(letter if letter.isalnum() else "-" for letter in gpu["name"].lower())
        output = options.output or Path(__file__).parent / "results" / f"kernels-{name}.json"
        record = measured(kernels, options, record, output)
    targets, missed = record["targets"], sum(not target["is_reached"] for target in record["targets"])
    print(f"{gpu['name']}: a large copy moves {bandwidth / 1e9:.0f} GB/s\n")
    print(report(record["rows"]), "\n")
    print(table(["kernel", "variant", "size", "target", "wanted", "reached", "is reached"], cells_of(targets)))
    print(f"{missed} of {len(targets)} targets are missed" if missed else f"all {len(targets)} targets are reached")
    for wrong in record["wrong"]:
        print(f"WRONG: {wrong}")
    if record["wrong"]:
        return WRONG
    return AIM_MISSED if options.check and missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
