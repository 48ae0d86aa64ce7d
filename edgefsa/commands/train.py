"""The command that trains: train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import JsonFlag, Options
from edgefsa.errors import InputError

if TYPE_CHECKING:
    from edgefsa.train import TrainResult

_DATA_HELP = "camvid:DIR, cityscapes:DIR, folder:DIR (images/, labels/, classes.txt) or synthetic; repeatable."


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A segmentation model of `edgefsa models`.")],
    data: Annotated[list[str], typer.Option("--data", help=_DATA_HELP)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder that gets it all; runs/MODEL by default.")
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Each data set's share of a batch, in their order; equal by default.")
    ] = None,
    val_data: Annotated[
        list[str] | None, typer.Option(help="Data sets to evaluate on; the first --data by default.")
    ] = None,
    val_limit: Annotated[int | None, typer.Option(min=1, help="Evaluate on only so many frames of each.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the first data set.")] = 120,
    size: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH in pixels of the views that the network is trained on.")
    ] = "288x384",
    batch: Annotated[int, typer.Option(min=1, help="Samples in a step, over all processes.")] = 8,
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    lr: Annotated[float | None, typer.Option(help="Highest rate; 1.5e-3 for adamw, 1e-2 for sgd.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="0.05 for adamw, 5e-4 for sgd.")] = None,
    loss: Annotated[str, typer.Option(help="cross-entropy (balanced by class) or ohem.")] = "cross-entropy",
    region_loss: Annotated[str, typer.Option(help="lovasz, dice or none, added half.")] = "lovasz",
    scale: Annotated[str, typer.Option(help="LOW,HIGH: how far a view may zoom out and in.")] = "0.75,2",
    average: Annotated[float, typer.Option(help="Decay of the moving average of the weights.")] = 0.998,
    init: Annotated[
        Path | None, typer.Option(help="A safetensors file to start from, where names and shapes fit.")
    ] = None,
    option: Options = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 2,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Evaluate every so many epochs.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")] = False,
    json: JsonFlag = False,
) -> None:
    """Train a model: weights, their record, a log and a curve; a checkpoint each epoch, to --resume from.

    Example: edgefsa train fsanet-edge --data camvid:data/camvid --data synthetic --share 7 --share 1 -o runs/edge
    """
    from edgefsa.train import TrainSettings
    from edgefsa.train import train as train_model
    from edgefsa.train.augment import Augmentation
    from edgefsa.train.processes import this_process

    settings = TrainSettings(
        model=model,
        data=tuple(data),
        out_dir=output or Path("runs") / model,
        options=console.options_from_text(option or ()),
        shares=tuple(share or ()),
        val_data=tuple(val_data or ()),
        val_limit=val_limit,
        crop_hw=console.size_from_text(size) or TrainSettings.crop_hw,
        batch_size=batch,
        epochs=epochs,
        evaluate_every=evaluate_every,
        optimizer=optimizer,
        learning_rate=lr,
        weight_decay=weight_decay,
        loss=loss,
        region_loss=region_loss,
        average_decay=average,
        augmentation=Augmentation(scale=_scale_from_text(scale)),
        initial_weights=init,
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
        resume=resume,
    )
    with console.progress("steps") as progress:
        result = train_model(settings, progress=progress, say=console.message)
    if this_process().first:
        console.emit(result.as_dict(), as_json=json, text=_summary(result))


def _scale_from_text(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--scale {text} is not LOW,HIGH; write for instance --scale 0.5,2") from None
    return low, high


def _summary(result: TrainResult) -> str:
    """Lay out the IoU of each class on each val set, the means, and the files."""
    reports = result.accuracy
    classes = list(dict.fromkeys(name for report in reports.values() for name in report.per_class_iou))
    rows = [[name, *(_percent(report.per_class_iou.get(name)) for report in reports.values())] for name in classes]
    rows.append(["mean", *(_percent(report.miou) for report in reports.values())])
    header = ["class", *(f"IoU % on {name}" for name in reports)]
    values = result.as_dict()
    shown = ("epochs", "steps", "seconds", "weights", "record", "checkpoint", "log", "curve", "notice")
    return console.table(header, rows) + "\n\n" + console.facts({name: values[name] for name in shown})


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
