"""The commands that make engines: models, export, calibrate, build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from edgefsa import console
from edgefsa.commands.grouping import grouped
from edgefsa.commands.int8_options import MixtureOptions, SearchOptions
from edgefsa.commands.options import (
    DEFAULT_MODEL,
    INT8,
    TARGET,
    DataSpec,
    JsonFlag,
    NetworkOptions,
    Skip,
    options_from_text,
)
from edgefsa.errors import InputError


def models(json: JsonFlag = False) -> None:
    """List the models: family, parameters, MACs at the default size, trained weights or not.

    Example: edgefsa models
    """
    from edgefsa.models import list_models

    rows = [info.as_dict() for info in list_models()]
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


@grouped
def export(
    network: NetworkOptions,
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="A model of `edgefsa models`.")] = DEFAULT_MODEL,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The ONNX file to write.")] = Path(
        "model.onnx"
    ),
    json: JsonFlag = False,
) -> None:
    """Write a model as ONNX that takes camera frames and gives class masks.

    Example: edgefsa export fsanet-edge -o m.onnx --size 360x480
    """
    from edgefsa.build import export_model

    with console.progress("exporting") as progress:
        result = export_model(network.request(model), output, say=console.message, progress=progress)
    console.warn_if_random(result["weights"])
    console.emit(result, as_json=json, text=console.facts(result))


@grouped
def calibrate(
    further: MixtureOptions,
    onnx: Annotated[Path, typer.Argument(metavar="FILE", help="A float ONNX file of `edgefsa export`.")],
    data: DataSpec = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The ranges file to write.")] = Path(
        "ranges.json"
    ),
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="mse (the default), percentile (99.99), percentile-99.9, percentile-99.999, minmax or entropy.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many of the train split; 128, or what takes a minute at most."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file with data, method and frames.")
    ] = None,
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
    wanted = frames or (plan.frames if recipe else None)
    if plan.model != model:
        raise InputError(f"{recipe} is a recipe for {plan.model}, and {onnx} is {model}; take that model's recipe")
    with console.progress("calibrating") as progress:
        ranges = calibrate_onnx(
            onnx,
            data or plan.data,
            mixture=further.mixture(),
            method=method or plan.method,
            frames=wanted,
            say=console.message,
            progress=progress,
        )
    ranges.write(output)
    console.warn_if_random(metadata["weights"])
    result = {"ranges": str(output), "method": ranges.method, "data": ranges.data, "tensors": len(ranges.tensors)}
    console.emit(result, as_json=json, text=console.facts(result))


@dataclass(frozen=True)
class RangesOptions:
    """Where the activation ranges come from, what is not quantised, and how finely weights are."""

    ranges: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Ranges of `edgefsa calibrate`, for int8 and fp16.", rich_help_panel=INT8),
    ] = None
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Frames to prove the engine on, and to measure ranges on where there is no --ranges: folder:DIR, ...",
            rich_help_panel=INT8,
        ),
    ] = None
    skip: Skip = None
    weight_bits: Annotated[
        int | None,
        typer.Option(
            metavar="BITS",
            help="Bits of INT8 weights: 8, or 7 for CPUs without VNNI, AMX or dot products; by default by this CPU.",
            rich_help_panel=INT8,
        ),
    ] = None


# Options of the command line that targets know by the same name.
_TARGET_OPTIONS = (
    *("plugins", "provider", "serialize_plugins", "optimization_level", "strip_weights", "version_compatible"),
    *("hardware_compatible", "dla", "gpu_fallback"),
)


@dataclass(frozen=True)
class TargetSettings:
    """What only some targets take."""

    compute_capability: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="GPUs to build for (tensorrt-rtx), as 8.6,8.9.", rich_help_panel=TARGET),
    ] = None
    plugins: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="CUDA plugins (tensorrt): auto (the default), library, kernels (inside the engine) or none.",
            rich_help_panel=TARGET,
        ),
    ] = None
    serialize_plugins: Annotated[
        bool,
        typer.Option(
            "--serialize-plugins",
            help="Put the plugin library into a version-compatible plan (tensorrt). Whoever opens it must allow its "
            "code: EDGEFSA_ALLOW_HOST_CODE=1.",
            rich_help_panel=TARGET,
        ),
    ] = False
    workspace: Annotated[
        int | None,
        typer.Option(metavar="MB", help="The builder's workspace (tensorrt, tensorrt-rtx).", rich_help_panel=TARGET),
    ] = None
    optimization_level: Annotated[
        int | None,
        typer.Option(
            metavar="LEVEL",
            help="How much the builder tries, 0 to 5 (tensorrt, tensorrt-rtx): more takes longer.",
            rich_help_panel=TARGET,
        ),
    ] = None
    strip_weights: Annotated[
        bool,
        typer.Option(
            "--strip-weights",
            help="Leave the weights out of the plan (tensorrt, tensorrt-rtx): they come from the ONNX file beside it "
            "each time it is opened.",
            rich_help_panel=TARGET,
        ),
    ] = False
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="Let later versions of the same major TensorRT run the plan (tensorrt); its code must be allowed too.",
            rich_help_panel=TARGET,
        ),
    ] = False
    hardware_compatible: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL",
            help="Let other GPUs run the plan (tensorrt): ampere+, or same-capability.",
            rich_help_panel=TARGET,
        ),
    ] = None
    dla: Annotated[
        int | None,
        typer.Option(
            metavar="CORE", help="Run what it takes on this core of a Jetson's DLA (tensorrt).", rich_help_panel=TARGET
        ),
    ] = None
    gpu_fallback: Annotated[
        bool, typer.Option("--gpu-fallback", help="Run on the GPU what the DLA does not take.", rich_help_panel=TARGET)
    ] = False
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What runs the nodes (onnxruntime): cpu (the default), cuda or tensorrt-rtx.",
            rich_help_panel=TARGET,
        ),
    ] = None
    target_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A setting of the target, also of one that another package brings; repeatable.",
            rich_help_panel=TARGET,
        ),
    ] = None

    def of_target(self) -> dict[str, Any]:
        """Return the target's options by their names; only those that were given."""
        given = options_from_text(self.target_option or (), "--target-option")
        own = {"workspace_mb": self.workspace, **{name: getattr(self, name) for name in _TARGET_OPTIONS}}
        given |= {name: value for name, value in own.items() if value is not None and value is not False}
        if self.compute_capability is not None:
            parts = (part.strip() for part in self.compute_capability.split(","))
            given["compute_capabilities"] = tuple(part for part in parts if part)
        return given


