"""`train`: settings in; checkpoints, a log, a curve, and fp16 weights with their record out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgefsa.artifacts import check_writable, sha256_of_file
from edgefsa.errors import CheckpointError, OutputError
from edgefsa.machine.memory import unused_large_pages
from edgefsa.train.compute import Compute, choose_compute
from edgefsa.train.data import TrainingData, open_training_data
from edgefsa.train.hooks import Hooks
from edgefsa.train.loop import CHECKPOINT_NAME, CURVE_NAME, LOG_NAME, Say, TrainingRun
from edgefsa.train.processes import Processes, joined, this_process
from edgefsa.train.record import RECORD_NAME, WEIGHTS_NAME, notice, write_result
from edgefsa.train.settings import TrainSettings, checked, fixed_settings
from edgefsa.verify.accuracy import AccuracyReport

_DRAWING = "pip install 'edgefsa[report]'"


@dataclass(frozen=True)
class TrainResult:
    """What a run reached: the last evaluation per val set, and the files in its folder.

    `record` is the JSON beside the weights: recipe, data, versions, accuracy. `curve` is None without matplotlib.
    """

    epochs: int
    steps: int
    seconds: float
    accuracy: dict[str, AccuracyReport]
    notice: str
    weights: Path
    record: Path
    checkpoint: Path
    log: Path
    curve: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        places = {name: getattr(self, name) for name in ("weights", "record", "checkpoint", "log", "curve")}
        files = {name: None if path is None else str(path) for name, path in places.items()}
        accuracy = {name: report.as_dict() for name, report in self.accuracy.items()}
        figures = {"epochs": self.epochs, "steps": self.steps, "seconds": round(self.seconds, 1)}
        return {**figures, "accuracy": accuracy, "notice": self.notice, **files}


def train(
    settings: TrainSettings,
    *,
    hooks: Hooks | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Say = lambda line: None,
) -> TrainResult:
    """Train a model as `settings` say; checkpoint, log, curve and fp16 weights (the average) land in `out_dir`.

    Under `torchrun` each process trains on its part of a batch, and the first one writes (and alone knows the
    accuracy). `progress(done, total)` counts steps, `say` is called with the news of each epoch. Raises InputError,
    DataError, CheckpointError, OutputError or TrainingError.
    """
    settings, hooks = checked(settings), hooks or Hooks()
    processes = this_process()
    if not processes.first:
        progress, say = None, lambda line: None
    compute = choose_compute(settings.device, settings.precision, processes.local_rank)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    data = open_training_data(settings).kept_in_memory(processes.count)
    _check_folder(settings, say)
    data.check_files(say)
    with joined(processes, compute.device):
        run = TrainingRun(settings, data, compute, processes, hooks, say)
        data.check_apart()
        fixed = _fixed(settings, data, compute, processes, hooks)
        if run.checkpoint.exists():
            run.restore(fixed)
        if processes.first:
            check_writable(run.checkpoint)
        say(f"training {settings.model} in {compute}" + (f", {processes.count} processes" * (processes.count > 1)))
        setting = unused_large_pages() if compute.device.type == "cpu" else None
        if setting:
            say(f"note: in large pages of memory a step takes less time here: {setting} before the command")
        if not run.draws:
            say(f"note: matplotlib draws the curve and is not installed, {LOG_NAME} has its figures; {_DRAWING}")
        run.advance(fixed, progress)
        if processes.first:
            write_result(run, hooks.finish(run.average.module), fixed, hooks.record)
        processes.wait()
    return _result(run)


def _check_folder(settings: TrainSettings, say: Say) -> None:
    """Let no run write over another: OutputError where the folder holds one and this run does not resume it."""
    out_dir = settings.out_dir
    held = [name for name in (CHECKPOINT_NAME, WEIGHTS_NAME) if (out_dir / name).exists()]
    if settings.resume and CHECKPOINT_NAME not in held:
        say(f"note: {out_dir} holds no {CHECKPOINT_NAME} yet: starting at the beginning")
    if held and not (settings.resume and CHECKPOINT_NAME in held):
        remedy = "go on with it by --resume, or " if CHECKPOINT_NAME in held else ""
        raise OutputError(f"{out_dir} holds {held[0]} of an earlier run; {remedy}train into another folder")


def _fixed(
    settings: TrainSettings, data: TrainingData, compute: Compute, processes: Processes, hooks: Hooks
) -> dict[str, Any]:
    """Return what must stay the same when the run is resumed, for checkpoints and the record."""
    initial = settings.initial_weights
    try:
        initial_sha256 = None if initial is None else sha256_of_file(initial)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"cannot read {initial}: {reason}; check the path") from error
    return fixed_settings(
        settings,
        initial_weights=initial_sha256,
        device_type=compute.device.type,
        precision=compute.precision,
        processes=processes.count,
        **{f"contents of {name}": value for name, value in data.fingerprints().items()},
        **hooks.record,
    )


def _result(run: TrainingRun) -> TrainResult:
    out_dir = run.settings.out_dir
    return TrainResult(
        epochs=run.epoch,
        steps=run.step,
        seconds=run.seconds,
        accuracy=run.accuracy,
        notice=notice(run.data, run.settings.initial_weights),
        weights=out_dir / WEIGHTS_NAME,
        record=out_dir / RECORD_NAME,
        checkpoint=run.checkpoint,
        log=out_dir / LOG_NAME,
        curve=out_dir / CURVE_NAME if run.draws else None,
    )
