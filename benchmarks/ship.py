"""Put the weights of a finished run in the place of the shipped ones: the same tensors in fp16, and the run's record.

The run began with the shipped weights (or at random), and their training becomes an earlier stage in the new record.
Ranges and figures belong to weights, so these follow:

    edgefsa export MODEL -o m.onnx
    edgefsa calibrate m.onnx --recipe calibration/recipes/MODEL.toml --data camvid:DIR -o calibration/MODEL.json
    python benchmarks/accuracy.py --data camvid:DIR; python benchmarks/accuracy.py; python benchmarks/tables.py

python benchmarks/ship.py runs/final
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from _common import say
from safetensors import safe_open

from edgefsa.artifacts import sha256_of_file, write_json
from edgefsa.console import run
from edgefsa.errors import InputError
from edgefsa.models.weights import WEIGHTS_DIRECTORY
from edgefsa.train.checkpoint import write_weights
from edgefsa.train.record import RECORD_NAME, WEIGHTS_NAME

Record = dict[str, Any]
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_STAGES = tuple(f"{ordinal} stage" for ordinal in _ORDINALS)
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


def stage_of(record: Record) -> str:
    """Describe the last stage of a record's training in a line."""
    settings = {name.replace("_", " "): value for name, value in record["recipe"].items()}
    shares = [
        f"{settings['batch size'] * item['share']:.0f} of {item['data']} {item['split']}"
        for item in record["data"]
        if item["share"]
    ]
    height, width = settings["crop hw"]
    views = f"{settings['batch size']} views of {height} x {width} ({', '.join(shares)})"
    planned = settings.get("epochs", record["epochs"])
    cut = f" of a schedule of {planned} epochs," if record["epochs"] < planned else ""
    return f"{record['steps']} steps{cut} of {views}, {settings['optimizer'].lower()} {settings['learning rate']:g}"


def with_earlier_stages(record: Record, shipped: Record) -> Record:
    """Return a run's record with the stages before it; InputError where it began with other weights than those."""
    start = record["recipe"]["initial weights"]
    if start is None:
        return {**record, "initialisation": "from scratch"}
    if start != shipped["sha256"]:
        raise InputError(f"the run began with weights of SHA-256 {start[:12]}..., which are not the shipped ones")
    earlier = [text for name, text in shipped["recipe"].items() if name in _STAGES] + [stage_of(shipped)]
    recipe = {**dict(zip(_STAGES, earlier, strict=False)), **record["recipe"]}
    return {**record, "initialisation": f"from scratch, in {_NUMBERS[len(earlier)]} stages", "recipe": recipe}


def ship(folder: Path, weights: Path = WEIGHTS_DIRECTORY) -> Path:
    """Replace the shipped weights and record of the run's model; return the file. InputError where they do not fit."""
    if not (folder / RECORD_NAME).is_file():
        raise InputError(f"{folder} holds no {RECORD_NAME}; name the folder of a finished run")
    record: Record = json.loads((folder / RECORD_NAME).read_text())
    target = weights / f"{record['model']}.safetensors"
    shipped = json.loads(target.with_suffix(".json").read_text())
    if record["options"] != shipped["options"]:
        raise InputError(f"{folder} has the options {record['options']}, the shipped weights {shipped['options']}")
    record = with_earlier_stages(record, shipped)
    for item in record["data"]:
        item["data"] = item["data"].partition(":")[0]  # without the name of a folder
    with safe_open(target, "pt") as file:
        names = set(file.keys())
    with safe_open(folder / WEIGHTS_NAME, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name in names}  # noqa: SIM118
        metadata = file.metadata()
    if missing := names - set(tensors):
        raise InputError(f"{folder} lacks {len(missing)} tensors of the shipped weights, {min(missing)} for one")
    write_weights(tensors, target, metadata)
    write_json(target.with_suffix(".json"), {**record, "sha256": sha256_of_file(target)})
    return target


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a finished run of edgefsa train or train_for.py")
    parser.add_argument("--weights", type=Path, default=WEIGHTS_DIRECTORY, help="folder of the shipped weights")
    arguments = parser.parse_args(argv)
    target = ship(arguments.folder, arguments.weights)
    say(f"wrote {target}; its ranges and figures are now out of date")


if __name__ == "__main__":
    run(main)
