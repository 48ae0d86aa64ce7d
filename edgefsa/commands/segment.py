"""The command that runs an engine on frames: predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.grouping import grouped
from edgefsa.commands.options import EnginePath, JsonFlag, OverlayFlags, SourceFlags, SourceSpec, name_failed, warn_of

_SHOWN = 3


@grouped
def predict(
    engine: EnginePath,
    source: SourceSpec,
    playback: SourceFlags,
    overlay: OverlayFlags,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that gets the results.")] = Path("out"),
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="List every file that was written.")] = False,
    json: JsonFlag = False,
) -> int:
    """Segment images, a video, a camera or a stream: overlays, and masks of images as PNG files with the palette.

    Cameras and streams go on until --limit or Ctrl-C. Exits with 1 where files of a folder could not be read; the
    others are done.

    Example: edgefsa predict engines/fsanet-edge-openvino-int8-360x480 street.jpg -o out/
    """
    from edgefsa.segment import predict_source

    with console.progress("frames") as progress:
        result = predict_source(
            engine,
            source,
            output,
            style=overlay.style(),
            limit=limit,
            options=playback.options(),
            progress=progress,
            on_note=lambda note: console.message(f"note: {note}"),
        )
    status = name_failed([failure["reason"] for failure in result["failed"]])
    warn_of(engine)
    console.emit(result, as_json=json, text=_in_words(result, verbose))
    return status


def _in_words(result: dict[str, Any], verbose: bool) -> str:
    outputs, failed = result["outputs"], result["failed"]
    facts = {**result, "notes": [], "failed": f"{len(failed)} files, named above" if failed else ""}
    if verbose:
        return console.facts({**facts, "outputs": ""}) + "\n" + "\n".join(outputs)
    if len(outputs) > _SHOWN:
        shown = ", ".join(outputs[:_SHOWN])
        facts["outputs"] = f"{shown} and {len(outputs) - _SHOWN} more (--verbose lists them)"
    return console.facts(facts)
