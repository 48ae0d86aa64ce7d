"""The command that trains: train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.options import JsonFlag, Options
from edgefsa.errors import InputError

if TYPE_CHECKING:
    from edgefsa.console import Progress
    from edgefsa.train import TrainResult, TrainSettings

QAT_EPOCHS = 10
_DATA_HELP = "camvid:DIR, cityscapes:DIR, folder:DIR (images/, labels/, classes.txt) or synthetic; repeatable."


def train(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A segmentation model of `edgefsa models`.")],
    data: Annotated[list[str], typer.Option("--data", help=_DATA_HELP)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder that gets it all; runs/MODEL or runs/MODEL-qat.")
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="Each data set's share of a batch, in their order; equal by default.")
    ] = None,
    val_data: Annotated[
        list[str] | None, typer.Option(help="Data sets to evaluate on; the first --data by default.")
    ] = None,
    val_limit: Annotated[int | None, typer.Option(min=1, help="Evaluate on only so many frames of each.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the first data set; 120, or 10 with --qat.")
    ] = None,
    size: Annotated[
        str, typer.Option(help="HEIGHTxWIDTH in pixels of the views that the network is trained on.")
    ] = "288x384",
    batch: Annotated[int, typer.Option(min=1, help="Samples in a step, over all processes.")] = 8,
    optimizer: Annotated[str, typer.Option(help="adamw or sgd.")] = "adamw",
    lr: Annotated[float | None, typer.Option(help="Highest rate; 1.5e-3 (adamw), 1e-2 (sgd), 1e-4 (--qat).")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="0.05 (adamw), 5e-4 (sgd), 0 (--qat).")] = None,
    loss: Annotated[str, typer.Option(help="cross-entropy (balanced by class) or ohem.")] = "cross-entropy",
    region_loss: Annotated[str, typer.Option(help="lovasz, dice or none, added half.")] = "lovasz",
    scale: Annotated[str, typer.Option(help="LOW,HIGH: how far a view may zoom out and in.")] = "0.75,2",
    average: Annotated[float, typer.Option(help="Decay of the moving average of the weights.")] = 0.998,
    init: Annotated[
        Path | None, typer.Option(help="A safetensors file to start from, where names and shapes fit.")
    ] = None,
    qat: Annotated[
        Path | None, typer.Option(help="Fine-tune with the INT8 engine's roundings; its recipe, a TOML file.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="With --qat: node name pattern that stays in float; repeatable.")
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
    from edgefsa.train.augment import Augmentation
    from edgefsa.train.processes import this_process

    settings = TrainSettings(
        model=model,
        data=tuple(data),
        out_dir=output or Path("runs") / (f"{model}-qat" if qat else model),
        options=console.options_from_text(option or ()),
        shares=tuple(share or ()),
        val_data=tuple(val_data or ()),
        val_limit=val_limit,
        crop_hw=console.size_from_text(size) or TrainSettings.crop_hw,
        batch_size=batch,
        epochs=epochs or (QAT_EPOCHS if qat else TrainSettings.epochs),
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
        result, values = _train(settings, qat, tuple(skip or ()), progress)
    if this_process().first:
        console.emit(values, as_json=json, text=_summary(result, values))


def _train(
    settings: TrainSettings, qat: Path | None, skip: tuple[str, ...], progress: Progress
) -> tuple[TrainResult, dict[str, Any]]:
    """Train, for INT8 where there is a recipe; gives the run, and all that came of it as plain values."""
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