@grouped
def build(
    network: NetworkOptions,
    quantisation: RangesOptions,
    search: SearchOptions,
    further: MixtureOptions,
    settings: TargetSettings,
    source: Annotated[
        str, typer.Argument(metavar="[MODEL|FILE]", help="A model's name, an .onnx file, or a checkpoint.")
    ] = DEFAULT_MODEL,
    precision: Annotated[str, typer.Option(metavar="NAME", help="fp32, fp16 or int8.")] = "int8",
    target: Annotated[
        str, typer.Option(metavar="NAME", help="auto, tensorrt, tensorrt-rtx, openvino or onnxruntime.")
    ] = "auto",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder that gets the engine.")
    ] = Path("engines"),
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Which model a checkpoint FILE belongs to.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an engine of the same name.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say of each target why it was not picked.")] = False,
    json: JsonFlag = False,
) -> None:
    """Build an engine and prove that its layers run in the precision that was asked for.

    Example: edgefsa build fsanet-edge --precision int8 -o engines/
    """
    from edgefsa.build import BuildRequest, build_from_request

    request = BuildRequest(
        source=source,
        model=network.request(model),
        precision=precision,
        target=target,
        output=output,
        ranges=quantisation.ranges,
        data=quantisation.data,
        mixture=further.mixture(),
        skip=tuple(quantisation.skip or ()),
        recipe=search.recipe,
        search=search.request(),
        weight_bits=quantisation.weight_bits,
        target_options=settings.of_target(),
        overwrite=overwrite,
    )
    with console.progress("building") as progress, console.progress("compiling") as compiling:
        result = build_from_request(request, say=console.message, progress=progress, compiling=compiling)
    console.warn_if_random(result["weights"])
    shown = {name: value for name, value in result.items() if name != "warnings"}  # they were said on the way
    if not verbose:
        shown["why"] = f"auto picked {result['target']}; --verbose says why" if target == "auto" else None
    console.emit(result, as_json=json, text=console.facts(shown))
