"""The options that several commands share, each said once: its name, its help, and how its text is read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefsa import console
from edgefsa.errors import InputError
from edgefsa.metadata import Batches

if TYPE_CHECKING:
    from edgefsa.build import ModelRequest
    from edgefsa.data.readers import Dataset
    from edgefsa.segment import OverlayStyle
    from edgefsa.segment.sources import SourceOptions

# Exit statuses.
SOME_FILES_FAILED = 1
BEYOND_BOUND = 3  # a gate did not pass: worse than the baseline, or a stage that parts from the one before
DEFAULT_MODEL = "fsanet-edge"
DEFAULT_FIT = "letterbox"
# Headings in --help.
NETWORK, INT8, TARGET, DATA = "Network", "INT8 and ranges", "Target", "Data"
PICTURES, SOURCE, OVERLAY, GATE = "Pictures", "Source", "Overlay", "Gate"

JsonFlag = Annotated[
    bool, typer.Option("--json", callback=console.for_a_program, help="Print one JSON value on standard output.")
]
EnginePath = Annotated[
    Path, typer.Argument(metavar="ENGINE", help="An engine directory made by `edgefsa build`.", show_default=False)
]
EnginePaths = Annotated[
    list[Path], typer.Argument(metavar="ENGINE...", help="Engine directories; the first is what others are held to.")
]
SourceSpec = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="An image, a folder, a pattern like 'frames/*.png', a video, camera:0, csi://0, gst:PIPELINE, rtsp://..., "
        "http://... or synthetic[:SEED].",
        show_default=False,
    ),
]
DataSpec = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="camvid:DIR, cityscapes:DIR, folder:DIR, images:DIR or synthetic[:SEED].",
        rich_help_panel=DATA,
    ),
]
Split = Annotated[str, typer.Option(metavar="NAME", help="train, val, test or a folder's name.", rich_help_panel=DATA)]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only so many frames.", rich_help_panel=DATA)]
Checkpoint = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights: a .safetensors, .pth or .pt file.", rich_help_panel=NETWORK),
]
SizeText = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="HxW",
        help="Height and width in pixels, as 360x480.",
        rich_help_panel=NETWORK,
    ),
]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="A setting of the model, as recurrence=2 or form=ccnet; repeatable.",
        rich_help_panel=NETWORK,
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Nodes to leave in float, by name; repeatable.", rich_help_panel=INT8),
]

Orientation = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="exif turns pictures upright as their files say, raw takes the pixels as they are stored.",
        rich_help_panel=PICTURES,
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=16,
        metavar="N",
        help="Bits a value that 16-bit pictures use; guessed from the largest by default.",
        rich_help_panel=PICTURES,
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Which of several sets of weights in a checkpoint: model_ema, ema.module, ...",
        rich_help_panel=NETWORK,
    ),
]


@dataclass(frozen=True)
class NetworkOptions:
    """The network that is exported: its weights, its settings, its shape."""

    checkpoint: Checkpoint = None
    weights_key: WeightsKey = None
    option: ModelOptions = None
    num_classes: Annotated[
        int | None,
        typer.Option(min=2, max=255, metavar="N", help="How many classes there are.", rich_help_panel=NETWORK),
    ] = None
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Class names, one a line in the order of indices.", rich_help_panel=NETWORK),
    ] = None
    size: SizeText = None
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|MIN:OPT:MAX",
            help="Frames that one run takes, or the fewest, the usual number and the most, as 1:4:8.",
            rich_help_panel=NETWORK,
        ),
    ] = "1"
    outputs: Annotated[str, typer.Option(metavar="KIND", help="masks or logits.", rich_help_panel=NETWORK)] = "masks"
    fit: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="How frames of another shape meet the size: stretch, letterbox or crop; stored with the model.",
            rich_help_panel=NETWORK,
        ),
    ] = DEFAULT_FIT
    equalise: Annotated[
        bool,
        typer.Option(
            "--equalise",
            help="Rescale channels between convolutions, for networks whose INT8 suffers from a few large ones.",
            rich_help_panel=NETWORK,
        ),
    ] = False

    def request(self, model: str | None) -> ModelRequest:
        """Return the request of a network by name; InputError where an option cannot be read."""
        from edgefsa.build import ModelRequest

        return ModelRequest(
            name=model,
            checkpoint=self.checkpoint,
            num_classes=self.num_classes,
            size_hw=size_from_text(self.size),
            batch=batch_from_text(self.batch),
            outputs=self.outputs,
            options=options_from_text(self.option or ()),
            classes=self.classes,
            weights_key=self.weights_key,
            fit=self.fit,
            equalise=self.equalise,
        )


@dataclass(frozen=True)
class OverlayFlags:
    """How masks are drawn over frames."""

    alpha: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How strongly the mask covers the frame.", rich_help_panel=OVERLAY),
    ] = 0.5
    legend: Annotated[bool, typer.Option(help="Draw the classes that are present.", rich_help_panel=OVERLAY)] = True
    contours: Annotated[bool, typer.Option(help="Draw the borders between classes.", rich_help_panel=OVERLAY)] = True
    figures: Annotated[
        bool, typer.Option(help="Draw a live run's rate, latency and engine.", rich_help_panel=OVERLAY)
    ] = True

    def style(self) -> OverlayStyle:
        """Return them as sinks take them."""
        from edgefsa.segment import OverlayStyle

        return OverlayStyle(alpha=self.alpha, legend=self.legend, contours=self.contours, figures=self.figures)


@dataclass(frozen=True)
class SourceFlags:
    """How the source of frames is played, and what is asked of a camera."""

    loop: Annotated[bool, typer.Option("--loop", help="Play files again and again.", rich_help_panel=SOURCE)] = False
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="FPS",
            help="Play files as a camera of so many frames a second would: what comes while the engine is busy is "
            "dropped. Without it every frame is taken.",
            rich_help_panel=SOURCE,
        ),
    ] = None
    flip: Annotated[
        str | None,
        typer.Option(
            metavar="HOW", help="Mirror frames: h left and right, v top and bottom, 180 both.", rich_help_panel=SOURCE
        ),
    ] = None
    skip: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Leave out N frames after each one taken: 1 takes every other frame.",
            rich_help_panel=SOURCE,
        ),
    ] = 0
    camera_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Width and height to ask a camera for, as 1280x720.", rich_help_panel=SOURCE),
    ] = None
    camera_fps: Annotated[
        float | None,
        typer.Option(metavar="FPS", help="Frames a second to ask a camera for.", rich_help_panel=SOURCE),
    ] = None
    camera_format: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="Pixels to ask a camera for: MJPG (many USB cameras reach their full rate with it alone), YUYV, ...",
            rich_help_panel=SOURCE,
        ),
    ] = None
    orientation: Orientation = "exif"
    bits: Bits = None

    def options(self) -> SourceOptions:
        """Return them as `open_source` takes them; InputError where one cannot be used."""
        from edgefsa.segment.sources import SourceOptions

        return SourceOptions(
            loop=self.loop,
            rate=self.rate,
            flip=self.flip,
            skip=self.skip,
            camera_size_hw=camera_size_from_text(self.camera_size),
            camera_fps=self.camera_fps,
            camera_format=self.camera_format,
            orientation=self.orientation,
            bits=self.bits,
        )


def camera_size_from_text(text: str | None) -> tuple[int, int] | None:
    """Read "WIDTHxHEIGHT" in pixels, as cameras are sold, and return (height, width); None stays None."""
    if text is None:
        return None
    width, cross, height = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit()) or int(height) == 0 or int(width) == 0:
        raise InputError(f"--camera-size {text} is not WIDTHxHEIGHT in pixels above 0; write for instance 1280x720")
    return int(height), int(width)


def size_from_text(text: str | None) -> tuple[int, int] | None:
    """Read "HEIGHTxWIDTH" in pixels, for instance 360x480; None stays None."""
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit()) or int(height) == 0 or int(width) == 0:
        raise InputError(f"--size {text} is not HEIGHTxWIDTH in pixels above 0; write for instance --size 360x480")
    return int(height), int(width)


def batch_from_text(text: str) -> int | Batches:
    """Read a number of frames a run, "4", or the fewest, the usual number and the most, "1:4:8"."""
    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"--batch {text} is no number of frames, nor three; write for instance 4, or 1:4:8")
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else Batches(*numbers)


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def duration_from_text(text: str | None) -> float | None:
    """Read a time as 90, 90s, 10m or 1.5h, in seconds; None stays None."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError(f"--duration {text} is no time above 0; write for instance 30s, 10m or 1h")
    return seconds


def options_from_text(pairs: Sequence[str], flag: str = "--option") -> dict[str, Any]:
    """Read "NAME=VALUE" pairs of `flag`; a value is JSON (2, true, [0, 8, 0, 8]), or else the text itself."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals and text):
            raise InputError(f"{flag} {pair} is not NAME=VALUE; write for instance {flag} recurrence=2")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def warn_of(*engines: Path) -> None:
    """Say on standard error which engines' weights are random, where they are."""
    from edgefsa.artifacts import Manifest

    for engine in engines:
        console.warn_if_random(Manifest.read(engine).model.get("weights", {}))


def note_data(dataset: Dataset) -> None:
    """Say on standard error what was guessed of a data set that is evaluated on."""
    for note in (*dataset.notes, *dataset.split_notes):
        console.message(f"note: {note}")


def name_failed(reasons: Sequence[str]) -> int:
    """Name the files that could not be read on standard error, by the reasons why; return the exit status."""
    for reason in reasons:
        console.message(f"failed: {reason}")
    return SOME_FILES_FAILED if reasons else 0
