"""The command that checks a machine as a whole: selftest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import SOME_FILES_FAILED, JsonFlag


def selftest(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE|DIR]",
            help="An ONNX file, or an engine that holds one; without it fsanet-edge is exported, which needs torch.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The JSON file to write, and to send back.")
    ] = Path("selftest.json"),
    minutes: Annotated[float, typer.Option(min=0.1, metavar="N", help="How long it may take altogether.")] = 10.0,
    json: JsonFlag = False,
) -> int:
    """Check on this machine what only hardware can show: build, prove and time engines, try plugins, cameras, the view.

    Writes one JSON file without names, serial numbers, pictures or passwords. What fails or is missing here is said in
    it, and does not stop the rest. Exit status 1 where a step failed.

    Example: edgefsa selftest m.onnx -o board.json
    """
    from edgefsa.deploy.selftest import selftest as check

    record = check(output, source=source, minutes=minutes, say=console.message)
    text = console.table(
        ["step", "outcome", "seconds", "why"],
        [[row["name"], row["status"], f"{row['seconds']:.1f}", row["reason"] or ""] for row in record["steps"]],
    )
    console.emit(record, as_json=json, text=f"{text}\n\nwritten to {output}")
    return SOME_FILES_FAILED if record["failed"] else 0
