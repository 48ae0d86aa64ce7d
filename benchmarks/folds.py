"""Training recipes compared on drives that they have not seen: one drive is left out in turn.

CamVid's val split shares its drives with train and so flatters. Here the labelled frames of both are parted by drive
(the part of a name before the first "_"), and each recipe trains on all drives but one and is evaluated on that one. A
run lies in RUNS/RECIPE-DRIVE; a finished one is taken as it is, an interrupted one goes on.

python benchmarks/folds.py --data camvid:DIR --runs runs/folds base rare
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _common import Rows, argument_parser, data_without_folder, save, say

from edgefsa.commands.options import size_from_text
from edgefsa.console import run, table
from edgefsa.errors import InputError
from edgefsa.train import TrainSettings, train
from edgefsa.train.augment import JITTER, Augmentation

SPLITS = ("train", "val")
PARTS = ("images", "labels")


@dataclass(frozen=True)
class Recipe:
    """What differs from the first recipe, in settings and in augmentation."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)


RARE = {"rare": 0.5, "paste": 0.5}
RECIPES = {
    "base": Recipe(),
    "rare": Recipe(augmentation=RARE),
    "wide": Recipe(augmentation={"scale": (0.5, 2.0)}),
    "rare-near": Recipe(augmentation={**RARE, "scale": (0.75, 1.6)}),
    "strong-colours": Recipe(augmentation=JITTER["strong"]),
    "rare-strong-colours": Recipe(augmentation={**RARE, **JITTER["strong"]}),
    "ohem": Recipe({"loss": "ohem"}),
    "slow-average": Recipe({"average_decay": 0.999}),
}


def frames_by_drive(folder: Path) -> dict[str, list[Path]]:
    """Return the images of both splits by drive; InputError where there is one drive only."""
    images = sorted(path for split in SPLITS for path in (folder / split / "images").glob("*"))
    drives: dict[str, list[Path]] = {}
    for path in images:
        drives.setdefault(path.name.partition("_")[0], []).append(path)
    if len(drives) < 2:
        raise InputError(f"{folder} holds frames of {len(drives)} drives in train/ and val/; give two or more")
    return drives


def make_fold(folder: Path, drives: Mapping[str, list[Path]], left_out: str | None) -> Path:
    """Link the frames into `folder`, those of the drive `left_out` as val and the others as train; return it."""
    for drive, images in drives.items():
        for image in images:
            for part in PARTS:
                source = next((image.parents[1] / part).glob(f"{image.stem}.*"), None)
                if source is None:
                    raise InputError(f"{image} has no file in {part}/ beside it; label it or leave it out")
                link = folder / ("val" if drive == left_out else "train") / part / source.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(source.resolve())
    return folder


def settings_of(
    recipe: Recipe, model: str, data: Path, folder: Path, epochs: int, size_hw: tuple[int, int]
) -> TrainSettings:
    """Return the run of a recipe on a fold, evaluated at its end."""
    augmentation = Augmentation(**{"scale": (0.75, 2.0), **recipe.augmentation})
    return TrainSettings(
        model=model,
        data=(f"camvid:{data}",),
        out_dir=folder,
        crop_hw=size_hw,
        epochs=epochs,
        evaluate_every=epochs,
        augmentation=augmentation,
        resume=(folder / "checkpoint.pt").is_file(),
        **recipe.settings,
    )


def accuracy_of(settings: TrainSettings) -> dict[str, Any]:
    """Return the accuracy on the drive left out, trained now where no finished run of this length is there."""
    record = settings.out_dir / "weights.json"
    if not record.is_file():
        say(f"training {settings.out_dir.name}")
        train(settings, say=say)
    found: dict[str, Any] = json.loads(record.read_text())
    if found["epochs"] != settings.epochs or found["model"] != settings.model:
        made = f"{found['model']} for {found['epochs']} epochs"
        raise InputError(f"{settings.out_dir} was trained as {made}; give another --runs")
    accuracy: dict[str, Any] = found["accuracy"]["camvid"]
    return accuracy


def cells(rows: Rows, drives: list[str]) -> list[list[str]]:
    """Return the cells of the table: a row for each recipe, mIoU % on each drive that was left out, and their mean."""
    lines = []
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        found = {row["drive"]: 100 * row["accuracy"]["miou"] for row in rows if row["recipe"] == recipe}
        mean = f"{np.mean(list(found.values())):.2f}" if len(found) == len(drives) else "-"
        lines.append([recipe, *(f"{found[drive]:.2f}" if drive in found else "-" for drive in drives), mean])
    return lines


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("recipes", nargs="*", default=["base"], help=", ".join(RECIPES))
    parser.add_argument("--data", required=True, help="camvid:DIR")
    parser.add_argument("--model", default="fsanet-edge")
    parser.add_argument("--runs", type=Path, default=Path("runs/folds"), help="folder of the training runs")
    parser.add_argument("--drives", type=lambda text: text.split(","), help="leave out these only, as 0001TP,0006R0")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--size", type=size_from_text, default=(360, 480), help="HEIGHTxWIDTH of the views")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.recipes) - set(RECIPES):
        raise InputError(f"no recipe is called {unknown.pop()!r}; choose of {', '.join(RECIPES)}")
    frames = frames_by_drive(Path(arguments.data.removeprefix("camvid:")))
    drives = arguments.drives or list(frames)
    if missing := set(drives) - set(frames):
        raise InputError(f"no frame is of drive {missing.pop()!r}; there are {', '.join(frames)}")
    rows: Rows = []
    for drive in drives:
        data = make_fold(arguments.runs / f"data-{drive}", frames, drive)
        for name in arguments.recipes:
            folder = arguments.runs / f"{name}-{drive}"
            settings = settings_of(RECIPES[name], arguments.model, data, folder, arguments.epochs, arguments.size)
            accuracy = accuracy_of(settings)
            rows.append({"recipe": name, "drive": drive, "frames": len(frames[drive]), "accuracy": accuracy})
            say(f"{name} on {drive}: {100 * accuracy['miou']:.2f}")
    print(table(["recipe", *drives, "mean"], cells(rows, drives)))
    command = f"python benchmarks/folds.py --data {data_without_folder(arguments.data)} {' '.join(arguments.recipes)}"
    save(
        "folds-camvid",
        command,
        rows,
        arguments.results,
        model=arguments.model,
        epochs=arguments.epochs,
        size_hw=arguments.size,
    )


if __name__ == "__main__":
    run(main)
