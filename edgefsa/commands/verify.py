"""The commands that measure: eval, bench, report, parity, inspect."""

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


def bench(
    engines: EnginePaths,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How often each engine is timed.")] = 100,
    warmup: Annotated[int, typer.Option(min=0, metavar="N", help="Rounds before them that do not count.")] = 10,
    seconds: Annotated[
        float, typer.Option(min=0.0, metavar="S", help="Go on for so long, where N rounds take less.")
    ] = 0.0,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads of a run; else all.")] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, metavar="N", help="Above 1 also measures throughput with N runs under way at once.")
    ] = 1,
    json: JsonFlag = False,
) -> None:
    """Measure latency, engines in turn: engine time, and frame-to-mask time with resizing and copies.

    Example: edgefsa bench engines/*
    """
    from edgefsa.verify.latency import bench_engines

    with console.progress("rounds") as progress:
        results = bench_engines(
            engines,
            rounds=rounds,
            warmup=warmup,
            seconds=seconds,
            threads=threads,
            in_flight=in_flight,
            progress=progress,
        )
    warn_of(*engines)
    rows = []
    for row in results:
        for label, key, rate in (("engine", "latency_ms", "engine_fps"), ("frame to mask", "frame_to_mask_ms", "fps")):
            figures = [f"{row[key][name]:.2f}" for name in ("min", "median", "p95", "p99")]
            name = Path(row["engine"]).name if key == "latency_ms" else ""
            rows.append([name, label, str(row["batch"]), *figures, f"{row[rate]:.1f}"])
        if row["throughput"] is not None:
            label = f"engine, {row['throughput']['in_flight']} in flight"
            rows.append(["", label, str(row["batch"]), *["-"] * 4, f"{row['throughput']['fps']:.1f}"])
    text = console.table(["engine", "time (ms)", "batch", "min", "median", "p95", "p99", "fps"], rows)
    console.emit(results, as_json=json, text=text)


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
    limit: Limit = 16,
    json: JsonFlag = False,
) -> None:
    """Compare an engine with the PyTorch model it came from, stage by stage.

    Example: edgefsa parity engines/fsanet-edge-openvino-int8-360x480
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.parity import parity as compare

    dataset = open_dataset(data or "synthetic", split="val", limit=limit)
    with console.progress("comparing") as progress:
        report = compare(
            engine,
            checkpoint=checkpoint,
            weights_key=weights_key,
            dataset=dataset,
            limit=limit or 16,
            progress=progress,
        )
    warn_of(engine)
    result = report.as_dict()
    rows = [
        [stage["stage"], f"{100 * stage['argmax_agreement']:.3f}%", _scientific(stage["relative_l2"])]
        for stage in result["stages"]
    ]
    text = console.table(["stage", "same class as PyTorch", "relative L2 of logits"], rows)
    console.emit(result, as_json=json, text=text + f"\n\n{result['frames']} frames of {dataset.name}")


def _scientific(value: float | None) -> str:
    return "masks only" if value is None else f"{value:.2e}"


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
