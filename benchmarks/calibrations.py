"""What INT8 costs by how it is calibrated: mIoU of the OpenVINO engine on CamVid's val split, in three parts.

methods      every method that reads ranges from histograms, 16, 64 and 256 random frames of train, several seeds
conditions   ranges of fair frames, of a mixture with night, rain and blur, and of night alone: on all of these and fog
corrections  biases, channels and rounding corrected, also of a network with outlier channels

Each row is written as soon as it is measured, and what is there already is not measured again.
"""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _common import Rows, argument_parser, data_without_folder, load, save, say, signed
from _corrections import CORRECTIONS, with_outliers
from _weights import are_shipped, shipped_weights

from edgefsa.build import ModelRequest, export_model, shipped_ranges
from edgefsa.console import run
from edgefsa.data.conditions import CONDITIONS, under_condition
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.engines import build_engine
from edgefsa.engines.proof import ProofFrames
from edgefsa.graph.files import LoadedGraph, read_graph
from edgefsa.media.frames import Frame
from edgefsa.quantize import METHODS, Ranges
from edgefsa.quantize.calibrate import Calibration, batches
from edgefsa.quantize.histogram import DEFAULT_METHOD
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import ConfusionMatrix, label_of
from edgefsa.verify.saturation import saturation_on

NAME = "calibration-camvid"
MODELS = ("fsanet-edge", "spanet-edge")
OUTLIERS = "fsanet-edge, outlier channels"
COUNTS = (16, 64, 256)
CONDITIONS_FRAMES = 128
CORRECTED_FRAMES = 64
FAIR = "fair"
CALIBRATED = ("night", "rain", "blur")
PARTS = ("methods", "conditions", "corrections")
_KEY = ("part", "model", "method", "frames", "seed", "correction", "calibrated", "condition")


