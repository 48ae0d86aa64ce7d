"""The search for what INT8 leaves in float, on networks that need it: the shipped ones with outlier channels.

The network between two convolutions with a ReLU between them stays the same function when a channel is made larger by
a power of two and the weights that read it smaller by the same. In float nothing changes; in INT8 the one scale of the
tensor is then that of the outliers, and the other channels are left with a few codes. The search runs on frames of the
train split, its result is held against FP32 and full INT8 on val.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from _common import Rows, argument_parser, data_without_folder, save, say
from _markdown import markdown
from _weights import shipped_weights
from onnx import numpy_helper

from edgefsa.artifacts import Manifest
from edgefsa.build import BuildRequest, ModelRequest, SearchRequest, build_from_request, export_model
from edgefsa.console import run, table
from edgefsa.data.readers import open_dataset
from edgefsa.engines.names import RANGES_NAME, SOURCE_NAME
from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.files import load_graph, read_graph
from edgefsa.quantize import Ranges
from edgefsa.verify.sensitivity import open_bench
from edgefsa.verify.sensitivity.recipe_search import speedup_kept

MAX_DROP, BUDGET = 0.3, 40
FP32, INT8, SEARCHED = "FP32", "INT8", "INT8, searched"
HEADER = ["network", "what runs", "left in float", "mIoU %", "change", "engine, median ms", "of INT8's speed-up"]


@dataclass(frozen=True)
class Outliers:
    """Channels between two convolutions, `first` and `second` by node, that are made larger by `factor`."""

    first: str
    second: str
    channels: int
    factor: float


@dataclass(frozen=True)
class Case:
    """A shipped model, and the outliers that it gets."""

    name: str
    model: str
    outliers: tuple[Outliers, ...] = ()


def _mlp(block: str) -> Outliers:
    return Outliers(f"stages.{block}.mlp.0/Conv", f"stages.{block}.mlp.3/Conv", 8, 65536.0)


CASES = (
    Case("fsanet-edge as shipped", "fsanet-edge"),
    Case(
        "fsanet-edge with outliers in 2 blocks",
        "fsanet-edge",
        (
            Outliers("stem.0/Conv", "stem.3/Conv", 2, 256.0),
            Outliers("layer2.1.conv1/Conv", "layer2.1.conv2/Conv", 4, 1024.0),
        ),
    ),
    Case("spanet-edge with outliers in 3 blocks", "spanet-edge", tuple(map(_mlp, ("1.4", "2.3", "2.4")))),
)


def with_outliers(model: onnx.ModelProto, outliers: Outliers, seed: int = 0) -> None:
    """Make channels between two convolutions larger, in place; the factor being a power of two, every sum stays."""
    editor = GraphEditor(model)
    nodes = {node.name: node for node in editor.nodes}
    first, second = nodes[outliers.first], nodes[outliers.second]
    between = editor.consumers(first.output[0])
    if [node.op_type for node in between] != ["Relu"] or editor.consumers(between[0].output[0]) != [second]:
        raise SystemExit(f"{outliers.first} and {outliers.second} do not have a ReLU alone between them")
    width = editor.array(first.input[1]).shape[0]
    chosen = np.random.default_rng(seed).permutation(width)[: outliers.channels]
    stored = {item.name: item for item in model.graph.initializer}
    for name in first.input[1:]:
        value = np.array(editor.array(name))
        value[chosen] *= outliers.factor
        stored[name].CopyFrom(numpy_helper.from_array(value, name))
    value = np.array(editor.array(second.input[1]))
    value[:, chosen] /= outliers.factor
    stored[second.input[1]].CopyFrom(numpy_helper.from_array(value, second.input[1]))


@dataclass(frozen=True)
class Frames:
    """The data that all cases are searched and reported on; None is all frames of val."""

    data: str
    train: int
    val: int | None


def searched_engine(case: Case, frames: Frames, target: str, folder: Path) -> Path:
    """Plant a model's outliers, and build the engine that the search finds on the train split."""
    path = folder / "model.onnx"
    export_model(ModelRequest(case.model), path)
    model = load_graph(path)
    for outliers in case.outliers:
        with_outliers(model, outliers)
    path.write_bytes(model.SerializeToString())
    search = SearchRequest(MAX_DROP, BUDGET, "train", frames.train)
    request = BuildRequest(str(path), ModelRequest(), "int8", target, folder, data=frames.data, search=search)
    return Path(build_from_request(request, say=say)["engine"])


def rows_of(case: Case, engine: Path, frames: Frames) -> Iterator[dict[str, Any]]:
    """Measure FP32, full INT8 and what was found on val; a row each."""
    manifest = Manifest.read(engine)
    record = (manifest.quantization or {})["search"]
    val = open_dataset(frames.data, "val", limit=frames.val)
    graph, ranges = read_graph(engine / SOURCE_NAME), Ranges.read(engine / RANGES_NAME)
    with open_bench(graph, ranges, val, target=manifest.target) as bench:
        whole = bench.measure(bench.names)
        for word, in_float in ((FP32, bench.names), (INT8, ()), (SEARCHED, record["in_float"])):
            found = bench.measure(in_float)
            yield {
                "network": case.name,
                "variant": word,
                "in_float": list(in_float),
                "miou": found.miou,
                "change": found.miou - whole.miou,
                "frames": len(val),
                **{key: getattr(found, key) for key in ("ms", "int8_ms", "float_ms")},
                "speedup_kept": speedup_kept(found),
                "search": record,
            }


def cells(rows: Rows) -> list[list[str]]:
    return [
        [
            row["network"],
            row["variant"],
            "all" if row["variant"] == FP32 else ", ".join(row["in_float"]) or "nothing",
            f"{100 * row['miou']:.2f}",
            f"{100 * row['change']:+.2f}",
            f"{row['ms']:.2f}",
            f"{round(100 * row['speedup_kept'])} %",
        ]
        for row in rows
    ]


def lines(record: dict[str, Any], _model: str) -> str:
    return markdown(HEADER, cells(record["rows"]), record)


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--data", required=True, help="labelled frames with a train and a val split, as camvid:DIR")
    parser.add_argument("--target", default="openvino")
    parser.add_argument("--frames", type=int, default=32, help="frames of the train split that the search judges on")
    parser.add_argument("--val-frames", type=int, help="frames of the val split; all by default")
    parser.add_argument("--only", help="only cases whose name holds this text")
    arguments = parser.parse_args(argv)
    frames = Frames(arguments.data, arguments.frames, arguments.val_frames)
    rows: Rows = []
    for case in CASES:
        if arguments.only is None or arguments.only in case.name:
            with tempfile.TemporaryDirectory() as folder:
                engine = searched_engine(case, frames, arguments.target, Path(folder))
                rows += rows_of(case, engine, frames)
    print(table(HEADER, cells(rows)))
    command = f"python benchmarks/search.py --data {data_without_folder(arguments.data)}"
    save("search-cpu", command, rows, arguments.results, weights=shipped_weights(), max_drop=MAX_DROP)


if __name__ == "__main__":
    run(main)
