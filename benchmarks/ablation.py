"""What the frequency blocks and the synthetic scenes earn: edge models with and without them, all trained alike.

A run lies in RUNS/NAME (RUNS/NAME_seedS for other seeds than 0). One that is finished there is taken as it is, an
interrupted one goes on, and one of another length or with other settings is refused: all take the same number of steps,
to half an epoch.
"""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from _common import (
    Rows,
    accuracy_of,
    argument_parser,
    build_module,
    data_without_folder,
    mean_miou,
    measure_engines,
    save,
    say,
)
from _networks import cost_of

from edgefsa.build import ModelRequest, model_from_request
from edgefsa.console import run, table
from edgefsa.data.readers import open_dataset
from edgefsa.errors import InputError
from edgefsa.train import TrainSettings, train
from edgefsa.train.augment import Augmentation
from edgefsa.train.loader import split_batch
from edgefsa.train.settings import checked, fixed_settings


@dataclass(frozen=True)
class Variant:
    """A model with one choice in it; `synthetic` adds one synthetic scene to seven frames of the data."""

    model: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    synthetic: bool = False


# A model's first variant is what its others are compared with.
VARIANTS = {
    "fsa_frequency": Variant("fsanet-edge", "frequency attention", {"attention": "frequency"}),
    "fsa_nonlocal": Variant("fsanet-edge", "non-local attention in its place", {"attention": "nonlocal"}),
    "fsa_none": Variant("fsanet-edge", "no attention", {"attention": "none"}),
    "fsa_synth": Variant("fsanet-edge", "frequency attention, synthetic scenes added", synthetic=True),
    "spa_masked": Variant("spanet-edge", "spectral masks", {"masked": True}),
    "spa_identity": Variant("spanet-edge", "identity in their place", {"masked": False}),
}
# The one place of the settings that all runs share.
STEPS = 1200
SCHEDULE: dict[str, Any] = {
    "crop_hw": (240, 336),
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 1.5e-3,
    "weight_decay": 0.05,
    "average_decay": 0.99,
    "augmentation": Augmentation(scale=(0.75, 2.0)),
}
SYNTHETIC_SHARES = (7.0, 1.0)
ENGINES = [(target, precision) for target in ("openvino", "onnxruntime") for precision in ("fp32", "int8")]


def shares_of(variant: Variant) -> tuple[float, ...]:
    """Return the shares of a batch that the data and, where they are used, the synthetic scenes have."""
    return SYNTHETIC_SHARES if variant.synthetic else (1.0,)


def steps_per_epoch(variant: Variant, data: str) -> int:
    """Return the steps of one pass over the data."""
    per_step = split_batch(SCHEDULE["batch_size"], shares_of(variant))[0]
    return math.ceil(len(open_dataset(data, "train")) / per_step)


def settings_of(variant: Variant, data: str, folder: Path, seed: int) -> TrainSettings:
    """Return the training run of a variant: as many whole epochs as come nearest to STEPS, evaluated at the end."""
    epochs = max(1, round(STEPS / steps_per_epoch(variant, data)))
    return TrainSettings(
        model=variant.model,
        options=variant.options,
        data=(data, "synthetic") if variant.synthetic else (data,),
        shares=shares_of(variant),
        out_dir=folder,
        epochs=epochs,
        evaluate_every=epochs,
        seed=seed,
        resume=(folder / "checkpoint.pt").is_file(),
        **SCHEDULE,
    )


def run_folder(runs: Path, name: str, seed: int) -> Path:
    """Return the folder of a variant's run."""
    return runs / (name if seed == 0 else f"{name}_seed{seed}")


def steps_done(folder: Path) -> int:
    """Return the steps of a finished run, or 0: its weights are written last, its log tells its length."""
    log = folder / "log.csv"
    if not (folder / "weights.safetensors").is_file() or not log.is_file():
        return 0
    with log.open(newline="") as file:
        return max((int(float(row["step"])) for row in csv.DictReader(file)), default=0)


