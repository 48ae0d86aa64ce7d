"""INT8 engines beside those of the tools that a user would pick instead: latency, accuracy, share of INT8.

On OpenVINO NNCF's `quantize` (mixed preset, matrix products left out, which OpenVINO 2026.4 cannot compile
otherwise), on ONNX Runtime its own `quantize_static` (QDQ, weights per channel). All start from the same exported
network and the same calibration frames, run in the same sessions with the same settings, and take turns. Needs the
extra `peers`: pip install 'edgefsa[peers]'. `--data camvid:DIR` gives the frames; networks with random weights are
measured for their latency only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from _common import Rows, argument_parser, data_without_folder, save, say
from _markdown import percent
from _weights import shipped_weights

from edgefsa.artifacts import Manifest
from edgefsa.build import (
    CALIBRATION_FRAMES,
    ModelRequest,
    calibrate_onnx,
    export_model,
    frames_for_proof,
    shipped_ranges,
)
from edgefsa.console import run, table
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.engines import build_engine, open_engine
from edgefsa.engines.cpu.onnxruntime import CPU_PROVIDER, OnnxRuntimeSession
from edgefsa.engines.cpu.onnxruntime_layers import optimised_layers
from edgefsa.engines.cpu.openvino import ENGINE_NAME, OpenVinoSession
from edgefsa.engines.precision import macs_shares
from edgefsa.engines.session import Frames, LayerPrecision, Session
from edgefsa.errors import InputError
from edgefsa.graph.cost import macs_by_node
from edgefsa.graph.files import FRAMES, inline_functions, load_graph, read_metadata, weights_hash
from edgefsa.media.frames import resize_frame
from edgefsa.quantize import Ranges
from edgefsa.quantize.budget import CalibrationFrames
from edgefsa.quantize.calibrate import batches as fitted_batches
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate
from edgefsa.verify.latency import measure

MODELS = ("fsanet-edge", "spanet-edge", "fsanet-r18")
OURS = "edgefsa"
PEERS = {"openvino": "NNCF", "onnxruntime": "quantize_static"}
# A difference below this is noise.
LARGEST_SHARE = 1.02


@dataclass(frozen=True)
class Contestant:
    """An INT8 network in an open session, and the layers that its runtime makes of it."""

    tool: str
    target: str
    session: Session
    layers: list[LayerPrecision]


def calibration_batches(data: str, metadata: dict[str, Any]) -> list[Frames]:
    """Return the frames that `edgefsa calibrate` picks, each as a batch uint8 [1, H, W, 3] of the network's size."""
    dataset = open_dataset(data, split="train")
    chosen = CalibrationFrames([dataset], CALIBRATION_FRAMES)
    return [batch for batch, _ in fitted_batches(chosen, metadata)]


def ranges_for(onnx_path: Path, data: str) -> Ranges:
    """Return the shipped ranges where they are of these weights and frames, else measure them."""
    graph = load_graph(onnx_path)
    shipped = shipped_ranges(read_metadata(graph)["model"])
    fingerprint = open_dataset(data, split="train").fingerprint()
    if shipped and (shipped.model_sha256, shipped.data["fingerprint"]) == (weights_hash(graph), fingerprint):
        return shipped
    # By number, or the time that they take would decide how many are used.
    return calibrate_onnx(onnx_path, data, frames=CALIBRATION_FRAMES)


def quantise_with_nncf(plain: onnx.ModelProto, batches: list[Frames], directory: Path) -> None:
    """Write the IR that NNCF makes of a graph of standard operators to `directory`."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    quantised = nncf.quantize(
        openvino.Core().read_model(plain.SerializeToString(), b""),
        nncf.Dataset(batches, lambda batch: {FRAMES: batch}),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        ignored_scope=nncf.IgnoredScope(types=["MatMul"]),
    )
    openvino.save_model(quantised, directory / ENGINE_NAME, compress_to_fp16=False)


def quantise_with_onnxruntime(plain: onnx.ModelProto, batches: list[Frames], path: Path) -> None:
    """Write what `quantize_static` makes of a graph, after the preparation that its documentation asks for."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, Frames] | None:
            batch = next(self.left, None)
            return None if batch is None else {FRAMES: batch}

    source, prepared = path.with_suffix(".plain.onnx"), path.with_suffix(".prepared.onnx")
    onnx.save(plain, source)
    # Symbolic shapes are for graphs of unknown sizes; the inference of them fails on integer constants.
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


