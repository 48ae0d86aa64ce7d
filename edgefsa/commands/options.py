"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgefsa import console

DEFAULT_MODEL = "fsanet-edge"
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]
EnginePath = Annotated[Path, typer.Argument(help="An engine directory made by `edgefsa build`.")]
DataSpec = Annotated[
    str | None,
    typer.Option("--data", help="camvid:DIR, cityscapes:DIR, folder:DIR, images:DIR or synthetic[:SEED]."),
]
SizeText = Annotated[str | None, typer.Option("--size", help="HEIGHTxWIDTH in pixels; the model's own by default.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="NAME=VALUE for the model, for instance recurrence=2 or form=ccnet; repeatable."),
]
Classes = Annotated[Path | None, typer.Option(help="A file of class names, one a line in the order of their indices.")]
Checkpoint = Annotated[Path | None, typer.Option(help="A .safetensors, .pth or .pt file of weights.")]

WeightsKey = Annotated[
    str | None,
    typer.Option(help="Which weights of a checkpoint with several, by their key: model_ema, ema.module, ..."),
]


def warn_of(engine: Path) -> None:
    """Say on standard error that an engine's weights are random, where they are."""
    from edgefsa.artifacts import Manifest

    weights: dict[str, Any] = Manifest.read(engine).model.get("weights", {})
    console.warn_if_random(weights)