def weights_of(variant: Variant, data: str, folder: Path, seed: int) -> Path:
    """Return the weights of a variant's run, trained now where no finished run is there."""
    steps, settings = steps_done(folder), settings_of(variant, data, folder, seed)
    if not steps:
        say(f"training {folder.name}")
        train(settings, say=say)
    elif abs(steps - STEPS) > steps_per_epoch(variant, data) / 2:
        raise InputError(f"{folder} was trained for {steps} steps, not about {STEPS}; give another --runs")
    elif others := settings_apart(folder, settings):
        raise InputError(f"{folder} was trained with another {' and '.join(others)}; give another --runs")
    return folder / "weights.safetensors"


def settings_apart(folder: Path, settings: TrainSettings) -> list[str]:
    """Name the settings in which the record of a finished run, where it has one, is not `settings`."""
    record = folder / "weights.json"
    if not record.is_file():
        return []
    made, meant = json.loads(record.read_text())["recipe"], fixed_settings(checked(settings))
    return [name for name in meant if made.get(name) != meant[name]]


def evaluate_variant(
    name: str, variant: Variant, weights: list[Path], data: str, size_hw: tuple[int, int], scratch: Path
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Build and evaluate a variant's engines for the weights of each seed; return its row and the first's engines."""
    dataset = open_dataset(data, "val")
    accuracy: dict[str, Rows] = {f"{target} {precision}": [] for target, precision in ENGINES}
    first: dict[str, Path] = {}
    for index, path in enumerate(weights):
        say(f"evaluating {path.parent.name}")
        request = ModelRequest(variant.model, checkpoint=path, options=dict(variant.options))
        network, _ = model_from_request(request)
        folder = scratch / f"{name}-{index}"
        folder.mkdir()
        engines = build_module(network, folder, engines=ENGINES, data=data, size_hw=size_hw)
        for engine, reports in accuracy.items():
            reports.append(accuracy_of(engines[engine], dataset))
        first = first or engines
    steps = [steps_done(path.parent) for path in weights]
    row = {"variant": name, **asdict(variant), "steps": steps, **cost_of(network, size_hw), "accuracy": accuracy}
    return row, first


def cells(rows: Rows) -> list[list[str]]:
    """Lay the rows out for people."""
    return [
        [
            row["model"],
            row["label"],
            *(f"{mean_miou(row, engine):.2f}" for engine in ("openvino fp32", "openvino int8")),
            f"{row['params'] / 1e6:.3f}",
            f"{row['macs'] / 1e9:.3f}",
            *(f"{row['frame_to_mask_ms'][f'{target} {precision}']:.2f}" for target, precision in ENGINES),
        ]
        for row in rows
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__, sized=True)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--data", required=True, help="camvid:DIR")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the training runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args(argv)
    data, size_hw = arguments.data, arguments.size
    if unknown := set(arguments.variants) - set(VARIANTS):
        raise InputError(f"no variant is called {unknown.pop()!r}; choose of {', '.join(VARIANTS)}")
    rows: Rows = []
    engines: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.variants:
            variant = VARIANTS[name]
            folders = {seed: run_folder(arguments.runs, name, seed) for seed in arguments.seeds}
            weights = [weights_of(variant, data, folder, seed) for seed, folder in folders.items()]
            row, built = evaluate_variant(name, variant, weights, data, size_hw, Path(scratch))
            rows.append(row)
            engines |= {f"{name} {engine}": path for engine, path in built.items()}
        stats = measure_engines(engines, size_hw, arguments.rounds)
    for row in rows:
        names = {engine: f"{row['variant']} {engine}" for engine in row["accuracy"]}
        row["frame_to_mask_ms"] = {
            engine: round(stats[name]["frame_to_mask_ms"]["median"], 3) for engine, name in names.items()
        }
    header = ["model", "with", "mIoU % FP32", "INT8", "M params", "GMACs", *(f"{t} {p}, ms" for t, p in ENGINES)]
    print(table(header, cells(rows)))
    command = f"python benchmarks/ablation.py --data {data_without_folder(data)}"
    schedule = {"steps, to half an epoch": STEPS, **SCHEDULE, "augmentation": asdict(SCHEDULE["augmentation"])}
    facts = {"size_hw": list(size_hw), "seeds": arguments.seeds, "schedule": schedule}
    save("ablation-camvid", command, rows, arguments.results, **facts)


if __name__ == "__main__":
    run(main)
