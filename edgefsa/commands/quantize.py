"""The commands about INT8: analyse."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefsa import console
from edgefsa.commands.int8_options import SEARCH_FRAMES, SEARCH_SPLIT, SearchFrames, SearchSplit
from edgefsa.commands.options import (
    INT8,
    DataSpec,
    JsonFlag,
    Skip,
)

if TYPE_CHECKING:
    from edgefsa.verify.sensitivity import Analysis, BlockCost

app = typer.Typer(no_args_is_help=True, help="Look into what INT8 costs a network and gains it.")


@app.callback()
def quantize() -> None:
    """Look into what INT8 costs a network and gains it."""


@app.command()
def analyse(
    onnx: Annotated[Path, typer.Argument(metavar="FILE", help="A float ONNX file of `edgefsa export`.")],
    data: DataSpec = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="auto, tensorrt, openvino or onnxruntime: what runs on this machine.")
    ] = "auto",
    ranges: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ranges of `edgefsa calibrate`; else measured on --data, or those shipped.",
            rich_help_panel=INT8,
        ),
    ] = None,
    skip: Skip = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="N",
            help="Build and measure so many engines at most, for the noisiest blocks first; by default two a block.",
        ),
    ] = None,
    search_split: SearchSplit = SEARCH_SPLIT,
    search_frames: SearchFrames = SEARCH_FRAMES,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder that gets the ranking.")
    ] = Path("sensitivity"),
    json: JsonFlag = False,
) -> None:
    """Rank the blocks of a network by what INT8 costs them, with the time that it gains them on a target.

    Each block is quantised alone, and left in float alone; measured are mIoU, the logits' signal-to-noise ratio and
    milliseconds. What is interrupted goes on where it stopped.

    Example: edgefsa quantize analyse m.onnx --data camvid:data/camvid -o sensitivity/
    """
    from edgefsa.artifacts import write_json
    from edgefsa.build import BuildRequest, ModelRequest, SearchRequest
    from edgefsa.int8_search import bench_from_request
    from edgefsa.verify.sensitivity import analyse as rank

    figure = importlib.import_module("edgefsa.verify.sensitivity.figure")  # matplotlib may be missing: said at once
    request = BuildRequest(
        source=str(onnx),
        model=ModelRequest(),
        precision="int8",
        target=target,
        output=output,
        ranges=ranges,
        data=data,
        skip=tuple(skip or ()),
        search=SearchRequest(split=search_split, frames=search_frames),
    )
    with bench_from_request(request, say=console.message) as bench, console.progress("measuring") as progress:
        found = rank(bench, budget=budget, say=console.message, progress=progress)
    console.warn_if_random(bench.settings.graph.metadata["weights"])
    files = [str(write_json(output / "ranking.json", found.as_dict()))]
    files.append(str(figure.draw_ranking(found, output / "ranking.png")))
    text = f"{_text(found)}\n\n" + "\n".join(files)
    console.emit({**found.as_dict(), "files": files}, as_json=json, text=text)


_HEAD = ("block", "MACs %", "SNR dB", "without it", "mIoU lost", "regained", "ms gained", "+-", "")


def _text(found: Analysis) -> str:
    whole = {
        "float": f"{found.float_miou:.2f} % mIoU, {found.float_ms:.3f} ms",
        "INT8": f"{found.int8_miou:.2f} % mIoU, {found.int8_ms:.3f} ms, logits {found.snr_db:.1f} dB",
        "judged by": f"{found.truth}, split {found.split} of {found.data}",
        "on": f"{found.target}, where what is not INT8 runs in {found.rest}",
    }
    return f"{console.facts(whole)}\n\n{console.table(_HEAD, [_row(block) for block in found.blocks])}"


def _row(block: BlockCost) -> list[str]:
    timed = (block.lost, block.regained, block.gained_ms, block.noise_ms)
    shown = ["-" if value is None else f"{value:.{digits}f}" for value, digits in zip(timed, (2, 2, 3, 3), strict=True)]
    noise = [f"{block.snr_db:.1f}", f"{block.snr_without_db:.1f}"]
    return [block.name, f"{100 * block.macs_share:.1f}", *noise, *shown, block.verdict]
