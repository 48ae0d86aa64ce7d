"""The commands that measure engines: eval, report, parity, drift, inspect."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefsa import console
from edgefsa.commands.layer_files import LayerInfo, Profile, layer_times_from
from edgefsa.commands.options import (
    BEYOND_BOUND,
    DATA,
    GATE,
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
from edgefsa.errors import InputError

if TYPE_CHECKING:
    from edgefsa.engines.tensorrt.layer_times import LayerTime
    from edgefsa.media.frames import FrameSet
    from edgefsa.segment.run import Saturation
    from edgefsa.verify.gate import Gate

# Those that `drift` shows, of a hundred.
_MOST_TENSORS = 10


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
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How often each engine is timed.")] = 100,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads of a run; else all.")] = None,
    in_flight: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Throughput is measured with N runs under way; 1: it is not."),
    ] = 2,
    peers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Figures of other networks (JSON) to set beside the engines.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier report.json to compare with.", rich_help_panel=GATE),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, metavar="POINTS", help="Exit with 3 where mIoU fell by more.", rich_help_panel=GATE),
    ] = None,
    layer_info: LayerInfo = None,
    profile: Profile = None,
    max_slowdown: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT", help="Exit with 3 where an engine is slower by more, as 5%.", rich_help_panel=GATE
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder that gets the report.")
    ] = Path("report"),
    json: JsonFlag = False,
) -> int:
    """Measure accuracy, latency and memory of engines and write a page about them (HTML, Markdown, JSON).

    With --baseline it is a gate: the exit status is 3 where something got worse by more than is allowed and than noise.

    Example: edgefsa report engines/* --data camvid:data/camvid -o report/
    """
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.gate import Limits, judged, prepared_baseline
    from edgefsa.verify.peers import read_peers
    from edgefsa.verify.report_measure import data_facts, engine_name, report_on_engines

    # What it draws with may be missing, and files may be wrong: that is said before the measuring, not after it.
    importlib.import_module("edgefsa.verify.report_page")
    limits = Limits(max_drop, _share_from_percent(max_slowdown))
    known_peers = read_peers(peers) if peers is not None else ()
    layer_times = layer_times_from(engines, layer_info or (), profile or ())
    for name, layers in layer_times.items():
        if all(layer.time_ms is None for layer in layers):
            raise InputError(f"--layer-info of {name} goes with its --profile, which has the times; give that too")
    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    facts = data_facts(dataset) if baseline is not None else None
    earlier = prepared_baseline(baseline, [engine_name(path) for path in engines], facts, limits)
    note_data(dataset)
    with console.progress("measuring") as progress:
        found = report_on_engines(
            engines,
            dataset,
            rounds=rounds,
            threads=threads,
            in_flight=in_flight,
            peers=known_peers,
            layer_times=layer_times,
            progress=lambda _, done, total: progress(done, total),
        )
    if earlier is not None:
        found = judged(found, earlier, limits)
    files = [str(path) for path in found.write(output)]
    warn_of(*engines)
    console.emit({**found.as_dict(), "files": files}, as_json=json, text=found.markdown() + "\n" + "\n".join(files))
    measured = [engine.accuracy for engine in found.engines if engine.accuracy is not None]
    for note in dict.fromkeys(note for accuracy in measured for note in accuracy.notes):
        console.message(f"note: {note}")
    status = name_failed(measured[0].unreadable if measured else ())
    return status if found.gate is None else _gate_status(found.gate) or status


def _share_from_percent(text: str | None) -> float | None:
    """Read "5%" as 0.05; InputError for anything else, as 0.05 alone could mean either."""
    if text is None:
        return None
    number = text.strip().removesuffix("%").strip()
    try:
        share = float(number) / 100.0
    except ValueError:
        share = -1.0
    if not text.strip().endswith("%") or not 0 <= share < float("inf"):
        raise InputError(f"--max-slowdown {text} is no percentage from 0% up; write for instance --max-slowdown 5%")
    return share


def _gate_status(gate: Gate) -> int:
    """Say what could not be compared and what got worse on standard error; return the exit status."""
    for note in gate.notes:
        console.message(f"note: {note}")
    for item in gate.worse:
        console.message(f"worse: {item.in_words()}")
    return BEYOND_BOUND if gate.worse else 0


def drift(
    engine: EnginePath,
    data: DataSpec = None,
    split: Split = "val",
    limit: Limit = 32,
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="See the frames under a made-up condition: night, rain, fog or blur.",
            rich_help_panel=DATA,
        ),
    ] = None,
    json: JsonFlag = False,
) -> int:
    """Look whether frames leave the ranges that an INT8 engine was calibrated for, tensor by tensor.

    Frames run through the engine's own ONNX graph. The exit status is 3 where a tensor saturates far more than on the
    frames of the calibration: calibrate with such frames then. Labels are not read.

    Example: edgefsa drift engines/fsanet-edge-openvino-int8-360x480 --data images:frames/of/last/night
    """
    from edgefsa.artifacts import Manifest
    from edgefsa.data.conditions import UnderCondition, conditions_from_text
    from edgefsa.data.readers import open_dataset
    from edgefsa.verify.saturation import in_words, remedy, saturation_on

    dataset = open_dataset(data or "synthetic", split=split, limit=limit)
    seen: FrameSet = dataset
    for name in conditions_from_text(condition, "--condition"):
        seen = UnderCondition(seen, name)
    frames = ((name, seen.frame(index)) for index, name in enumerate(dataset.sample_names))
    rows = saturation_on(engine, frames).rows()
    warn_of(engine)
    drifted = [row for row in rows if row.drifted]
    result = {
        "engine": str(engine),
        "frames": len(dataset),
        "drifted": bool(drifted),
        "tensors": list(map(asdict, rows)),
    }
    console.emit(result, as_json=json, text=_saturation_text(rows, f"{len(dataset)} frames of {dataset.name}"))
    if drifted:
        console.message(f"beyond the ranges: {in_words(drifted[0])}; {remedy(engine, Manifest.read(engine))}")
    return BEYOND_BOUND if drifted else 0


def _saturation_text(rows: Sequence[Saturation], data: str) -> str:
    head = ["tensor", "block", "% beyond", "% at calibration", "times as far", "worst frame", "% there", "ranges"]
    cells = [
        [
            *(row.tensor, row.block, f"{100 * row.share:.3f}", f"{100 * row.calibrated:.3f}", f"{row.reach:.2f}"),
            *(row.worst_frame, f"{100 * row.worst_share:.3f}", "beyond" if row.drifted else "within"),
        ]
        for row in rows[:_MOST_TENSORS]
    ]
    return f"{console.table(head, cells)}\n\nthe most saturated of {len(rows)} tensors, on {data}"


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
    console.emit(found.as_dict(), as_json=json, text=f"{parity_text(found)}\n\n{found.frames} frames of {dataset.name}")
    for note in found.notes:
        console.message(f"note: {note}")
    failed = name_failed(found.unreadable)
    return failed if found.passed else BEYOND_BOUND


def inspect(
    engine: Annotated[
        Path,
        typer.Argument(
            metavar="ENGINE", help="An engine directory, or a plan of another tool as it is.", show_default=False
        ),
    ],
    layer_info: LayerInfo = None,
    profile: Profile = None,
    json: JsonFlag = False,
) -> None:
    """Show an engine's manifest and what precision each layer runs in; with a profile also where the time goes.

    Example: edgefsa inspect engines/fsanet-edge-openvino-int8-360x480
    """
    from edgefsa.engines import inspect_engine

    if engine.is_file():
        _inspect_plan(engine, json=json)
        return
    result = inspect_engine(engine)
    console.warn_if_random(result["manifest"]["model"].get("weights", {}))
    head = console.facts(result["summary"])
    timed = layer_times_from([engine], layer_info or (), profile or ())
    if timed:
        (layers,) = timed.values()
        result["layers"] = [asdict(layer) for layer in layers]
        rows = [[layer.name, layer.kind, layer.precision, *_time_and_share(layer)] for layer in layers]
        table = console.table(["layer", "kind", "runs in", "ms", "share %"], rows)
    else:
        rows = [[layer["name"], layer["kind"], layer["precision"], layer["detail"]] for layer in result["layers"]]
        table = console.table(["layer", "kind", "runs in", "detail"], rows)
    console.emit(result, as_json=json, text=f"{head}\n\n{table}" if rows else head)


def _inspect_plan(file: Path, *, json: bool) -> None:
    from edgefsa.engines.tensorrt.plan_file import read_plan_file

    plan = read_plan_file(file)
    facts = {**plan.in_words(), "to run it": f"edgefsa adopt {file} makes an engine of it"}
    result = {"plan": str(file), "runtime": plan.runtime, "version": plan.version, "header": plan.header}
    console.emit(result, as_json=json, text=console.facts(facts))


def _time_and_share(layer: LayerTime) -> list[str]:
    if layer.time_ms is None or layer.share is None:
        return ["-", "-"]
    return [f"{layer.time_ms:.4f}", f"{100 * layer.share:.1f}"]
