"""Ranges of a graph's activations, measured on frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.errors import RangesError
from edgefsa.graph.files import LoadedGraph, read_graph, weights_hash
from edgefsa.graph.running import tensors_runner
from edgefsa.media.fit import fit_frame, fit_of
from edgefsa.media.frames import Frame
from edgefsa.quantize.histogram import Histogram, amax_of, check_method
from edgefsa.quantize.placement import place
from edgefsa.quantize.ranges import Ranges

Batch = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def ranges_from_calibration(
    onnx_path: str | Path | LoadedGraph,
    frames: Iterable[Frame],
    *,
    method: str = "percentile",
    max_frames: int = 128,
    data_name: str = "frames",
    data_fingerprint: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """Run at most `max_frames` frames (uint8 [H, W, 3] BGR, any size) through an exported graph and give its ranges.

    `method` is "minmax", "percentile" (99.99), "entropy" or "mse". One pass, histograms of fixed size: memory
    does not grow with the frames. Without a fingerprint of the data, `data` gets a hash of the frames' bytes. The
    last batch is filled up with frames that do not count. Raises InputError for an unknown method, GraphError for
    a graph that is not edgefsa's and RangesError where there are no frames or an activation is not finite.
    """
    check_method(method)
    graph = read_graph(onnx_path)
    model, metadata = graph.model, graph.metadata
    tensors = calibrated_tensors(model)
    run, histograms = tensors_runner(model, tensors), {name: Histogram() for name in tensors}
    digest, done = hashlib.sha256(), 0
    for batch, used in batches(islice(frames, max_frames), metadata):
        digest.update(batch[:used].tobytes())
        for name, value in zip(tensors, run(batch), strict=True):
            histograms[name].add(_finite(value[:used], name, done + 1, graph.path))
        done += used
        if progress is not None:
            progress(done, max(max_frames, done))
    if not done:
        raise RangesError(f"calibration got no frames from {data_name}; give data with at least one image")
    return Ranges(
        model=metadata["model"],
        model_sha256=weights_hash(model),
        method=method,
        data={"name": data_name, "fingerprint": data_fingerprint or digest.hexdigest(), "frames": done},
        tensors={name: {"amax": amax_of(item, method)} for name, item in histograms.items()},
    )


def calibrated_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the tensors that any form of the quantised graph rounds, in graph order."""
    forms = [
        place(model),
        *(place(model, integer_outputs=True), place(model, integer_sums=True), place(model, int8_operators=True)),
    ]
    wanted = {name for plan in forms for name in plan.tensors}
    made = [*(item.name for item in model.graph.input), *(name for node in model.graph.node for name in node.output)]
    return [name for name in made if name in wanted]


def _finite(value: Floats, tensor: str, frame: int, onnx_path: str | Path) -> Floats:
    if not np.isfinite(value).all():
        raise RangesError(f"{tensor} is not finite on frame {frame}; the weights of {onnx_path} are broken")
    return value


def batches(frames: Iterable[Frame], metadata: Mapping[str, Any]) -> Iterator[tuple[Batch, int]]:
    """Yield batches of frames (uint8 [H, W, 3] BGR, any size) as a model's metadata wants them, and how many count.

    Frames are fitted to its size; the last batch is padded by repeating.
    """
    size_hw, batch, fit = metadata["size_hw"], metadata["batch"], fit_of(metadata)
    fitted = (fit_frame(frame, size_hw, fit) for frame in frames)
    while group := list(islice(fitted, batch)):
        yield np.stack([*group, *[group[-1]] * (batch - len(group))]), len(group)
