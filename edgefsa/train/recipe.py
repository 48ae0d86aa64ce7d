"""The training recipe: AdamW, warm-up and poly decay, weighted cross entropy with Lovasz, EMA, bf16 where asked."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgefsa.artifacts import atomic_file
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.errors import CheckpointError, InputError
from edgefsa.models import create_model
from edgefsa.train.augment import Augmentation
from edgefsa.train.checkpoint import WeightAverage, load_matching, read_checkpoint, write_checkpoint, write_weights
from edgefsa.train.evaluate import evaluate_model, normalised
from edgefsa.train.loader import TrainingBatches, batch_loader, median_frequency_weights
from edgefsa.train.losses import segmentation_loss
from edgefsa.verify.accuracy import AccuracyReport

CHECKPOINT_NAME = "checkpoint.pt"
LOG_NAME = "log.csv"
WEIGHTS_NAME = "weights.safetensors"


@dataclass(frozen=True)
class TrainSettings:
    """One training run.

    `data`: data set specs for training (their `train` split), mixed in each batch by `shares` (equal where
    empty); `val_data`: specs whose `val` split is evaluated (`data` where empty); the first one is `miou`.
    `steps` is the length of the schedule; `max_seconds`, where given, ends it after that much processor time of this
    process (all threads added up, pauses not counted): the schedule follows whichever is nearer its end.
    Only runs without `max_seconds` repeat the same curve. `evaluate_every` steps the averaged weights are
    evaluated and a checkpoint is written. `initial_weights` is a file whose tensors are taken where name and shape fit,
    the rest starts random. `resume` goes on from the checkpoint in `out_dir`, if there is one.
    """

    model: str
    data: tuple[str, ...]
    out_dir: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    shares: tuple[float, ...] = ()
    val_data: tuple[str, ...] = ()
    val_limit: int | None = None
    crop_hw: tuple[int, int] = (288, 384)
    batch_size: int = 8
    steps: int = 10_000
    max_seconds: float | None = None
    evaluate_every: int = 250
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: float = 0.03
    poly_power: float = 0.9
    clip_norm: float = 5.0
    auxiliary: float = 0.4
    lovasz: float = 0.5
    loss_stride: int = 3
    class_weight_power: float = 0.5
    average_decay: float = 0.998
    augmentation: Augmentation = field(default_factory=Augmentation)
    bf16: bool = True
    initial_weights: Path | None = None
    seed: int = 0
    workers: int = 2
    threads: int | None = None
    resume: bool = False


@dataclass(frozen=True)
class TrainResult:
    """What a run reached: the last evaluation per val data set, and the files that it wrote."""

    steps: int
    seconds: float
    accuracy: dict[str, AccuracyReport]
    weights: Path
    checkpoint: Path
    log: Path


def train(settings: TrainSettings, *, progress: Callable[[int, int], None] | None = None) -> TrainResult:
    """Train a model as `settings` say; checkpoint, CSV log and fp16 weights (the average) land in `out_dir`.

    `progress(done, total)` counts thousandths of the schedule. Raises InputError, DataError or CheckpointError.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    run = _Run(settings)
    if settings.resume and run.checkpoint.exists():
        run.restore()
    run.advance(progress)
    weights = write_weights(run.average.tensors, settings.out_dir / WEIGHTS_NAME)
    return TrainResult(run.step, run.seconds, run.accuracy, weights, run.checkpoint, settings.out_dir / LOG_NAME)


def learning_rate(settings: TrainSettings, progress: float) -> float:
    """Give the rate at `progress` (0 to 1): linear warm-up from 1 %, then (1 - progress) ** poly_power."""
    poly: float = max(0.0, 1 - progress) ** settings.poly_power
    warm = 1.0 if settings.warmup <= 0 else min(1.0, 0.01 + 0.99 * progress / settings.warmup)
    return settings.learning_rate * poly * warm


