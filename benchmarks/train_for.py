"""Train on all labelled frames for as long as a machine can be had, ten minutes of a lent GPU say.

A trial of --trial epochs measures what an epoch takes, and the schedule is laid out over the rest of --minutes. The
final weights are trained so, on train and val together; nothing labelled is then left to judge them by but other data
(--val-data). An interrupted run goes on with the schedule that it began with.

python benchmarks/train_for.py fsanet-edge --data camvid:DIR --minutes 10 --batch 16 --workers 14 -o runs/final
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path

from _common import say
from folds import RECIPES, SPLITS, frames_by_drive, make_fold

from edgefsa.artifacts import write_json
from edgefsa.commands.options import size_from_text
from edgefsa.console import facts, run
from edgefsa.errors import InputError
from edgefsa.train import TrainSettings, train
from edgefsa.train.augment import Augmentation
from edgefsa.train.data import name_without_folders

PLAN_NAME = "plan.json"
# Loading, evaluation and writing at the end, beside a clock that is not ours.
_SHARE_USED = 0.93


def epochs_that_fit(settings: TrainSettings, trial: int, seconds: float) -> int:
    """Return how many epochs fit `seconds`, by a trial run of `trial` epochs which counts in them."""
    before = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        tried = dataclasses.replace(settings, out_dir=Path(scratch), epochs=trial, evaluate_every=trial, resume=False)
        result = train(tried, say=say)
    left = _SHARE_USED * seconds - (time.monotonic() - before)
    epochs = int(left / (result.seconds / trial))
    if epochs < 1:
        raise InputError(f"{seconds / 60:g} minutes are too short: an epoch takes {result.seconds / trial:.0f} s here")
    return epochs


def planned_epochs(settings: TrainSettings, trial: int, seconds: float) -> int:
    """Return the epochs of the run in `out_dir`: those it began with, or those that fit now, which are noted there."""
    plan = settings.out_dir / PLAN_NAME
    if plan.is_file():
        return int(json.loads(plan.read_text())["epochs"])
    epochs = epochs_that_fit(settings, trial, seconds)
    settings.out_dir.mkdir(parents=True, exist_ok=True)
    write_json(plan, {"epochs": epochs})
    return epochs


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("model", nargs="?", default="fsanet-edge")
    found.add_argument("--data", required=True, help="camvid:DIR; the frames of train/ and val/ are trained on")
    found.add_argument("--val-data", default="synthetic", help="evaluate on these")
    found.add_argument("--val-limit", type=int, default=40, help="at most so many of them")
    found.add_argument("--recipe", default="base", choices=RECIPES)
    found.add_argument("--minutes", type=float, default=10)
    found.add_argument("--epochs", type=int, help="so many, instead of those that fit")
    found.add_argument("--trial", type=int, default=2, help="epochs of the trial")
    found.add_argument("--size", type=size_from_text, default=(360, 480), help="HEIGHTxWIDTH of the views")
    found.add_argument("--batch", type=int, default=8)
    found.add_argument("--lr", type=float, help="highest learning rate; 1.5e-3 by default")
    found.add_argument("--scenes", type=int, default=0, help="synthetic scenes in each batch")
    found.add_argument("--workers", type=int, default=2)
    found.add_argument("--init", type=Path, help="weights to start from")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("-o", "--output", type=Path, required=True)
    return found


def main(argv: list[str] | None = None) -> None:
    arguments = parser().parse_args(argv)
    recipe = RECIPES[arguments.recipe]
    frames = frames_by_drive(Path(arguments.data.removeprefix("camvid:")))
    folder = make_fold(arguments.output / "data", frames, None)
    beside = ("synthetic",) if arguments.scenes else ()
    settings = TrainSettings(
        model=arguments.model,
        data=(f"camvid:{folder}", *beside),
        shares=(arguments.batch - arguments.scenes, arguments.scenes) if beside else (),
        val_data=(arguments.val_data,),
        val_limit=arguments.val_limit,
        out_dir=arguments.output,
        crop_hw=arguments.size,
        batch_size=arguments.batch,
        learning_rate=arguments.lr,
        augmentation=Augmentation(**{"scale": (0.75, 2.0), **recipe.augmentation}),
        initial_weights=arguments.init,
        seed=arguments.seed,
        workers=arguments.workers,
        resume=(arguments.output / "checkpoint.pt").is_file(),
        **recipe.settings,
    )
    epochs = arguments.epochs or planned_epochs(settings, arguments.trial, 60 * arguments.minutes)
    result = train(dataclasses.replace(settings, epochs=epochs, evaluate_every=epochs), say=say)
    record = json.loads(result.record.read_text())
    record["data"][0] |= {"data": name_without_folders(arguments.data), "split": " + ".join(SPLITS)}
    write_json(result.record, record)
    print(facts({name: value for name, value in result.as_dict().items() if name != "accuracy"}))


if __name__ == "__main__":
    run(main)
