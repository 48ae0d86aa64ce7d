"""What a step of training takes on this CPU: making a batch, and the step itself, with pages of memory of either size.

Each measurement is a process of its own, since the C library takes its pages as it starts; the two take turns. A batch
is read from memory, as in a run from its second epoch on.

python benchmarks/training_step.py --data camvid:DIR
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from _common import Rows, argument_parser, data_without_folder, save, say
from _markdown import markdown
from folds import RECIPES

from edgefsa.commands.options import size_from_text
from edgefsa.console import run, table
from edgefsa.machine.memory import LARGE_PAGES
from edgefsa.train import TrainSettings
from edgefsa.train.augment import Augmentation
from edgefsa.train.compute import choose_compute
from edgefsa.train.data import open_training_data
from edgefsa.train.hooks import Hooks
from edgefsa.train.loop import TrainingRun
from edgefsa.train.processes import this_process
from edgefsa.train.settings import checked

NAME = "training-step-cpu"
HEADER = ["model", "pages", "a batch, ms", "a step, ms", "of small pages"]
_BATCHES = 4


def measured(settings: TrainSettings, steps: int) -> dict[str, Any]:
    """Return the medians of making a batch and of a step in this process, in ms, and how it computes."""
    data = open_training_data(settings).kept_in_memory()
    data.check_files(lambda line: None)
    compute = choose_compute("cpu", "auto")
    training = TrainingRun(settings, data, compute, this_process(), Hooks(), lambda line: None)
    batches, making, stepping = [], [], []
    for index in range(_BATCHES):
        begun = time.perf_counter()
        batches.append(training.batches[index])
        making.append(1e3 * (time.perf_counter() - begun))
    for index in range(_BATCHES + steps):
        begun = time.perf_counter()
        training.train_step(*batches[index % _BATCHES])
        stepping.append(1e3 * (time.perf_counter() - begun))
    medians = {"batch_ms": statistics.median(making), "step_ms": statistics.median(stepping[_BATCHES:])}
    return {**medians, "compute": str(compute), "threads": torch.get_num_threads()}


def in_a_process(arguments: list[str], *, large: bool) -> dict[str, Any]:
    """Measure in a process of its own, with large pages or without."""
    name, _, value = LARGE_PAGES.partition("=")
    environment = {key: text for key, text in os.environ.items() if key != name} | ({name: value} if large else {})
    command = [sys.executable, __file__, *arguments, "--here"]
    finished = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def lines(rows: Rows) -> list[list[str]]:
    """Return the cells of the table."""
    small = {row["model"]: row["step_ms"] for row in rows if not row["large_pages"]}
    return [
        [
            row["model"],
            "large" if row["large_pages"] else "small",
            f"{row['batch_ms']:.0f}",
            f"{row['step_ms']:.0f}",
            f"{row['step_ms'] / small[row['model']]:.2f}",
        ]
        for row in rows
    ]


def laid_out(record: dict[str, Any], _model: str) -> str:
    """Return the table for the docs."""
    return markdown(HEADER, lines(record["rows"]), record)


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("models", nargs="*", default=["fsanet-edge", "spanet-edge"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=size_from_text, default=(360, 480), help="HEIGHTxWIDTH of the views")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12, help="timed in each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each row")
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    arguments = parser.parse_args(argv)
    if arguments.here:
        with tempfile.TemporaryDirectory() as scratch:
            settings = TrainSettings(
                arguments.models[0],
                (arguments.data,),
                Path(scratch),
                crop_hw=arguments.size,
                batch_size=arguments.batch,
                augmentation=Augmentation(**RECIPES["rare-near"].augmentation),
            )
            print(json.dumps(measured(checked(settings), arguments.steps)))
        return
    size = "x".join(map(str, arguments.size))
    fixed = ["--data", arguments.data, "--size", size, "--batch", str(arguments.batch), "--steps", str(arguments.steps)]
    rows: Rows = []
    for model in arguments.models:
        found: dict[bool, Rows] = {False: [], True: []}
        for number in range(arguments.rounds):
            for large in (False, True):
                row = in_a_process([model, *fixed], large=large)
                found[large].append(row)
                say(f"{model}, {'large' if large else 'small'} pages, round {number + 1}: {row['step_ms']:.0f} ms")
        for large, results in found.items():
            medians = {key: statistics.median(row[key] for row in results) for key in ("batch_ms", "step_ms")}
            rows.append({**results[0], **medians, "model": model, "large_pages": large})
    print(table(HEADER, lines(rows)))
    command = f"python benchmarks/training_step.py --data {data_without_folder(arguments.data)}"
    save(NAME, command, rows, arguments.results, size_hw=arguments.size, batch=arguments.batch)


if __name__ == "__main__":
    run(main)
