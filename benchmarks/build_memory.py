"""How much memory builds and calibrations take at their peak, beside what edgefsa estimates before they start.

Every calibration and build is a process of its own, as a user starts it; its peak is the largest resident memory that
the system saw of it (ru_maxrss). The graphs are exported before, which needs torch and is not done on a board.

python benchmarks/build_memory.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import Rows, argument_parser, save, say

from edgefsa.build import ModelRequest, export_model
from edgefsa.console import table
from edgefsa.engines.build_memory import build_need, calibration_need
from edgefsa.engines.registry import target_of
from edgefsa.graph.files import read_graph
from edgefsa.graph.sizes import activations_mb, weights_mb
from edgefsa.quantize.calibrate import calibrated_tensors

# Model, height and width, batch: a small, a large and a batched graph, and one with much in its weights.
CASES = (
    ("fsanet-edge", (360, 480), 1),
    ("fsanet-edge", (720, 960), 1),
    ("fsanet-edge", (360, 480), 4),
    ("spanet-edge", (360, 480), 1),
    ("fsanet-r18", (360, 480), 1),
)
BUILDS = (("openvino", "fp32"), ("openvino", "int8"), ("onnxruntime", "int8"), ("tensorrt-rtx", "int8"))
CALIBRATION = "calibration"
# As on a board: without ONNX Runtime the proof is computed by NumPy.
NUMPY, BY_NUMPY = ("openvino", "int8"), ", proved by NumPy"
COMMAND = ("-m", "edgefsa.cli")
COMMAND_WITHOUT = ("-c", "import sys; sys.modules['onnxruntime'] = None; from edgefsa.cli import main; main()")
# A process begins with the peak of the one that starts it, so a small one starts it.
LAUNCHER = """
import os, subprocess, sys
program = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(program.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_mb(*arguments: object, command: Sequence[str] = COMMAND) -> float:
    """Run edgefsa with arguments and return the peak of its resident memory, in MB of 2**20."""
    command = [sys.executable, *command, *map(str, arguments)]
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return int(done.stdout) / 1024


def measure(model: str, size_hw: tuple[int, int], batch: int, builds: Sequence[tuple[str, str]]) -> Rows:
    """Calibrate and build one graph on each target; a row each, with the sizes that its estimate comes from."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx, ranges = Path(scratch) / "model.onnx", Path(scratch) / "ranges.json"
        export_model(ModelRequest(model, size_hw=size_hw, batch=batch), onnx, say=say)
        graph = read_graph(onnx).model
        sizes, seen = activations_mb(graph), calibrated_tensors(graph)
        facts = {"model": model, "size_hw": list(size_hw), "batch": batch, "weights_mb": weights_mb(graph)}
        facts |= {"activations_mb": sum(sizes.values()), "calibrated_mb": sum(sizes[name] for name in seen)}
        frames = ("--data", "synthetic", "--frames", 2 * batch)
        need = calibration_need(graph, seen).total_mb
        rows = [_row(facts, CALIBRATION, peak_mb("calibrate", onnx, *frames, "-o", ranges), need)]
        for target, precision in builds:
            flags = ("build", onnx, "--target", target, "--precision", precision, "--overwrite", "-o", scratch)
            flags += ("--ranges", ranges) if precision == "int8" else ()
            builder = target_of(target)
            further = builder.memory_parts((), builder.options_from({}))
            need = build_need(graph, further, by_numpy=False).total_mb
            rows.append(_row(facts, f"{target} {precision}", peak_mb(*flags), need))
            if (target, precision) == NUMPY:
                peak, by_numpy = peak_mb(*flags, command=COMMAND_WITHOUT), build_need(graph, by_numpy=True).total_mb
                rows.append(_row(facts, f"{target} {precision}{BY_NUMPY}", peak, by_numpy))
    return rows


def _row(facts: dict[str, Any], work: str, peak: float, estimate: float) -> dict[str, Any]:
    say(f"{facts['model']} {facts['size_hw']} batch {facts['batch']}, {work}: {peak:.0f} MB, estimated {estimate:.0f}")
    return {**facts, "work": work, "peak_mb": peak, "estimate_mb": estimate}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="one small graph on one target, to see that it works")
    options = parser.parse_args(arguments)
    cases = (("fsanet-edge", (64, 96), 1),) if options.quick else CASES
    builds = BUILDS[:1] if options.quick else BUILDS
    rows = [row for case in cases for row in measure(*case, builds)]
    print(table(["model", "size", "batch", "work", "peak MB", "estimate MB"], [_cells(row) for row in rows]))
    # Estimates follow the factors of edgefsa; what was measured stays.
    measured = [{name: value for name, value in row.items() if name != "estimate_mb"} for row in rows]
    save("build-memory", "python benchmarks/build_memory.py", measured, options.results)


def _cells(row: dict[str, Any]) -> list[str]:
    size = "{}x{}".format(*row["size_hw"])
    return [row["model"], size, str(row["batch"]), row["work"], f"{row['peak_mb']:.0f}", f"{row['estimate_mb']:.0f}"]


if __name__ == "__main__":
    main()
