"""What the benchmark programs share: the PyTorch reference, engines built once, results written with the machine."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefsa.artifacts import write_json
from edgefsa.build import (
    BuildRequest,
    ModelRequest,
    build_from_request,
    calibrate_onnx,
    frames_for_proof,
    model_from_request,
)
from edgefsa.commands.options import size_from_text
from edgefsa.data.readers import Dataset
from edgefsa.data.synthetic import render_scene
from edgefsa.engines import build_engine
from edgefsa.machine.description import machine_description
from edgefsa.media.fit import DEFAULT_FIT, geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.metadata import MAX_CLASSES
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate
from edgefsa.verify.latency import bench_engines

if TYPE_CHECKING:
    from torch import nn

Rows = list[dict[str, Any]]
ENGINES = [("openvino", p) for p in ("fp32", "fp16", "int8")] + [("onnxruntime", p) for p in ("fp32", "int8")]
RESULTS = Path(__file__).parent / "results"


def argument_parser(description: str | None, *, sized: bool = False) -> argparse.ArgumentParser:
    """Return a parser with --results and, for programs that build at a size of choice, --size."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON results")
    if sized:
        parser.add_argument("--size", type=size_from_text, default=(360, 480), help="HEIGHTxWIDTH of the networks")
    return parser


def say(line: str) -> None:
    """Print a line of news on standard error."""
    print(line, file=sys.stderr, flush=True)


def save(name: str, command: str, rows: Any, directory: Path = RESULTS, **facts: Any) -> None:
    """Write DIRECTORY/NAME.json: the rows, other facts, the command that makes them, the machine and the date."""
    origin = {"command": command, "date": datetime.date.today().isoformat(), "machine": machine_description()}
    record = {**origin, **facts, "rows": rows}
    say(f"wrote {write_json(directory / f'{name}.json', record)}")


def load(name: str, directory: Path = RESULTS) -> dict[str, Any] | None:
    """Read DIRECTORY/NAME.json; None where it has not been measured."""
    path = directory / f"{name}.json"
    record: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return record


def data_without_folder(spec: str) -> str:
    """Name a data set in a command that others can repeat: `camvid:DIR`, wherever it lay."""
    family, colon, _ = spec.partition(":")
    return f"{family}:DIR" if colon else family


def build(
    model: str,
    precision: str,
    target: str,
    output: Path,
    size_hw: tuple[int, int] | None = None,
    fit: str = DEFAULT_FIT,
    **options: Any,
) -> Path:
    """Build one engine of a model by name, with its shipped weights and ranges, into `output`."""
    request = BuildRequest(model, ModelRequest(size_hw=size_hw, fit=fit), precision, target, output, **options)
    return Path(build_from_request(request, say=say)["engine"])


def build_module(
    model: nn.Module, output: Path, *, engines: Sequence[tuple[str, str]], data: str, size_hw: tuple[int, int]
) -> dict[str, Path]:
    """Build engines of any network that has a `config` into `output`, all INT8 ones with ranges measured on `data`.

    Gives the engine of each "target precision".
    """
    from edgefsa.export import onnx_from_model
    from edgefsa.graph.files import read_graph

    onnx_path = output / "model.onnx"
    onnx_from_model(model, onnx_path, size_hw=size_hw)
    graph = read_graph(onnx_path)
    ranges = calibrate_onnx(graph, data)
    return {
        f"{target} {precision}": build_engine(
            graph,
            output,
            precision=precision,
            target=target,
            ranges=ranges if precision == "int8" else None,
            frames=lambda: frames_for_proof(data, graph.metadata),
        ).engine
        for target, precision in engines
    }


def accuracy_of(engine: Path, dataset: Dataset) -> dict[str, Any]:
    """Return mIoU, pixel accuracy and IoU of each class of an engine on labelled frames."""
    with Segmenter(engine) as segmenter:
        return evaluate(segmenter, dataset).as_dict()


def measure_engines(engines: Mapping[str, Path], size_hw: tuple[int, int], rounds: int) -> dict[str, dict[str, Any]]:
    """Measure engines in turns on a frame of their own size; the rows of `bench_engines` by the names given."""
    frame, _ = render_scene(1, size_hw)
    rows = bench_engines(list(engines.values()), rounds=rounds, warmup=5, frame=frame)
    return dict(zip(engines, rows, strict=True))


def torch_segmenter(name: str) -> Callable[[Frame], Mask]:
    """Return frame -> mask in PyTorch float32: fit, normalise, network, upsample, argmax, fit back."""
    import torch

    model, _ = model_from_request(ModelRequest(name))
    config: Any = model.config
    mean = torch.tensor(config.mean_rgb).view(1, 3, 1, 1)
    std = torch.tensor(config.std_rgb).view(1, 3, 1, 1)

    def segment(frame: Frame) -> Mask:
        fitted = geometry(DEFAULT_FIT, (frame.shape[0], frame.shape[1]), config.size_hw)
        with torch.inference_mode():
            rgb = torch.from_numpy(np.ascontiguousarray(fitted.to_engine(frame)[..., ::-1].transpose(2, 0, 1)))[None]
            logits = model((rgb.float() - mean) / std)
            logits = torch.nn.functional.interpolate(logits, config.size_hw, mode="bilinear", align_corners=False)
            mask = logits.argmax(1)[0].to(torch.uint8).numpy()
        return fitted.mask_to_frame(mask, MAX_CLASSES)

    return segment


def by_model(rows: Rows) -> dict[str, Rows]:
    """Group rows by their model, in the order in which the models first appear."""
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(row["model"], []).append(row)
    return groups


def mean_miou(row: dict[str, Any], engine: str) -> float:
    """Return the mIoU of a row of the ablation on an engine in percent, the mean over its seeds."""
    reports = row["accuracy"][engine]
    return float(100 * sum(report["miou"] for report in reports) / len(reports))


def signed(points: float) -> str:
    """Write a change in percentage points; what rounds to nothing is +0.00."""
    return f"{points:+.2f}".replace("-0.00", "+0.00")


def accuracy_cells(rows: Rows) -> list[list[str]]:
    """Return the table rows of an accuracy record; a model's first row is what its others are compared with."""
    cells = []
    for model, group in by_model(rows).items():
        baseline = group[0]["miou"]
        for row in group:
            precision = f"{row['precision']}, {row['label']}" if row.get("label") else row["precision"]
            miou, change = 100 * row["miou"], 100 * (row["miou"] - baseline)
            figures = [f"{miou:.2f}", signed(change), f"{100 * row['pixel_accuracy']:.2f}"]
            cells.append([model, row["target"], precision, *figures])
    return cells


ACCURACY_HEADER = ["model", "target", "precision", "mIoU %", "change", "pixel accuracy %"]
