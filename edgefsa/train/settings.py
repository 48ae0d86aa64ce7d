"""The settings of a training run, their checks, and which of them must stay the same when a run is resumed."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgefsa.errors import CheckpointError, InputError
from edgefsa.train.augment import Augmentation
from edgefsa.train.loader import split_batch

# Optimiser -> its learning rate and weight decay where none are given. AdamW's are those of the shipped models;
# SGD's are those of FsaNet's CCNet code (batches of 8, poly 0.9).
OPTIMIZER_DEFAULTS = {"adamw": (1.5e-3, 0.05), "sgd": (1e-2, 5e-4)}
PIXEL_LOSSES = ("cross-entropy", "ohem")
REGION_LOSSES = ("lovasz", "dice", "none")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_AT_LEAST = {
    1: ("epochs", "batch_size", "evaluate_every", "val_limit", "threads"),
    0: ("weight_decay", "region_weight", "auxiliary", "class_weight_power", "poly_power", "workers", "seed"),
}
_SEEDS = 2**32
_ZOOMS = (0.1, 10.0)
# These change where, how fast or how long a run is watched, not what it computes; the data is known by its contents.
_WITHOUT_EFFECT = ("out_dir", "resume", "workers", "threads", "device", "precision", "data", "val_data")


@dataclass(frozen=True)
class TrainSettings:
    """One training run.

    `data`: data set specs for training (their `train` split), mixed in each batch by `shares` (equal where
    empty); `val_data`: specs whose `val` split is evaluated (the first of `data` where empty), at most `val_limit`
    frames of each. `crop_hw`: the size in pixels of the views that the network sees,
    by default that of the engines.
    An epoch is one pass over the first data set; its end is logged and kept in a checkpoint, and every
    `evaluate_every` epochs, and at the end, the averaged weights are evaluated.
    `batch_size` counts the samples of a step over all processes. `learning_rate` and `weight_decay` are those of
    OPTIMIZER_DEFAULTS where None; `warmup` is the part of the schedule (0 to 1) with a rising rate.
    `loss`: "cross-entropy", weighted by (median frequency / frequency) ** `class_weight_power`, or "ohem";
    `region_loss` ("lovasz", "dice" or "none") is added `region_weight` times, and the auxiliary head's loss
    `auxiliary` times. `average_decay` is that of the moving average of the weights, which is what a run gives.
    `initial_weights` is a file whose tensors are taken where name and shape fit, the rest starts random.
    `resume` goes on from the checkpoint in `out_dir`, if there is one.
    """

    model: str
    data: tuple[str, ...]
    out_dir: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    shares: tuple[float, ...] = ()
    val_data: tuple[str, ...] = ()
    val_limit: int | None = None
    crop_hw: tuple[int, int] = (360, 480)
    batch_size: int = 8
    epochs: int = 120
    evaluate_every: int = 1
    optimizer: str = "adamw"
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup: float = 0.03
    poly_power: float = 0.9
    clip_norm: float = 5.0
    loss: str = "cross-entropy"
    class_weight_power: float = 0.5
    region_loss: str = "lovasz"
    region_weight: float = 0.5
    auxiliary: float = 0.4
    average_decay: float = 0.998
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(scale=(0.75, 2.0)))
    initial_weights: Path | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    workers: int = 2
    threads: int | None = None
    resume: bool = False

    @property
    def loss_stride(self) -> int:
        """Of each square of 3 x 3 pixels the loss counts the middle one, where the views divide into such squares."""
        return 3 if all(side % 3 == 0 for side in self.crop_hw) else 1


def checked(settings: TrainSettings) -> TrainSettings:
    """Return the settings with the optimiser's own rate and decay filled in; InputError names what cannot be used."""
    _check_choices(settings)
    _check_numbers(settings)
    if not settings.data:
        raise InputError("no data to train on; give at least one data set, for example camvid:DIR")
    if settings.shares and len(settings.shares) != len(settings.data):
        raise InputError(f"{len(settings.shares)} shares for {len(settings.data)} data sets; give one share for each")
    split_batch(settings.batch_size, settings.shares or (1.0,) * len(settings.data))
    low, high = settings.augmentation.scale
    if not _ZOOMS[0] <= low <= high <= _ZOOMS[1]:
        bounds = f"from {_ZOOMS[0]:g} to {_ZOOMS[1]:g}"
        raise InputError(f"a scale from {low:g} to {high:g} cannot be drawn; give two rising numbers {bounds}")
    for name in ("rare", "paste"):
        share = getattr(settings.augmentation, name)
        if not 0 <= share <= 1:
            raise InputError(f"{name} is {share:g}; give a probability from 0 to 1")
    rate, decay = OPTIMIZER_DEFAULTS[settings.optimizer]
    return replace(
        settings,
        learning_rate=rate if settings.learning_rate is None else settings.learning_rate,
        weight_decay=decay if settings.weight_decay is None else settings.weight_decay,
    )


def _check_choices(settings: TrainSettings) -> None:
    choices = {"optimizer": tuple(OPTIMIZER_DEFAULTS), "loss": PIXEL_LOSSES, "region_loss": REGION_LOSSES}
    for name, known in {**choices, "device": DEVICES, "precision": PRECISIONS}.items():
        if getattr(settings, name) not in known:
            words = name.replace("_", " ")
            raise InputError(f"the {words} {getattr(settings, name)!r} is unknown; choose one of {', '.join(known)}")


def _check_numbers(settings: TrainSettings) -> None:
    for low, names in _AT_LEAST.items():
        for name in names:
            _check(settings, name, partial(operator.le, low), f"{low} or more")
    _check(settings, "seed", partial(operator.gt, _SEEDS), f"one below {_SEEDS}")
    for name in ("learning_rate", "clip_norm"):
        _check(settings, name, lambda value: value > 0, "a number above 0")
    for name in ("warmup", "average_decay"):
        _check(settings, name, lambda value: 0 <= value < 1, "0 or more, below 1")


def _check(settings: TrainSettings, name: str, fits: Callable[[float], bool], wanted: str) -> None:
    value = getattr(settings, name)
    if value is not None and not (math.isfinite(value) and fits(value)):
        raise InputError(f"the {name.replace('_', ' ')} is {value:g}; give {wanted}")


def fixed_settings(settings: TrainSettings, **facts: Any) -> dict[str, Any]:
    """Return what a resumed run must not change, as plain values, with `facts` of the run (data, device type, ...)."""
    values = {name: value for name, value in asdict(settings).items() if name not in _WITHOUT_EFFECT}
    values |= {f"augmentation {name}": value for name, value in values.pop("augmentation").items()}
    plain: dict[str, Any] = json.loads(json.dumps({**values, **facts}, default=str))
    return {name.replace("_", " "): value for name, value in plain.items()}


def check_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path) -> None:
    """Raise CheckpointError naming each setting that differs from the checkpoint's."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if names:
        changes = ", ".join(f"{name} was {_shown(before.get(name))}, now {_shown(now.get(name))}" for name in names)
        raise CheckpointError(
            f"{checkpoint} is of a run with other settings: {changes}; "
            "resume with the same, or train into another folder"
        )


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:12] + "..."
