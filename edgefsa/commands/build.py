"""The commands that make engines: models, export, calibrate, build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import (
    DEFAULT_MODEL,
    Checkpoint,
    Classes,
    DataSpec,
    JsonFlag,
    Options,
    SizeText,
    WeightsKey,
)
from edgefsa.errors import InputError


def models(json: JsonFlag = False) -> None:
    """List the models: family, parameters, MACs at the default size, trained weights or not.

    Example: edgefsa models
    """
    from edgefsa.models import list_models

    with console.progress("counting") as progress:
        rows = [info.as_dict() for info in list_models(progress=progress)]
    text = console.table(
        ["model", "family", "params (M)", "GMACs", "size", "weights"],
        [
            [
                row["name"],
                row["family"],
                f"{row['params'] / 1e6:.2f}",
                f"{row['macs'] / 1e9:.2f}",
                "{}x{}".format(*row["size_hw"]),
                "trained" if row["trained"] else "random",
            ]
            for row in rows
        ],
    )
    console.emit(rows, as_json=json, text=text)


def export(
    model: Annotated[str, typer.Argument(help="A model of `edgefsa models`.")] = DEFAULT_MODEL,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.")] = Path("model.onnx"),
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    size: SizeText = None,
    num_classes: Annotated[int | None, typer.Option(min=2, max=255)] = None,
    batch: Annotated[int, typer.Option(min=1)] = 1,
    option: Options = None,
    classes: Classes = None,
    outputs: Annotated[str, typer.Option(help="masks or logits.")] = "masks",
    json: JsonFlag = False,
) -> None:
    """Write a model as ONNX that takes camera frames and gives class masks.

    Example: edgefsa export fsanet-edge -o m.onnx --size 360x480
    """
    from edgefsa.build import ModelRequest, export_model

    options = console.options_from_text(option or ())
    request = ModelRequest(
        model, checkpoint, num_classes, console.size_from_text(size), batch, outputs, options, classes, weights_key
    )
    with console.progress("exporting") as progress:
        result = export_model(request, output, say=console.message, progress=progress)
    console.warn_if_random(result["weights"])
    console.emit(result, as_json=json, text=console.facts(result))


def calibrate(
    onnx: Annotated[Path, typer.Argument(help="A float ONNX file of `edgefsa export`.")],
    data: DataSpec = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ranges file to write.")] = Path("ranges.json"),
    method: Annotated[str | None, typer.Option(help="percentile (the default), minmax, entropy or mse.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="How many frames, evenly spread over the train split; 128 by default.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A TOML file that says data, method and frames.")] = None,
    json: JsonFlag = False,
) -> None:
    """Measure activation ranges on frames and write them as JSON that people can read and edit.

    Example: edgefsa calibrate m.onnx --data camvid:data/camvid -o ranges.json
    """
    from edgefsa.build import calibrate_onnx
    from edgefsa.graph.files import read_metadata
    from edgefsa.quantize import Recipe, read_recipe

    metadata = read_metadata(onnx)
    model = metadata["model"]
    plan = read_recipe(recipe) if recipe else Recipe(model, data="synthetic")
    if plan.model != model:
        raise InputError(f"{recipe} is a recipe for {plan.model}, and {onnx} is {model}; take that model's recipe")
    with console.progress("calibrating") as progress:
        ranges = calibrate_onnx(
            onnx, data or plan.data, method=method or plan.method, frames=frames or plan.frames, progress=progress
        )
    ranges.write(output)
    console.warn_if_random(metadata["weights"])
    result = {"ranges": str(output), "method": ranges.method, "data": ranges.data, "tensors": len(ranges.tensors)}
    console.emit(result, as_json=json, text=console.facts(result))


def build(
    source: Annotated[
        str, typer.Argument(metavar="[MODEL|FILE]", help="A model name, an .onnx file, or a checkpoint with --model.")
    ] = DEFAULT_MODEL,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "int8",
    target: Annotated[str, typer.Option(help="auto, tensorrt, tensorrt-rtx, openvino or onnxruntime.")] = "auto",
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that gets the engine.")] = Path("engines"),
    model: Annotated[str | None, typer.Option(help="Which model a checkpoint FILE belongs to.")] = None,
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    ranges: Annotated[Path | None, typer.Option(help="Ranges of `edgefsa calibrate`, for int8 and fp16.")] = None,
    data: DataSpec = None,
    size: SizeText = None,
    num_classes: Annotated[int | None, typer.Option(min=2, max=255)] = None,
    batch: Annotated[int, typer.Option(min=1)] = 1,
    option: Options = None,
    classes: Classes = None,
    outputs: Annotated[str, typer.Option(help="masks or logits.")] = "masks",
    skip: Annotated[list[str] | None, typer.Option(help="Node name pattern to leave in float; repeatable.")] = None,
    compute_capability: Annotated[
        str | None, typer.Option(help="GPUs to build for, for instance 8.6,8.9 (tensorrt-rtx).")
    ] = None,
    plugins: Annotated[
        str, typer.Option(help="CUDA plugins of an engine of tensorrt: auto, library, kernels (inside it) or none.")
    ] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an engine of the same name.")] = False,
    json: JsonFlag = False,
) -> None:
    """Build an engine and prove that its layers run in the precision that was asked for.

    Example: edgefsa build fsanet-edge --precision int8 -o engines/
    """
    from edgefsa.build import BuildRequest, ModelRequest, build_from_request

    options, size_hw = console.options_from_text(option or ()), console.size_from_text(size)
    request = BuildRequest(
        source=source,
        model=ModelRequest(model, checkpoint, num_classes, size_hw, batch, outputs, options, classes, weights_key),
        precision=precision,
        target=target,
        output=output,
        ranges=ranges,
        data=data,
        skip=tuple(skip or ()),
        compute_capabilities=tuple(part.strip() for part in (compute_capability or "").split(",") if part.strip()),
        plugins=plugins,
        overwrite=overwrite,
    )
    with console.progress("building") as progress:
        result = build_from_request(request, say=console.message, progress=progress)
    console.warn_if_random(result["weights"])
    console.emit(result, as_json=json, text=console.facts(result))
