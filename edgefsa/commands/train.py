"""The command that trains: train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.grouping import grouped
from edgefsa.commands.options import (
    DATA,
    INT8,
    JsonFlag,
    ModelOptions,
    Skip,
    options_from_text,
    size_from_text,
)
from edgefsa.errors import InputError

if TYPE_CHECKING:
    from edgefsa.console import Progress
    from edgefsa.train import TrainResult, TrainSettings
    from edgefsa.train.augment import Augmentation

QAT_EPOCHS = 10
OPTIMISER, COMPUTE = "Optimiser", "Computing"
_DATA_HELP = "camvid:DIR, cityscapes:DIR, folder:DIR (docs/data.md) or synthetic; repeatable."


@dataclass(frozen=True)
class DataOptions:
    """What is trained on, and what the training is judged by."""

    data: Annotated[
        list[str],
        typer.Option(metavar="DATA", help=_DATA_HELP, rich_help_panel=DATA),
    ]
    share: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Each one's share of a batch, in order; else equal.", rich_help_panel=DATA),
    ] = None
    val_data: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Evaluate on these; the first --data by default.", rich_help_panel=DATA),
    ] = None
    val_limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many frames of each.", rich_help_panel=DATA)
    ] = None
    evaluate_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Evaluate every so many epochs.", rich_help_panel=DATA)
    ] = 1
    size: Annotated[
        str, typer.Option(metavar="HxW", help="The views that the network sees, in pixels.", rich_help_panel=DATA)
    ] = "360x480"
    scale: Annotated[str, typer.Option(metavar="LOW,HIGH", help="How far a view may zoom.", rich_help_panel=DATA)] = (
        "0.75,2"
    )
    rare: Annotated[
        float, typer.Option(metavar="P", help="Share of views placed on a rare class.", rich_help_panel=DATA)
    ] = 0.0
    paste: Annotated[
        float,
        typer.Option(metavar="P", help="Share of frames that get another's rare classes.", rich_help_panel=DATA),
    ] = 0.0
    jitter: Annotated[
        str, typer.Option(metavar="NAME", help="normal or strong changes of light and colour.", rich_help_panel=DATA)
    ] = "normal"


@dataclass(frozen=True)
class OptimiserOptions:
    """How the weights are found."""

    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Passes over the first data set; 120, or 10 with --qat.", rich_help_panel=OPTIMISER
        ),
    ] = None
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="Samples in a step, over all processes.", rich_help_panel=OPTIMISER)
    ] = 8
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="adamw or sgd.", rich_help_panel=OPTIMISER)] = "adamw"
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Highest rate; 1.5e-3 (adamw), 1e-2 (sgd), 1e-4 (--qat).", rich_help_panel=OPTIMISER
        ),
    ] = None
    weight_decay: Annotated[
        float | None,
        typer.Option(metavar="X", help="0.05 (adamw), 5e-4 (sgd), 0 (--qat).", rich_help_panel=OPTIMISER),
    ] = None
    loss: Annotated[
        str,
        typer.Option(metavar="NAME", help="cross-entropy (balanced by class) or ohem.", rich_help_panel=OPTIMISER),
    ] = "cross-entropy"
    region_loss: Annotated[
        str, typer.Option(metavar="NAME", help="lovasz, dice or none, added half.", rich_help_panel=OPTIMISER)
    ] = "lovasz"
    average: Annotated[
        float, typer.Option(metavar="X", help="Decay of the weights' moving average.", rich_help_panel=OPTIMISER)
    ] = 0.998
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of the start, the order and the views.", rich_help_panel=OPTIMISER)
    ] = 0


@dataclass(frozen=True)
class QatOptions:
    """Fine-tuning for INT8."""

    qat: Annotated[
        Path | None,
        typer.Option(
            metavar="RECIPE", help="Train with the INT8 engine's roundings; a TOML file.", rich_help_panel=INT8
        ),
    ] = None
    skip: Skip = None


@dataclass(frozen=True)
class ComputeOptions:
    """What a run computes on."""

    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=COMPUTE)] = "auto"
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="auto, fp32, bf16 or fp16.", rich_help_panel=COMPUTE)
    ] = "auto"
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Processes that prepare batches.", rich_help_panel=COMPUTE)
    ] = 2


@grouped
def train(
    data: DataOptions,
    optimiser: OptimiserOptions,
    int8: QatOptions,
    compute: ComputeOptions,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A segmentation model of `edgefsa models`.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The folder that gets it all; runs/MODEL[-qat]."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to start from (safetensors), where names and shapes fit."),
    ] = None,
    option: ModelOptions = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    json: JsonFlag = False,
) -> None:
    """Train a model: weights, their record, a log and a curve; a checkpoint each epoch, to --resume from.

    Example: edgefsa train fsanet-edge --data camvid:data/camvid --data synthetic --share 7 --share 1 -o runs/edge
    """
    from edgefsa.train import TrainSettings
    from edgefsa.train.processes import this_process

    settings = TrainSettings(
        model=model,
        data=tuple(data.data),
        out_dir=output or Path("runs") / (f"{model}-qat" if int8.qat else model),
        options=options_from_text(option or ()),
        shares=tuple(data.share or ()),
        val_data=tuple(data.val_data or ()),
        val_limit=data.val_limit,
        crop_hw=size_from_text(data.size) or TrainSettings.crop_hw,
        batch_size=optimiser.batch,
        epochs=optimiser.epochs or (QAT_EPOCHS if int8.qat else TrainSettings.epochs),
        evaluate_every=data.evaluate_every,
        optimizer=optimiser.optimizer,
        learning_rate=optimiser.lr,
        weight_decay=optimiser.weight_decay,
        loss=optimiser.loss,
        region_loss=optimiser.region_loss,
        average_decay=optimiser.average,
        augmentation=_augmentation(data),
        initial_weights=init,
        seed=optimiser.seed,
        device=compute.device,
        precision=compute.precision,
        workers=compute.workers,
        resume=resume,
    )
    with console.progress("steps") as progress:
        result, values = _train(settings, int8.qat, tuple(int8.skip or ()), progress)
    if this_process().first:
        console.emit(values, as_json=json, text=_summary(result, values))


def _train(
    settings: TrainSettings, qat: Path | None, skip: tuple[str, ...], progress: Progress
) -> tuple[TrainResult, dict[str, Any]]:
    """Train, for INT8 where there is a recipe; return the run, and all that came of it as plain values."""
    if qat is not None:
        from edgefsa.train.qat import train_quantised

        quantised = train_quantised(settings, qat, skip=skip, progress=progress, say=console.message)
        return quantised.run, quantised.as_dict()
    from edgefsa.train import train as train_model

    if skip:
        raise InputError("--skip is for training with --qat; leave it out")
    result = train_model(settings, progress=progress, say=console.message)
    return result, result.as_dict()


def _scale_from_text(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--scale {text} is not LOW,HIGH; write for instance --scale 0.5,2") from None
    return low, high


def _augmentation(data: DataOptions) -> Augmentation:
    from edgefsa.train.augment import JITTER, Augmentation

    if data.jitter not in JITTER:
        raise InputError(f"--jitter {data.jitter} is unknown; choose {' or '.join(JITTER)}")
    return Augmentation(scale=_scale_from_text(data.scale), rare=data.rare, paste=data.paste, **JITTER[data.jitter])


def _summary(result: TrainResult, values: dict[str, Any]) -> str:
    """Lay out the IoU of each class on each val set, the means, and the files."""
    reports = result.accuracy
    classes = list(dict.fromkeys(name for report in reports.values() for name in report.per_class_iou))
    rows = [[name, *(_percent(report.per_class_iou.get(name)) for report in reports.values())] for name in classes]
    rows.append(["mean", *(_percent(report.miou) for report in reports.values())])
    header = ["class", *(f"IoU % on {name}" for name in reports)]
    shown = {name: value for name, value in values.items() if name != "accuracy"}
    return console.table(header, rows) + "\n\n" + console.facts(shown)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