class Bench:
    """The rows so far, the frames, and one exported graph a model."""

    def __init__(self, data: str, results: Path, seeds: int, scratch: Path) -> None:
        self.train, self.val = open_dataset(data, "train"), open_dataset(data, "val")
        self.seeds = range(seeds)
        self._results, self._scratch = results, scratch
        self._command = f"python benchmarks/calibrations.py --data {data_without_folder(data)}"
        record = load(NAME, results)
        if record and not are_shipped(record):
            say("the rows so far are of other weights; beginning anew")
        self.rows: Rows = record["rows"] if record and are_shipped(record) else []

    def missing(self, **key: Any) -> bool:
        """Return whether a row has not been measured yet."""
        return not any(all(row.get(name) == key.get(name) for name in _KEY) for row in self.rows)

    def add(self, miou: float, **facts: Any) -> None:
        """Write a row."""
        self.rows.append({**facts, "miou": miou})
        say(json.dumps(self.rows[-1]))
        save(NAME, self._command, self.rows, self._results, weights=shipped_weights(), val_frames=len(self.val))

    @functools.lru_cache  # noqa: B019 - one bench lives as long as the program
    def graph(self, model: str) -> LoadedGraph:
        """Return the exported float graph of a model, or of its form with outlier channels."""
        path = self._scratch / f"{model.replace(', ', '-').replace(' ', '-')}.onnx"
        if model == OUTLIERS:
            return self.written(with_outliers(self.graph(MODELS[0]).model), path)
        export_model(ModelRequest(model), path)
        return read_graph(path)

    def written(self, model: onnx.ModelProto, path: Path | None = None) -> LoadedGraph:
        """Write a graph and return it as it was read."""
        path = path or self._scratch / "corrected.onnx"
        path.write_bytes(model.SerializeToString())
        return read_graph(path)

    def drawn(self, count: int, seed: int) -> Iterator[Frame]:
        """Yield random frames of train; the first ones of a seed are the same for any count."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        return (self.train.frame(int(index)) for index in order[:count])

    def engine(self, graph: LoadedGraph, ranges: Ranges | None) -> Path:
        """Build an engine of a graph: INT8 with ranges, FP32 without. One frame proves that it is right."""
        frame, _ = next(batches([self.train.frame(0)], graph.metadata))
        return build_engine(
            graph,
            self._scratch / "engines",
            precision="int8" if ranges else "fp32",
            target="openvino",
            ranges=ranges,
            overwrite=True,
            frames=lambda: ProofFrames(frame[None], "camvid", foreign=True),
        ).engine

    def miou(self, engine: Path, condition: str = FAIR) -> float:
        """Return the mIoU of an engine on val under a condition, 0 to 1."""
        classes = self.val.class_set
        matrix = ConfusionMatrix(classes.num_classes, classes.ignore_index)
        with Segmenter(engine, threads=1) as segmenter:  # a busy machine makes threads wait for each other
            for frame, label in _samples(self.val, condition):
                matrix.update(segmenter.segment(frame).mask, label)
        return matrix.miou

    def saturation(self, engine: Path, condition: str) -> dict[str, Any]:
        """Return what `edgefsa drift` says of the most saturated tensor on every twelfth frame of val."""
        frames = [(str(index), frame) for index, (frame, _) in enumerate(_samples(self.val, condition)[::12])]
        return asdict(saturation_on(engine, frames).rows()[0])


@functools.lru_cache(maxsize=1 + len(CONDITIONS))
def _samples(dataset: Dataset, condition: str) -> list[tuple[Frame, Any]]:
    samples = (dataset[index] for index in range(len(dataset)))
    return [
        (sample.frame if condition == FAIR else under_condition(sample.frame, condition, index), label_of(sample))
        for index, sample in enumerate(samples)
    ]


def methods_part(bench: Bench) -> None:
    """Measure each method on each number of frames and seed."""
    for model in MODELS:
        graph = bench.graph(model)
        if bench.missing(part="methods", model=model, method="float"):
            bench.add(bench.miou(bench.engine(graph, None)), part="methods", model=model, method="float")
        for seed in bench.seeds:
            keys = [
                {"part": "methods", "model": model, "method": method, "frames": count, "seed": seed}
                for count in COUNTS
                for method in METHODS
            ]
            if not any(bench.missing(**key) for key in keys):
                continue
            calibration, frames = Calibration(graph), bench.drawn(max(COUNTS), seed)
            for key in keys:
                calibration.add(next(frames) for _ in range(int(key["frames"]) - calibration.data["frames"]))
                if bench.missing(**key):
                    ranges = calibration.ranges(str(key["method"]))
                    bench.add(bench.miou(bench.engine(graph, ranges)), **key)


def conditions_part(bench: Bench) -> None:
    """Measure ranges of fair frames, and of a mixture, on fair and on other frames."""
    for model in MODELS:
        graph, method = bench.graph(model), method_of(model)
        for condition in (FAIR, *CONDITIONS):
            key = {"part": "conditions", "model": model, "calibrated": "float", "condition": condition}
            if bench.missing(**key):
                bench.add(bench.miou(bench.engine(graph, None), condition), **key)
        for calibrated in (FAIR, ", ".join((FAIR, *CALIBRATED)), "night"):
            for seed in bench.seeds:
                keys = [
                    {"part": "conditions", "model": model, "method": method, "seed": seed}
                    | {"calibrated": calibrated, "condition": condition}
                    for condition in (FAIR, *CONDITIONS)
                ]
                if any(bench.missing(**key) for key in keys):
                    calibration = Calibration(graph)
                    calibration.add(_mixed(bench.drawn(CONDITIONS_FRAMES, seed), calibrated.split(", ")))
                    engine = bench.engine(graph, calibration.ranges(method))
                    for key in filter(lambda key: bench.missing(**key), keys):
                        condition = str(key["condition"])
                        bench.add(bench.miou(engine, condition), **key, saturation=bench.saturation(engine, condition))


def _mixed(frames: Iterable[Frame], conditions: Sequence[str]) -> Iterator[Frame]:
    """Yield the frames under the conditions in turn: as many in all, the same share of each."""
    for index, frame in enumerate(frames):
        condition = conditions[index % len(conditions)]
        yield frame if condition == FAIR else under_condition(frame, condition, index)


def corrections_part(bench: Bench) -> None:
    """Measure what corrections do, each on the same frames as without."""
    for model in (*MODELS, OUTLIERS):
        method = method_of(model.partition(",")[0])
        for correction, corrected in CORRECTIONS.items():
            for seed in bench.seeds:
                key = {"part": "corrections", "model": model, "method": method, "correction": correction, "seed": seed}
                if bench.missing(**key):
                    frames = list(bench.drawn(CORRECTED_FRAMES, seed))
                    graph = bench.written(corrected(bench.graph(model).model, frames))
                    calibration = Calibration(graph)
                    calibration.add(frames)
                    bench.add(bench.miou(bench.engine(graph, calibration.ranges(method))), **key)


def method_of(model: str) -> str:
    """Return the method that a model's shipped ranges were read with."""
    ranges = shipped_ranges(model)
    return ranges.method if ranges is not None else DEFAULT_METHOD


