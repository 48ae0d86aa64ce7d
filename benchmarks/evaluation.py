"""What an evaluation costs beyond the engine: `eval` of labelled frames against the engine's own time for them.

In turns, --rounds times: the engine alone, one run for each frame of the data, and the whole evaluation, which also
reads, resizes, counts and looks for doubts. The aim is 1.3 times the engine's time.

python benchmarks/evaluation.py --data camvid:DIR
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import Rows, argument_parser, build, data_without_folder, save, say

from edgefsa.console import run, table
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate

AIM = 1.3
HEADER = ["model", "target", "precision", "frames", "engine s", "evaluation s", f"ratio (aim: at most {AIM})"]


def engine_seconds(segmenter: Segmenter, dataset: Dataset) -> float:
    """Return what the engine takes for as many frames as the data has, in seconds."""
    frames = np.zeros(segmenter.session.input_shape, np.uint8)
    before = time.perf_counter()
    for _ in range(len(dataset)):
        segmenter.session.run(frames)
    return time.perf_counter() - before


def evaluation_seconds(segmenter: Segmenter, dataset: Dataset) -> float:
    """Return what the evaluation of the data takes, in seconds."""
    before = time.perf_counter()
    evaluate(segmenter, dataset)
    return time.perf_counter() - before


def measure(engine: Path, dataset: Dataset, rounds: int) -> dict[str, float]:
    """Return medians in seconds, and the median of the rounds' ratios."""
    engines, evaluations = [], []
    with Segmenter(engine) as segmenter:
        evaluate(segmenter, dataset)  # the files are in the page cache then, and the engine is warm
        for _ in range(rounds):
            engines.append(engine_seconds(segmenter, dataset))
            evaluations.append(evaluation_seconds(segmenter, dataset))
    ratios = [whole / alone for whole, alone in zip(evaluations, engines, strict=True)]
    medians = {"engine_s": engines, "evaluation_s": evaluations, "ratio": ratios}
    return {name: round(statistics.median(values), 3) for name, values in medians.items()}


def lines(rows: Rows) -> list[list[str]]:
    """Return the cells of the table."""
    figures = ("frames", "engine_s", "evaluation_s", "ratio")
    return [[row["model"], row["target"], row["precision"], *(f"{row[name]:g}" for name in figures)] for row in rows]


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("models", nargs="*", default=["fsanet-edge", "spanet-edge"])
    parser.add_argument("--data", required=True, help="labelled frames, camvid:DIR say")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--target", default="openvino")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args(argv)
    dataset = open_dataset(arguments.data, split="val")
    rows: Rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.models:
            engine = build(model, arguments.precision, arguments.target, Path(scratch))
            found = measure(engine, dataset, arguments.rounds)
            say(f"{model}: {found['ratio']:.2f}")
            what = {"model": model, "target": arguments.target, "precision": arguments.precision}
            rows.append({**what, "frames": len(dataset), **found})
    print(table(HEADER, lines(rows)))
    command = f"python benchmarks/evaluation.py --data {data_without_folder(arguments.data)}"
    save("evaluation-cpu", command, rows, arguments.results, rounds=arguments.rounds, aim=AIM)


if __name__ == "__main__":
    run(main)
