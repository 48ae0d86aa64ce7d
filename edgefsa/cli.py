"""The command line. Each command is thin: it reads options, calls the public API, and prints.

Nothing heavy is imported at the top, so that `edgefsa --help` answers at once and a command that only
runs an engine never loads torch or onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgefsa import console
from edgefsa.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

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


def _version(show: bool) -> None:
    if show:
        from edgefsa import __version__

        print(f"edgefsa {__version__}")
        raise typer.Exit


@app.callback()
def edgefsa(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """From a FsaNet or SPANet checkpoint to a real-time segmentation engine, with proof of its cost and its gain."""


@app.command()
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


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A model of `edgefsa models`.")] = DEFAULT_MODEL,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file to write.")] = Path("model.onnx"),
    checkpoint: Checkpoint = None,
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
        model, checkpoint, num_classes, console.size_from_text(size), batch, outputs, options, classes
    )
    with console.progress("exporting") as progress:
        result = export_model(request, output, say=console.message, progress=progress)
    console.warn_if_random(result["weights"])
    console.emit(result, as_json=json, text=console.facts(result))


@app.command()
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
    from edgefsa.export.graph import read_metadata
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


@app.command()
def build(
    source: Annotated[
        str, typer.Argument(metavar="[MODEL|FILE]", help="A model name, an .onnx file, or a checkpoint with --model.")
    ] = DEFAULT_MODEL,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "int8",
    target: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt-rtx.")] = "auto",
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that gets the engine.")] = Path("engines"),
    model: Annotated[str | None, typer.Option(help="Which model a checkpoint FILE belongs to.")] = None,
    checkpoint: Checkpoint = None,
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
        model=ModelRequest(model, checkpoint, num_classes, size_hw, batch, outputs, options, classes),
        precision=precision,
        target=target,
        output=output,
        ranges=ranges,
        data=data,
        skip=tuple(skip or ()),
        compute_capabilities=tuple(part.strip() for part in (compute_capability or "").split(",") if part.strip()),
        overwrite=overwrite,
    )
    with console.progress("building") as progress:
        result = build_from_request(request, say=console.message, progress=progress)
    console.warn_if_random(result["weights"])
    console.emit(result, as_json=json, text=console.facts(result))


@app.command()
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
    _warn_of(engine)
    console.emit(result, as_json=json, text=console.facts(result))


@app.command("eval")
def evaluate(
    engine: EnginePath,
    data: DataSpec = "synthetic",
    split: Annotated[str, typer.Option(help="train or val.")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many frames.")] = None,
    json: JsonFlag = False,
) -> None:
    """Measure an engine's accuracy on labelled frames: mIoU, pixel accuracy, IoU per class.

    Example: edgefsa eval engines/fsanet-edge-openvino-int8-360x480 --data camvid:data/camvid --split val
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.segment import Segmenter
    from edgefsa.verify.accuracy import evaluate as evaluate_frames

    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    with Segmenter(engine) as segmenter, console.progress("evaluating") as progress:
        report = evaluate_frames(segmenter, dataset, progress=progress)
    _warn_of(engine)
    result = report.as_dict()
    rows = [[name, "-" if iou is None else f"{100 * iou:.1f}"] for name, iou in result["per_class_iou"].items()]
    text = console.table(["class", "IoU %"], rows)
    text += f"\n\nmIoU {100 * result['miou']:.2f} %, pixel accuracy {100 * result['pixel_accuracy']:.2f} %"
    console.emit(result, as_json=json, text=text + f", {result['frames']} frames of {dataset.name}")