METHODS_HEADER = ["model", "float, mIoU %", "ranges by", *(f"{count} frames" for count in COUNTS)]
CONDITIONS_HEADER = ["model", "calibrated on", FAIR, *CONDITIONS, "most saturated on fair frames"]
CORRECTIONS_HEADER = ["network", "float, mIoU %", *CORRECTIONS]


def methods_lines(rows: Rows, counts: Sequence[int] = COUNTS) -> list[list[str]]:
    """Return what each method costs each model: the mean over the seeds, and how far these lie apart."""
    cells = []
    for model in MODELS:
        found = [row for row in rows if (row["part"], row["model"]) == ("methods", model)]
        base = _mean(found, method="float")
        for method in METHODS if base else ():
            changes = [_change(found, base, method=method, frames=count) for count in counts]
            cells.append([model, f"{100 * base:.2f}", method, *changes])
    return cells


def conditions_lines(rows: Rows) -> list[list[str]]:
    """Return the float network's mIoU under each condition, and what INT8 changes by what it was calibrated on."""
    cells = []
    for model in MODELS:
        found = [row for row in rows if (row["part"], row["model"]) == ("conditions", model)]
        base = {condition: _mean(found, calibrated="float", condition=condition) for condition in (FAIR, *CONDITIONS)}
        if not all(base.values()):
            continue
        cells.append([model, "(float, mIoU %)", *(f"{100 * miou:.2f}" for miou in base.values()), "-"])
        for calibrated in dict.fromkeys(row["calibrated"] for row in found if row["calibrated"] != "float"):
            changes = [
                _change(found, miou, calibrated=calibrated, condition=condition) for condition, miou in base.items()
            ]
            cells.append([model, calibrated, *changes, _saturated(found, calibrated)])
    return cells


def _saturated(rows: Rows, calibrated: str) -> str:
    seen = [row["saturation"] for row in rows if (row["calibrated"], row["condition"]) == (calibrated, FAIR)]
    if not seen:
        return "-"
    most = max(seen, key=lambda item: item["share"])
    return f"{most['tensor']}, {100 * most['share']:.2g} %, {most['reach']:.2f} times as far"


def corrections_lines(rows: Rows) -> list[list[str]]:
    """Return what INT8 costs each network with each correction."""
    cells = []
    for model in (*MODELS, OUTLIERS):
        base = _mean(rows, part="methods", model=model.partition(",")[0], method="float")
        found = [row for row in rows if (row["part"], row["model"]) == ("corrections", model)]
        if base and found:
            cells.append([model, f"{100 * base:.2f}", *(_change(found, base, correction=name) for name in CORRECTIONS)])
    return cells


def _matching(rows: Rows, **key: Any) -> list[float]:
    return [row["miou"] for row in rows if all(row.get(name) == value for name, value in key.items())]


def _mean(rows: Rows, **key: Any) -> float:
    found = _matching(rows, **key)
    return statistics.mean(found) if found else 0.0


def _change(rows: Rows, base: float, **key: Any) -> str:
    """Write the mean change in points, and in parentheses how far the seeds lie apart, of which there are several."""
    points = [100 * (miou - base) for miou in _matching(rows, **key)]
    if not points:
        return "-"
    spread = f" ({max(points) - min(points):.2f})" if len(points) > 1 else ""
    return signed(statistics.mean(points)) + spread


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("parts", nargs="*", help=f"by default {' '.join(PARTS)}")
    parser.add_argument("--data", required=True, help="camvid:DIR")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args(argv)
    run_part = {"methods": methods_part, "conditions": conditions_part, "corrections": corrections_part}
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(arguments.data, arguments.results, arguments.seeds, Path(scratch))
        for part in arguments.parts or PARTS:
            run_part[part](bench)


if __name__ == "__main__":
    run(main)