class _Run:
    """The state of a training run, between its steps."""

    def __init__(self, settings: TrainSettings) -> None:
        _check(settings)
        self.settings = settings
        self.checkpoint = settings.out_dir / CHECKPOINT_NAME
        sets = [open_dataset(spec, "train") for spec in settings.data]
        shares = settings.shares or (1.0,) * len(sets)
        self.val = {spec: open_dataset(spec, "val", settings.val_limit) for spec in settings.val_data or settings.data}
        self.ignore_index = _common_ignore_index([*sets, *self.val.values()])
        torch.manual_seed(settings.seed)
        self.model = _channels_last(create_model(settings.model, **settings.options))
        if settings.initial_weights is not None:
            self.initialised = load_matching(self.model, settings.initial_weights)
        self.model.train()
        classes = len(sets[0].class_set.names)
        power = settings.class_weight_power
        weights = (
            median_frequency_weights(sets, shares, classes, power=power) if power else np.ones(classes, np.float32)
        )
        self.class_weights = torch.from_numpy(weights)
        crop, seed = settings.crop_hw, settings.seed
        self.batches = TrainingBatches(sets, shares, settings.batch_size, crop, settings.augmentation, seed)
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.model, settings.weight_decay), fused=True)
        self.average = WeightAverage(self.model, settings.average_decay)
        self.average_model = _channels_last(create_model(settings.model, **settings.options))
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.accuracy: dict[str, AccuracyReport] = {}

    def done(self) -> float:
        """How much of the schedule lies behind, 0 to 1."""
        limit = self.settings.max_seconds
        return min(1.0, max(self.step / self.settings.steps, self.seconds / limit if limit else 0.0))

    def advance(self, progress: Callable[[int, int], None] | None) -> None:
        """Train to the end of the schedule."""
        settings = self.settings
        losses: list[float] = []
        before = time.process_time()
        for frames, labels in batch_loader(self.batches, self.step, settings.steps, settings.workers):
            if self.done() >= 1:
                break
            losses.append(self.train_step(frames, labels))
            now = time.process_time()
            self.seconds, before = self.seconds + now - before, now
            if progress is not None:
                progress(round(1000 * self.done()), 1000)
            if self.step % settings.evaluate_every == 0 and self.done() < 1:
                self.save(float(np.mean(losses)))
                losses.clear()
                before = time.process_time()
        if losses or not self.accuracy:
            self.save(float(np.mean(losses or [math.nan])))

    def train_step(self, frames: Tensor, labels: Tensor) -> float:
        """One step of the optimiser; gives the loss."""
        settings = self.settings
        rate = learning_rate(settings, self.done())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(settings.seed * 1_000_003 + self.step)  # dropout, alike after a resume
        config: Any = self.model.config
        inputs = normalised(frames, config.mean_rgb, config.std_rgb)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
            outputs = self.model(inputs)
        loss = self.loss(outputs, labels.long())
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.average.update(self.model, self.step)
        return float(loss.detach())

    def loss(self, outputs: Any, labels: Tensor) -> Tensor:
        """Loss of the logits, plus the weighted loss of the auxiliary head where the model has one."""
        main, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        weights, ignore, stride = self.class_weights, self.ignore_index, self.settings.loss_stride
        loss = segmentation_loss(main, labels, weights, ignore, lovasz=self.settings.lovasz, stride=stride)
        if auxiliary is not None and self.settings.auxiliary:
            extra = segmentation_loss(auxiliary, labels, weights, ignore, stride=stride)
            loss = loss + self.settings.auxiliary * extra
        return loss

    def save(self, loss: float) -> None:
        """Evaluate the averaged weights, then write the log row and the checkpoint."""
        self.average_model.load_state_dict(self.average.tensors)
        self.accuracy = {
            spec: evaluate_model(self.average_model, dataset, bf16=self.settings.bf16)
            for spec, dataset in self.val.items()
        }
        row = {"step": self.step, "done": self.done(), "cpu_seconds": self.seconds, "loss": loss}
        row["learning_rate"] = learning_rate(self.settings, self.done())
        for spec, accuracy in self.accuracy.items():
            kind = spec.partition(":")[0]
            row |= {f"miou_{kind}": accuracy.miou, f"pixel_accuracy_{kind}": accuracy.pixel_accuracy}
        self.history.append(row)
        _write_log(self.settings.out_dir / LOG_NAME, self.history)
        state = {"step": self.step, "seconds": self.seconds, "history": self.history}
        state |= {"model": self.model.state_dict(), "average": self.average.tensors}
        state |= {"optimizer": self.optimizer.state_dict(), "fingerprint": _fingerprint(self.settings)}
        write_checkpoint(self.checkpoint, state)

    def restore(self) -> None:
        """Go back to the state of the checkpoint; CheckpointError where it is of another network."""
        state = read_checkpoint(self.checkpoint)
        if state["fingerprint"] != _fingerprint(self.settings):
            raise CheckpointError(f"{self.checkpoint} is of another model or other options; train into another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.tensors = state["average"]
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]


def _check(settings: TrainSettings) -> None:
    if not settings.data:
        raise InputError("no data to train on; give at least one data set, for example camvid:DIR")
    if settings.shares and len(settings.shares) != len(settings.data):
        raise InputError(f"{len(settings.shares)} shares for {len(settings.data)} data sets; give one share for each")
    for name in ("steps", "batch_size", "evaluate_every"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} is {getattr(settings, name)}; give 1 or more")
    stride = settings.loss_stride
    if stride < 1 or stride % 2 == 0:
        raise InputError(f"loss_stride is {stride}; give 1, 3 or another odd number")
    if min(settings.crop_hw) < 1 or any(side % stride for side in settings.crop_hw):
        raise InputError(f"crop_hw is {settings.crop_hw}; give two positive multiples of loss_stride ({stride})")


def _common_ignore_index(sets: list[Dataset]) -> int:
    kinds = {(dataset.class_set.names, dataset.class_set.ignore_index): dataset.name for dataset in sets}
    if len(kinds) > 1:
        raise InputError(f"{' and '.join(kinds.values())} have different classes; train on data sets of one class list")
    return sets[0].class_set.ignore_index


def _channels_last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only; norms, biases and gains are left alone."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _fingerprint(settings: TrainSettings) -> str:
    """What must be alike for a checkpoint's tensors to fit: the model and its options."""
    value = json.dumps([settings.model, dict(settings.options)], sort_keys=True, default=str)
    return hashlib.sha256(value.encode()).hexdigest()


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    names = list(dict.fromkeys(name for row in history for name in row))
    with atomic_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: round(value, 6) for name, value in row.items()} for row in history)
