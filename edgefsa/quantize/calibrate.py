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
from edgefsa.quantize.histogram import DEFAULT_METHOD, Histogram, amax_of, check_method
from edgefsa.quantize.placement import place
from edgefsa.quantize.ranges import Ranges

Batch = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Calibration:
    """Histograms of the activations of an exported graph, which grow as frames come.

    `data` is the record of the frames so far, {"name", "fingerprint", "frames"}: without a fingerprint of the data it
    is a hash of the frames' bytes. Memory does not grow with the frames. Raises GraphError for a graph that is not
    edgefsa's.
    """

    def __init__(self, onnx_path: str | Path | LoadedGraph, data_name: str = "frames", fingerprint: str = "") -> None:
        self._graph = read_graph(onnx_path)
        self._tensors = calibrated_tensors(self._graph.model)
        self._run = tensors_runner(self._graph.model, self._tensors)
        self._histograms = {name: Histogram() for name in self._tensors}
        self._data_name, self._fingerprint = data_name, fingerprint
        self._digest, self._done = hashlib.sha256(), 0

    def add(self, frames: Iterable[Frame], progress: Callable[[int], None] | None = None) -> None:
        """Run frames (uint8 [H, W, 3] BGR, any size); the last batch is filled up with frames that do not count.

        `progress` gets the number of frames so far. Raises RangesError where an activation is not finite.
        """
        for batch, used in batches(frames, self._graph.metadata):
            self._digest.update(batch[:used].tobytes())
            for name, value in zip(self._tensors, self._run(batch), strict=True):
                self._histograms[name].add(_finite(value[:used], name, self._done + 1, self._graph.path))
            self._done += used
            if progress is not None:
                progress(self._done)

    @property
    def data(self) -> dict[str, Any]:
        """The record of the frames so far."""
        fingerprint = self._fingerprint or self._digest.hexdigest()
        return {"name": self._data_name, "fingerprint": fingerprint, "frames": self._done}

    def ranges(self, method: str) -> Ranges:
        """Return the ranges that a method reads from what came so far; RangesError where nothing did."""
        check_method(method)
        if not self._done:
            raise RangesError(f"calibration got no frames from {self._data_name}; give data with at least one image")
        return Ranges(
            model=self._graph.metadata["model"],
            model_sha256=weights_hash(self._graph.model),
            method=method,
            data=self.data,
            tensors={name: _range_of(item, method) for name, item in self._histograms.items()},
        )


def ranges_from_calibration(
    onnx_path: str | Path | LoadedGraph,
    frames: Iterable[Frame],
    *,
    method: str = DEFAULT_METHOD,
    max_frames: int = 128,
    data_name: str = "frames",
    data_fingerprint: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Ranges:
    """Run at most `max_frames` frames (uint8 [H, W, 3] BGR, any size) through an exported graph and return its ranges.

    `method` is one of METHODS: "minmax", "percentile" (99.99), "entropy", "mse", ... Raises InputError for an unknown
    method, GraphError for a graph that is not edgefsa's and RangesError where there are no frames or an activation is
    not finite.
    """
    check_method(method)
    calibration = Calibration(onnx_path, data_name, data_fingerprint)
    calibration.add(
        islice(frames, max_frames), None if progress is None else lambda done: progress(done, max(max_frames, done))
    )
    return calibration.ranges(method)


def _range_of(histogram: Histogram, method: str) -> dict[str, float]:
    amax = amax_of(histogram, method)
    return {"amax": amax, "clipped": histogram.share_above(amax)}


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