@contextlib.contextmanager
def contestants(onnx_path: Path, data: str, scratch: Path) -> Iterator[list[Contestant]]:
    """Build all four INT8 networks and hold their sessions open."""
    ranges, graph = ranges_for(onnx_path, data), load_graph(onnx_path)
    metadata = read_metadata(graph)
    batches = calibration_batches(data, metadata)
    plain = inline_functions(graph)
    engines = {
        target: build_engine(
            *(onnx_path, scratch),
            precision="int8",
            target=target,
            ranges=ranges,
            frames=lambda: frames_for_proof(data, metadata),
        ).engine
        for target in PEERS
    }
    ir, qdq = scratch / "nncf", scratch / "quantize_static.onnx"
    ir.mkdir()
    quantise_with_nncf(plain, batches, ir)
    quantise_with_onnxruntime(plain, batches, qdq)
    manifests = {target: Manifest.read(engine) for target, engine in engines.items()}
    # The same sessions as ours have, around other files.
    theirs: dict[str, Session] = {
        "openvino": OpenVinoSession(ir, manifests["openvino"]),
        "onnxruntime": OnnxRuntimeSession(scratch, manifests["onnxruntime"], graph=qdq.read_bytes()),
    }
    with contextlib.ExitStack() as stack:
        found = []
        for target, engine in engines.items():
            ours = stack.enter_context(open_engine(engine))
            found.append(Contestant(OURS, target, ours, ours.layer_precisions()))
            peer = stack.enter_context(theirs[target])
            layers = peer.layer_precisions() if target == "openvino" else optimised_layers(qdq, CPU_PROVIDER)
            found.append(Contestant(PEERS[target], target, peer, layers))
        yield found


def rows_of(model: str, data: str, val: Dataset, rounds: int) -> Rows:
    """Quantise a model with each tool and measure; a row for each."""
    with tempfile.TemporaryDirectory() as text:
        scratch = Path(text)
        onnx_path = scratch / "model.onnx"
        weights = export_model(ModelRequest(model), onnx_path, say=say)["weights"]
        macs = macs_by_node(load_graph(onnx_path))
        with contestants(onnx_path, data, scratch) as found:
            frame = resize_frame(val[0].frame, found[0].session.size_hw)[None]
            runs: dict[str, Callable[[], object]] = {
                item.tool + item.target: lambda session=item.session: session.run(frame)  # type: ignore[misc]
                for item in found
            }
            stats = measure(runs, rounds=rounds, warmup=10)
            rows = []
            for item in found:
                time, ours = stats[item.tool + item.target], stats[OURS + item.target]
                row: dict[str, Any] = {"model": model, "target": item.target, "tool": item.tool}
                row |= {"median_ms": round(time.median, 3), "min_ms": round(time.min, 3), "p95_ms": round(time.p95, 3)}
                row["share_of_ours"] = round(time.median / ours.median, 3)
                row["int8_macs_share"] = macs_shares(macs, item.layers, {}).int8
                trained = weights["kind"] != "random"
                row["miou"] = evaluate(Segmenter(item.session), val).miou if trained else None
                rows.append(row)
            return rows


def cells(rows: Rows) -> list[list[str]]:
    """Lay the rows out for people."""
    return [
        [
            *(row["model"], row["target"], row["tool"], f"{row['median_ms']:.2f}", f"{row['share_of_ours']:.2f}"),
            *(percent(row["miou"]), f"{100 * row['int8_macs_share']:.1f}"),
        ]
        for row in rows
    ]


HEADER = ["model", "on", "INT8 by", "engine, median ms", "times ours", "mIoU %", "MACs in INT8 %"]


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--data", required=True, help="frames to calibrate and to evaluate on, camvid:DIR")
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args(argv)
    if importlib.util.find_spec("nncf") is None:
        raise InputError("NNCF is not installed; pip install 'edgefsa[peers]'")
    val = open_dataset(arguments.data, split="val")
    rows: Rows = []
    for model in arguments.models:
        say(f"{model}: quantising with each tool, then measuring")
        rows += rows_of(model, arguments.data, val, arguments.rounds)
    print(table(HEADER, cells(rows)))
    for row in rows:
        if row["tool"] != OURS and row["share_of_ours"] * LARGEST_SHARE < 1:
            say(f"{row['model']} on {row['target']}: {row['tool']} is faster, {row['share_of_ours']:.2f} of our time")
    command = " ".join(["python benchmarks/peers.py --data", data_without_folder(arguments.data)])
    save("peers-cpu", command, rows, arguments.results, weights=shipped_weights(), rounds=arguments.rounds)


if __name__ == "__main__":
    run(main)
