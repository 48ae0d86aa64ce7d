"""How well the scales of a Q/DQ graph fit frames: how much of its codes each tensor uses, and what is clipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.graph.blocks import blocks_of
from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.running import named_tensors_runner
from edgefsa.quantize.ranges import Ranges

Frames = npt.NDArray[np.uint8]

# Calibrations keep about all but 1 in 10,000 values of a tensor.
_KEPT = 0.9999
# Ranges of one data set differ on another by a factor of two or three. Six, or 2 % of values clipped, is a wrong scale.
_LEAST_USED, _MOST_CLIPPED = 1 / 6, 0.02


@dataclass(frozen=True)
class CodeUse:
    """How a quantised activation fills its codes.

    `used` is the part of the codes' range (0 to 1, more where it is passed) that all but 1 in 10,000 magnitudes lie
    within, `clipped` the share of values above the largest code. A tensor that `shares` its scale with others, before a
    concatenation, may use little of it.
    """

    tensor: str
    used: float
    clipped: float
    shares: bool = False

    @property
    def fault(self) -> str | None:
        """What is wrong with the scale, in words, or None."""
        if self.clipped > _MOST_CLIPPED:
            return f"the scale of {self.tensor} is too small: {100 * self.clipped:.1f} % of its values are clipped"
        if self.used < _LEAST_USED and not self.shares:
            times = 1 / max(self.used, 1e-3)
            return f"the scale of {self.tensor} is about {times:.2g} times too large: few of its codes are used"
        return None


def code_use(quantised: onnx.ModelProto, batches: Sequence[Frames]) -> list[CodeUse]:
    """Run batches uint8 [N, H, W, 3] through a Q/DQ graph and return how each activation fills its codes.

    `used` is that of the batch which fills them most. Tensors that hold nothing but zero are left out. What lies below
    the smallest code is not counted as clipped: where a ReLU follows, that is meant.
    """
    editor = GraphEditor(quantised)
    nodes = [node for node in editor.nodes if node.op_type == "QuantizeLinear" and editor.is_stored(node.input[1])]
    if not nodes:
        return []
    run = named_tensors_runner(quantised, [node.input[0] for node in nodes])
    found: dict[str, list[tuple[float, float]]] = {}
    for frames in batches:
        values = run(frames)
        for node in nodes:
            tensor = values[node.input[0]].astype(np.float32)
            if tensor.any():
                found.setdefault(node.name, []).append(_used_and_clipped(editor, node, tensor))
    uses = []
    for node in nodes:
        if node.name in found:
            used, clipped = zip(*found[node.name], strict=True)
            uses.append(CodeUse(node.input[0], max(used), float(np.mean(clipped)), _is_joined(editor, node)))
    return uses


def calibrated_codes(
    source: onnx.ModelProto, quantised: onnx.ModelProto, ranges: Ranges
) -> dict[str, dict[str, float | str]]:
    """Return what a run can hold the activations of a Q/DQ graph against, by their names in the float graph `source`.

    `amax` is the largest magnitude that the codes hold, `clipped` the share of magnitudes above it on the frames of the
    calibration (0 to 1), `block` the part of the network. What a ReLU alone reads is left out: half of it is clipped
    on purpose.
    """
    editor, whole = GraphEditor(quantised), GraphEditor(source)
    ends = {
        node.output[0].removesuffix("/QuantizeLinear"): _step_and_end(editor, node)[1]
        for node in editor.nodes
        if node.op_type == "QuantizeLinear" and editor.is_stored(node.input[1])
    }
    block_of = {tensor: block.name for block in blocks_of(source) for tensor in block.tensors}
    return {
        name: {"amax": ends[name], "clipped": item.get("clipped", 0.0), "block": block_of.get(name, "")}
        for name, item in ranges.tensors.items()
        if name in ends and [reader.op_type for reader in whole.consumers(name)] != ["Relu"]
    }


def _step_and_end(editor: GraphEditor, quantise: onnx.NodeProto) -> tuple[float, float]:
    """Return the step of a QuantizeLinear node and the largest value that its codes hold."""
    zero = editor.array(quantise.input[2]) if len(quantise.input) > 2 else np.uint8(0)
    step = float(editor.array(quantise.input[1]))
    return step, step * (np.iinfo(zero.dtype).max - int(zero))


def _used_and_clipped(
    editor: GraphEditor, quantise: onnx.NodeProto, tensor: npt.NDArray[np.float32]
) -> tuple[float, float]:
    step, end = _step_and_end(editor, quantise)
    return float(np.quantile(np.abs(tensor), _KEPT)) / end, float(np.mean(tensor > end + step / 2))


def _is_joined(editor: GraphEditor, quantise: onnx.NodeProto) -> bool:
    """Return whether a concatenation reads the tensor that `quantise` rounds."""
    codes = editor.consumers(quantise.output[0])
    return any(reader.op_type == "Concat" for node in codes for reader in editor.consumers(node.output[0]))
