"""The training loop: the state of a run between its steps, and what happens at the end of an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgefsa.errors import InputError, TrainingError
from edgefsa.models import ModelConfig, create_model
from edgefsa.train.average import WeightAverage
from edgefsa.train.checkpoint import load_matching, read_checkpoint, write_checkpoint
from edgefsa.train.compute import Compute
from edgefsa.train.curve import can_draw, draw_curve
from edgefsa.train.data import TrainingData
from edgefsa.train.evaluate import evaluate_model, normalised
from edgefsa.train.hooks import Hooks
from edgefsa.train.loader import TrainingBatches, batch_loader, median_frequency_weights, rare_classes
from edgefsa.train.log import Row, write_log
from edgefsa.train.losses import SegmentationLoss
from edgefsa.train.processes import Processes
from edgefsa.train.schedule import learning_rate, optimizer_for
from edgefsa.train.settings import TrainSettings, check_unchanged
from edgefsa.verify.accuracy import AccuracyReport

CHECKPOINT_NAME = "checkpoint.pt"
LOG_NAME = "log.csv"
CURVE_NAME = "curve.png"
# Short epochs are not spent on drawing.
_DRAWN_EVERY_S = 10.0

Say = Callable[[str], None]


class TrainingRun:
    """A run between its steps; `fixed` is what `fixed_settings` returns for it."""

    def __init__(
        self,
        settings: TrainSettings,
        data: TrainingData,
        compute: Compute,
        processes: Processes,
        hooks: Hooks,
        say: Say,
    ) -> None:
        self.settings, self.data, self.compute, self.processes, self.say = settings, data, compute, processes, say
        self.checkpoint = settings.out_dir / CHECKPOINT_NAME
        weights = class_weights(settings, data, say)
        self.batches = TrainingBatches(
            data.train,
            data.shares,
            settings.batch_size,
            settings.crop_hw,
            settings.augmentation,
            settings.seed,
            part=(processes.rank, processes.count),
            rare_classes=rare_classes(weights),
        )
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.steps = settings.epochs * self.steps_per_epoch
        self.model = hooks.prepare(network(settings, data, say)).to(compute.device).train()
        self.average = WeightAverage(self.model, settings.average_decay)
        self.forward = processes.shared(self.model, compute.device, all_used=settings.auxiliary > 0)
        self.optimizer = optimizer_for(self.model, settings)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.dtype == torch.float16)
        self.loss = loss_for(settings, data, weights, compute.device)
        self.step, self.seconds = 0, 0.0
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=compute.device)
        self.history: list[Row] = []
        self.draws, self.drawn = can_draw(), -math.inf
        self.accuracy: dict[str, AccuracyReport] = {}

    @property
    def epoch(self) -> int:
        """How many epochs lie behind."""
        return self.step // self.steps_per_epoch

    def advance(self, fixed: dict[str, Any], progress: Callable[[int, int], None] | None) -> None:
        """Train to the end of the schedule; `fixed` goes into each checkpoint."""
        pinned = self.compute.device.type == "cuda"
        before = time.monotonic()
        for frames, labels in batch_loader(self.batches, self.step, self.steps, self.settings.workers, pinned=pinned):
            try:
                self.train_step(frames, labels)
            except torch.cuda.OutOfMemoryError as error:
                height, width = self.settings.crop_hw
                raise TrainingError(
                    f"a batch of {len(frames)} views of {height}x{width} does not fit the memory of "
                    f"{self.compute.device}; give a smaller --batch or --size"
                ) from error
            now = time.monotonic()
            self.seconds, before = self.seconds + now - before, now
            if progress is not None:
                progress(self.step, self.steps)
            if self.step % self.steps_per_epoch == 0:
                self.end_epoch(fixed)
                before = time.monotonic()

    def train_step(self, frames: Tensor, labels: Tensor) -> None:
        """One step of the optimiser, on frames uint8 [N, h, w, 3] BGR and labels uint8 [N, h, w]."""
        settings, device = self.settings, self.compute.device
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, self.step / self.steps)
        # Dropout is a function of the step (and the process), alike after a resume.
        torch.manual_seed((settings.seed * 1_000_003 + self.step) * self.processes.count + self.processes.rank)
        config: Any = self.model.config
        inputs = normalised(frames.to(device, non_blocking=True), config.mean_rgb, config.std_rgb)
        with self.compute.autocast():
            outputs = self.forward(inputs)
        loss = self.loss(outputs, labels.to(device, non_blocking=True).long())
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.average.update(self.model, self.step)
        self.loss_sum += loss.detach()

    def end_epoch(self, fixed: dict[str, Any]) -> None:
        """Evaluate the averaged weights where it is time, then write the checkpoint, the log and the curve."""
        loss = self.processes.mean(self.loss_sum / self.steps_per_epoch)
        self.loss_sum.zero_()
        self.check_finite(loss)
        if self.processes.first:
            rate = learning_rate(self.settings, self.step / self.steps)
            row: Row = {"epoch": self.epoch, "step": self.step, "loss": loss, "learning_rate": rate}
            if self.epoch % self.settings.evaluate_every == 0 or self.step == self.steps:
                row |= self.evaluate()
            self.history.append(row)
            write_checkpoint(self.checkpoint, {**self.state(), "fixed": fixed})
            self.write_curve()
            self.say(_epoch_line(row, self.settings.epochs))
        self.processes.wait()

    def check_finite(self, loss: float) -> None:
        """Raise TrainingError where the epoch's loss or a weight is no number, which no checkpoint may keep."""
        finite = all(bool(tensor.isfinite().all()) for tensor in self.average.module.state_dict().values())
        if math.isfinite(loss) and finite:
            return
        what = "a weight became infinite or NaN" if math.isfinite(loss) else f"the loss became {loss:g}"
        raise TrainingError(
            f"{what} in epoch {self.epoch}; train with a lower --lr, or in fp32 "
            f"({self.checkpoint} keeps the epoch before, if there was one)"
        )

    def evaluate(self) -> Row:
        """Evaluate the averaged weights on the val sets; return what the log shows of it."""
        bf16 = self.compute.dtype == torch.bfloat16
        row: Row = {}
        for name, dataset in self.data.val.items():
            accuracy = self.accuracy[name] = evaluate_model(self.average.module, dataset, bf16=bf16)
            row |= {f"miou {name}": accuracy.miou, f"pixel_accuracy {name}": accuracy.pixel_accuracy}
        return row

    def write_curve(self) -> None:
        """Write the log, and draw it where matplotlib is installed: at the end, and before it now and then."""
        write_log(self.settings.out_dir / LOG_NAME, self.history)
        now = time.monotonic()
        if not self.draws or (now - self.drawn < _DRAWN_EVERY_S and self.step < self.steps):
            return
        self.drawn = now
        title = f"{self.settings.model} on {' + '.join(item.name.partition(':')[0] for item in self.data.train)}"
        draw_curve(self.settings.out_dir / CURVE_NAME, self.history, title, self.settings.epochs)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "accuracy": {name: report.as_dict() for name, report in self.accuracy.items()},
            "model": self.model.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, fixed: dict[str, Any]) -> None:
        """Go back to the state of the checkpoint; CheckpointError where it is of a run with other settings."""
        state = read_checkpoint(self.checkpoint)
        check_unchanged(state["fixed"], fixed, self.checkpoint)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.average.module.load_state_dict(state["average"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.accuracy = {name: AccuracyReport(**values) for name, values in state["accuracy"].items()}
        self.say(f"resuming after epoch {self.epoch} of {self.settings.epochs}")


def network(settings: TrainSettings, data: TrainingData, say: Say) -> nn.Module:
    """Build the network for the data's classes, random by the seed, with the initial weights where there are any."""
    classes = data.class_set.num_classes
    options = {"num_classes": classes, **settings.options}
    if options["num_classes"] != classes:
        raise InputError(f"num_classes={options['num_classes']} does not fit the data, which has {classes} classes")
    torch.manual_seed(settings.seed)
    model = create_model(settings.model, **options)
    config: ModelConfig = model.config  # type: ignore[assignment]
    if config.task != "segmentation":
        raise InputError(f"{settings.model} is built for {config.task}; only segmentation models can be trained")
    config.check_size(settings.crop_hw)
    if settings.initial_weights is not None:
        taken, total = load_matching(model, settings.initial_weights)
        say(f"{taken} of {total} tensors taken from {settings.initial_weights}")
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def class_weights(settings: TrainSettings, data: TrainingData, say: Say) -> npt.NDArray[np.float32]:
    """Return the loss weight of each class, float32 [K], counted on the training labels where something asks for it."""
    classes, power = data.class_set.num_classes, settings.class_weight_power
    shown = settings.augmentation.rare or settings.augmentation.paste
    if not ((power and settings.loss == "cross-entropy") or shown):
        return np.ones(classes, np.float32)
    say("note: counting how often each class occurs")
    return median_frequency_weights(data.train, data.shares, classes, power=power or 0.5)


def loss_for(
    settings: TrainSettings, data: TrainingData, weights: npt.NDArray[np.float32], device: torch.device
) -> SegmentationLoss:
    """Make the loss that the settings ask for; `weights` (float32 [K]) count in the cross entropy."""
    if not settings.class_weight_power:
        weights = np.ones_like(weights)
    return SegmentationLoss(
        torch.from_numpy(weights).to(device),
        data.class_set.ignore_index,
        pixel=settings.loss,
        region=settings.region_loss,
        region_weight=settings.region_weight,
        auxiliary=settings.auxiliary,
        stride=settings.loss_stride,
    )


def _epoch_line(row: Row, epochs: int) -> str:
    scores = [f"{name} {100 * value:.2f} %" for name, value in row.items() if name.startswith("miou")]
    return ", ".join([f"epoch {row['epoch']:g}/{epochs}: loss {row['loss']:.4f}", *scores]).replace("miou", "mIoU")
