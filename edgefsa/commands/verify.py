"""The commands that measure engines: eval, report, parity, inspect."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from edgefsa import console
from edgefsa.commands.options import (
    Checkpoint,
    DataSpec,
    EnginePath,
    EnginePaths,
    JsonFlag,
    Limit,
    Split,
    WeightsKey,
    name_failed,
    note_data,
    warn_of,
)

PARTED = 3  # the exit status where a stage of `parity` is beyond its bound


def evaluate(
    engine: EnginePath,
    data: DataSpec = "synthetic",
    split: Split = "val",
    limit: Limit = None,
    json: JsonFlag = False,
) -> int:
    """Measure an engine's accuracy on labelled frames: mIoU, pixel accuracy, IoU per class.

    A file that cannot be read is left out and named, and the exit status is 1.

    Example: edgefsa eval engines/fsanet-edge-openvino-int8-360x480 --data camvid:data/camvid --split val
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.segment import Segmenter
    from edgefsa.verify.accuracy import evaluate as evaluate_frames

    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    note_data(dataset)
    with Segmenter(engine) as segmenter, console.progress("evaluating") as progress:
        report = evaluate_frames(segmenter, dataset, progress=progress)
    warn_of(engine)
    for note in report.notes:
        console.message(f"note: {note}")
    result = report.as_dict()
    rows = [[name, "-" if iou is None else f"{100 * iou:.1f}"] for name, iou in result["per_class_iou"].items()]
    text = console.table(["class", "IoU %"], rows)
    text += f"\n\nmIoU {100 * result['miou']:.2f} %, pixel accuracy {100 * result['pixel_accuracy']:.2f} %"
    console.emit(result, as_json=json, text=text + f", {result['frames']} frames of {dataset.name}, split {split}")
    return name_failed(report.unreadable)


def report(
    engines: EnginePaths,
    data: DataSpec = None,
    split: Split = "val",
    limit: Limit = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder that gets the report.")
    ] = Path("report"),
    json: JsonFlag = False,
) -> int:
    """Measure accuracy and latency of several engines and write a page about them (HTML, Markdown, JSON).

    Example: edgefsa report engines/* --data camvid:data/camvid -o report/
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.report import report_on_engines

    # What it draws with may be missing: that is said before the measuring, not after it.
    importlib.import_module("edgefsa.verify.report_page")

    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    note_data(dataset)
    with console.progress("measuring") as progress:
        found = report_on_engines(engines, dataset, progress=lambda _, done, total: progress(done, total))
    files = [str(path) for path in found.write(output)]
    warn_of(*engines)
    console.emit({**found.as_dict(), "files": files}, as_json=json, text=found.markdown() + "\n" + "\n".join(files))
    measured = [engine.accuracy for engine in found.engines if engine.accuracy is not None]
    for note in dict.fromkeys(note for accuracy in measured for note in accuracy.notes):
        console.message(f"note: {note}")
    return name_failed(measured[0].unreadable if measured else ())


def parity(
    engine: EnginePath,
    data: DataSpec = None,
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    split: Split = "val",
    limit: Limit = 16,
    first: Annotated[
        str,
        typer.Option(
            metavar="STAGE", help="The first: module (PyTorch), onnx, or auto: the module where its weights are here."
        ),
    ] = "auto",
    heatmap: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures of where masks disagree into this folder.")
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Compare an engine with all that it was made from, stage by stage, and name the first that parts, and its block.

    Stages: checkpoint, PyTorch module, ONNX, bodies inlined, converted, engine. The exit status is 3 where one is
    beyond its bound, and 1 where a file could not be read.

    Example: edgefsa parity engines/fsanet-edge-openvino-int8-360x480 --data camvid:data/camvid
    """
    from edgefsa.commands.parity_text import parity_text
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.parity import parity as compare

    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    note_data(dataset)
    with console.progress("comparing") as progress:
        found = compare(
            engine,
            checkpoint=checkpoint,
            weights_key=weights_key,
            dataset=dataset,
            first=first,
            chosen_data=data is not None,
            heatmaps=heatmap,
            progress=progress,
        )
    warn_of(engine)
    console.emit(found.as_dict(), as_json=json, text=f"{parity_text(found)}\n{found.frames} frames of {dataset.name}")
    for note in found.notes:
        console.message(f"note: {note}")
    failed = name_failed(found.unreadable)
    return failed if found.passed else PARTED


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
