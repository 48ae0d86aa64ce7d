"""The command that takes models of other tools: adopt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.grouping import grouped
from edgefsa.commands.options import DEFAULT_FIT, NETWORK, DataSpec, JsonFlag, SizeText, size_from_text
from edgefsa.errors import InputError

if TYPE_CHECKING:
    from edgefsa.media.tensors import InputForm

_INPUT, _PLAN = "Input", "Plan"


@dataclass(frozen=True)
class InputOptions:
    """How camera frames become the network's input: (pixel / divisor - mean) / std."""

    layout: Annotated[str, typer.Option(metavar="NAME", help="nchw or nhwc.", rich_help_panel=_INPUT)] = "nchw"
    dtype: Annotated[
        str,
        typer.Option(metavar="NAME", help="float32, float16, or uint8: pixels as they are.", rich_help_panel=_INPUT),
    ] = "float32"
    colours: Annotated[
        str, typer.Option(metavar="ORDER", help="rgb or bgr; mean and std are in it too.", rich_help_panel=_INPUT)
    ] = "rgb"
    divisor: Annotated[
        float | None,
        typer.Option(metavar="N", help="What pixels, 0 to 255, are divided by first; 255.", rich_help_panel=_INPUT),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Taken off then, as 0.485,0.456,0.406; 0.", rich_help_panel=_INPUT),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Divided by last, as 0.229,0.224,0.225; 1.", rich_help_panel=_INPUT),
    ] = None

    def form(self) -> InputForm:
        """Return them as the input's form; InputError where one cannot be used."""
        from edgefsa.media.tensors import InputForm

        divisor = self.divisor if self.divisor is not None else 1.0 if self.dtype == "uint8" else 255.0
        mean, std = _three(self.mean, "--mean", 0.0), _three(self.std, "--std", 1.0)
        return InputForm(self.layout, self.dtype, self.colours, divisor, mean, std)


def _three(text: str | None, flag: str, default: float) -> tuple[float, float, float]:
    """Read "A,B,C", or one number for all three."""
    if text is None:
        return default, default, default
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3):
        raise InputError(f"{flag} {text} is not three numbers with commas; write for instance {flag} 0.485,0.456,0.406")
    return (values[0], values[1], values[2]) if len(values) == 3 else (values[0],) * 3  # type: ignore[return-value]


@grouped
def adopt(
    form: InputOptions,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A plan of trtexec, an .engine of Ultralytics, or an .onnx file.", show_default=False
        ),
    ],
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Class names, one a line in the order of indices.", rich_help_panel=NETWORK),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(min=2, max=255, metavar="N", help="How many, where they have no names.", rich_help_panel=NETWORK),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's; by default the file's.", rich_help_panel=NETWORK)
    ] = None,
    size: SizeText = None,
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Frames that one run takes; 1.", rich_help_panel=NETWORK)
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="What a plan gives (by default logits), or an ONNX file is to give (by default masks).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    output_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which output of an ONNX file.", rich_help_panel=NETWORK)
    ] = None,
    fit: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="How frames of another shape meet the size: stretch, letterbox or crop.",
            rich_help_panel=NETWORK,
        ),
    ] = DEFAULT_FIT,
    onnx: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The ONNX file that the plan was made of: it is held against that.",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    layer_info: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="trtexec's --exportLayerInfo of the plan.", rich_help_panel=_PLAN),
    ] = None,
    data: DataSpec = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PATH", help="The folder of the engine, or the ONNX file to write."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an engine of the same name.")] = False,
    json: JsonFlag = False,
) -> None:
    """Take a segmentation model of another tool: a TensorRT plan becomes an engine, an ONNX file one to build from.

    Example: edgefsa adopt model.onnx --classes names.txt --size 512x1024 --mean 0.485,0.456,0.406 --std 0.229
    """
    from edgefsa.adopt import AdoptRequest, adopt_onnx

    if outputs not in (None, "masks", "logits"):
        raise InputError(f"--outputs {outputs} is unknown; use masks or logits")
    given = AdoptRequest(
        form.form(), name, classes, num_classes, size_from_text(size), batch, outputs, output_name, fit
    )
    if file.suffix.lower() == ".onnx":
        for flag, value in (("--onnx", onnx), ("--layer-info", layer_info), ("--data", data)):
            if value is not None:
                raise InputError(f"{flag} {value} is for plans, and {file} is an ONNX file; leave it out")
        result = adopt_onnx(file, given, output or Path(f"{file.stem}-adopted.onnx"))
    else:
        result = _plan(file, given, output or Path("engines"), onnx, layer_info, data, overwrite)
    console.emit(result, as_json=json, text=console.facts(result))


def _plan(
    file: Path,
    given: Any,
    output: Path,
    onnx: Path | None,
    layer_info: Path | None,
    data: str | None,
    overwrite: bool,
) -> dict[str, Any]:
    from edgefsa.adopt import adopt_plan
    from edgefsa.build import frames_for_proof
    from edgefsa.engines.tensorrt.layer_times import read_layer_info

    if data is not None and onnx is None:
        raise InputError(f"--data {data} is what a plan and its ONNX file are compared on; give that with --onnx")
    layers = None if layer_info is None else read_layer_info(layer_info)
    frames = None if data is None else lambda metadata: frames_for_proof(data, metadata)
    return adopt_plan(file, given, output, onnx=onnx, layers=layers, frames=frames, overwrite=overwrite)
