"""The commands that run an engine live: run and serve."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.grouping import grouped
from edgefsa.commands.options import EnginePaths, JsonFlag, OverlayOptions, SourceOptions, duration_from_text, warn_of

if TYPE_CHECKING:
    from edgefsa.segment import Segmenter

Duration = Annotated[str | None, typer.Option(metavar="TIME", help="Stop after so long: 30s, 10m, 1h.")]
