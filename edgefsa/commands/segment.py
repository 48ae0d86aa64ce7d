"""The command that runs an engine on frames: predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import EnginePath, JsonFlag, warn_of


def predict(
    engine: EnginePath,
    source: Annotated[str, typer.Argument(help="An image, a folder, a video, camera:0 or synthetic[:SEED].")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that gets the results.")] = Path("out"),
    alpha: Annotated[float, typer.Option(min=0.0, max=1.0, help="How strongly the mask covers the frame.")] = 0.5,
    legend: Annotated[bool, typer.Option(help="Draw the classes that are present.")] = True,
    contours: Annotated[bool, typer.Option(help="Draw the borders between classes.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    json: JsonFlag = False,
) -> None:
    """Segment an image, a folder or a video: overlays, and masks as PNG files with the palette.

    Example: edgefsa predict engines/fsanet-edge-openvino-int8-360x480 street.jpg -o out/
    """
    from edgefsa.segment import OverlayStyle, predict_source

    style = OverlayStyle(alpha=alpha, legend=legend, contours=contours)
    with console.progress("frames") as progress:
        result = predict_source(engine, source, output, style=style, limit=limit, progress=progress)
    for note in result["notes"]:
        console.message(f"note: {note}")
    warn_of(engine)
    console.emit(result, as_json=json, text=console.facts(result))