@app.command()
def bench(
    engines: Annotated[list[Path], typer.Argument(help="Engine directories; they take turns.")],
    rounds: Annotated[int, typer.Option(min=1)] = 100,
    warmup: Annotated[int, typer.Option(min=0)] = 10,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    json: JsonFlag = False,
) -> None:
    """Measure latency, engines in turn: engine time, and frame-to-mask time with resizing and copies.

    Example: edgefsa bench engines/*
    """
    from edgefsa.verify.latency import bench_engines

    with console.progress("rounds") as progress:
        results = bench_engines(engines, rounds=rounds, warmup=warmup, threads=threads, progress=progress)
    for engine in engines:
        _warn_of(engine)
    rows = []
    for row in results:
        for label, key, rate in (("engine", "latency_ms", "engine_fps"), ("frame to mask", "frame_to_mask_ms", "fps")):
            figures = [f"{row[key][name]:.2f}" for name in ("min", "median", "p95", "p99")]
            name = Path(row["engine"]).name if key == "latency_ms" else ""
            rows.append([name, label, str(row["batch"]), *figures, f"{row[rate]:.1f}"])
    text = console.table(["engine", "time (ms)", "batch", "min", "median", "p95", "p99", "fps"], rows)
    console.emit(results, as_json=json, text=text)


@app.command()
def report(
    engines: Annotated[list[Path], typer.Argument(help="Engine directories; changes are told against the first.")],
    data: DataSpec = None,
    split: Annotated[str, typer.Option(help="train or val.")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many frames.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder that gets the report.")] = Path("report"),
    json: JsonFlag = False,
) -> None:
    """Measure accuracy and latency of several engines and write a page about them (HTML, Markdown, JSON).

    Example: edgefsa report engines/* --data camvid:data/camvid -o report/
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.report import report_on_engines

    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    with console.progress("measuring") as progress:
        found = report_on_engines(engines, dataset, progress=lambda _, done, total: progress(done, total))
    files = [str(path) for path in found.write(output)]
    for engine in engines:
        _warn_of(engine)
    console.emit({**found.as_dict(), "files": files}, as_json=json, text=found.markdown() + "\n" + "\n".join(files))


@app.command()
def parity(
    engine: EnginePath,
    data: DataSpec = None,
    checkpoint: Checkpoint = None,
    limit: Annotated[int, typer.Option(min=1, help="How many frames.")] = 16,
    json: JsonFlag = False,
) -> None:
    """Compare an engine with the PyTorch model it came from, stage by stage.

    Example: edgefsa parity engines/fsanet-edge-openvino-int8-360x480
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.parity import parity as compare

    dataset = open_dataset(data or "synthetic", split="val", limit=limit)
    with console.progress("comparing") as progress:
        report = compare(engine, checkpoint=checkpoint, dataset=dataset, limit=limit, progress=progress)
    _warn_of(engine)
    result = report.as_dict()
    rows = [
        [stage["stage"], f"{100 * stage['argmax_agreement']:.3f}%", f"{stage['relative_l2']:.2e}"]
        for stage in result["stages"]
    ]
    text = console.table(["stage", "same class as PyTorch", "relative L2 of logits"], rows)
    console.emit(result, as_json=json, text=text + f"\n\n{result['frames']} frames of {dataset.name}")


@app.command()
def inspect(engine: EnginePath, json: JsonFlag = False) -> None:
    """Show an engine's manifest and what precision each layer runs in.

    Example: edgefsa inspect engines/fsanet-edge-openvino-int8-360x480
    """
    from edgefsa.engines import inspect_engine

    result = inspect_engine(engine)
    console.warn_if_random(result["manifest"]["model"].get("weights", {}))
    rows = [[layer["name"], layer["kind"], layer["precision"], layer["detail"]] for layer in result["layers"]]
    head = console.facts(result["summary"])
    console.emit(result, as_json=json, text=head + "\n\n" + console.table(["layer", "kind", "runs in", "detail"], rows))


@app.command()
def doctor(json: JsonFlag = False) -> None:
    """Say what this machine can do: usable targets or why not, versions, CPU features, GPU, Jetson.

    Example: edgefsa doctor
    """
    from edgefsa.deploy.doctor import doctor as examine
    from edgefsa.deploy.doctor import doctor_text

    result = examine()
    console.emit(result, as_json=json, text=doctor_text(result))


def _warn_of(engine: Path) -> None:
    from edgefsa.artifacts import Manifest

    weights: dict[str, Any] = Manifest.read(engine).model.get("weights", {})
    console.warn_if_random(weights)


def main() -> None:
    """Run the command line (the `edgefsa` program)."""
    console.run(lambda: app(standalone_mode=False))


if __name__ == "__main__":
    main()
