"""Frame-to-mask latency: the PyTorch model in float32 and every engine of it, taking turns in one run.

A frame of 480 x 640 goes in and a mask of its size comes out, so resizing and copies are counted. Every
contestant runs once in each round, and the ratio to PyTorch is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _common import ENGINES, build, save, torch_segmenter

from edgefsa.console import table
from edgefsa.data.synthetic import render_scene
from edgefsa.segment import Segmenter
from edgefsa.verify.latency import measure


def measure_model(model: str, rounds: int, scratch: Path) -> list[dict[str, object]]:
    """Build every engine of `model`, measure them together with PyTorch, return a row each."""
    frame, _ = render_scene(1, (480, 640))
    with contextlib.ExitStack() as stack:
        reference = torch_segmenter(model)
        contestants: dict[str, Callable[[], object]] = {"pytorch fp32": partial(reference, frame)}
        for target, precision in ENGINES:
            segmenter = stack.enter_context(Segmenter(build(model, precision, target, scratch)))
            contestants[f"{target} {precision}"] = partial(segmenter.segment, frame)
        stats = measure(contestants, rounds=rounds, warmup=5)
    baseline = stats["pytorch fp32"].median
    return [
        {
            "model": model,
            "engine": name,
            "median_ms": round(stat.median, 2),
            "p95_ms": round(stat.p95, 2),
            "times_faster_than_pytorch": round(baseline / stat.median, 2),
        }
        for name, stat in stats.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["fsanet-edge", "spanet-edge", "fsanet-r18", "spanet-s"])
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.models:
            rows += measure_model(model, arguments.rounds, Path(scratch))
    header = ["model", "engine", "median ms", "p95 ms", "times faster"]
    print(table(header, [[str(value) for value in row.values()] for row in rows]))
    save("latency-cpu", "python benchmarks/latency.py", rows)


if __name__ == "__main__":
    main()
