"""Which blocks of a network INT8 harms, judged on the Q/DQ graph alone, before an engine is built. Needs onnx."""

from __future__ import annotations

import glob
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.graph.blocks import blocks_of
from edgefsa.graph.cost import macs_by_node
from edgefsa.graph.files import LOGITS
from edgefsa.graph.running import tensors_runner
from edgefsa.quantize.placement import place
from edgefsa.quantize.qdq import int8_onnx
from edgefsa.quantize.ranges import Ranges

Frames = npt.NDArray[np.uint8]
# Without any difference, or without any signal.
LIMIT_DB = 200.0


@dataclass(frozen=True)
class Candidate:
    """A block that INT8 quantises and that may be left in float instead.

    `nodes` are its convolutions and matrix products that are quantised, `macs_share` (0 to 1) is what it has of the
    network's multiply-accumulates.
    """

    name: str
    nodes: tuple[str, ...]
    macs_share: float


def candidates_of(model: onnx.ModelProto, skip: Collection[str] = (), activations: str = "int8") -> list[Candidate]:
    """Return the blocks in which `int8_onnx` quantises nodes, in graph order; `skip` are left in float in any case."""
    quantised = set(place(model, skip, integer_outputs=activations == "uint8").weights)
    macs = macs_by_node(model)
    total = max(sum(macs.values()), 1)
    return [
        Candidate(block.name, nodes, sum(macs.get(name, 0) for name in block.nodes) / total)
        for block in blocks_of(model)
        if (nodes := tuple(name for name in block.weights if name in quantised))
    ]


def skip_patterns(candidates: Sequence[Candidate], in_float: Collection[str]) -> tuple[str, ...]:
    """Return the patterns with which `int8_onnx` leaves the blocks named in `in_float` in float."""
    return tuple(glob.escape(node) for block in candidates if block.name in in_float for node in block.nodes)


class LogitNoise:
    """The logits' signal-to-noise ratio of INT8 variants of a network on a few batches, uint8 [N, H, W, 3] BGR each.

    A variant's graph runs literally as ONNX defines it, so that a ratio is the same on every machine and needs no
    engine.
    """

    def __init__(
        self, model: onnx.ModelProto, ranges: Ranges, batches: Sequence[Frames], activations: str = "int8"
    ) -> None:
        self._model, self._ranges, self._batches, self._activations = model, ranges, batches, activations
        self._signal = self._logits(model)

    def snr_db(self, skip: Collection[str]) -> float:
        """Return the ratio in decibels with the nodes that fit `skip` in float, from -LIMIT_DB to LIMIT_DB."""
        variant, _ = int8_onnx(self._model, self._ranges, skip=skip, activations=self._activations)
        pairs = list(zip(self._signal, self._logits(variant), strict=True))
        noise = sum(float(np.square(found - wanted).sum()) for wanted, found in pairs)
        signal = sum(float(np.square(wanted).sum()) for wanted, _ in pairs)
        if noise == 0:
            return LIMIT_DB
        ratio = signal / noise if math.isfinite(noise) else 0.0
        return min(max(10 * math.log10(max(ratio, 1e-30)), -LIMIT_DB), LIMIT_DB)

    def _logits(self, model: onnx.ModelProto) -> list[npt.NDArray[np.float64]]:
        run = tensors_runner(model, [LOGITS], optimised=False)
        return [run(batch)[0].astype(np.float64) for batch in self._batches]
