"""Cross-layer equalisation: channels between two convolutions are rescaled so that one scale serves them all.

Activations have one INT8 scale per tensor, so that a channel a hundred times larger than the others takes their codes.
A ReLU lets positive factors through: the convolution before it is divided by them, those behind it are multiplied, and
the network computes what it did (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, section 4.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.artifacts import atomic_file
from edgefsa.graph.editing import GraphEditor, int_attribute
from edgefsa.graph.files import LOGITS, load_graph

Factors = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Joint:
    """A convolution, and those that alone read its result, at once or behind a ReLU."""

    before: onnx.NodeProto
    behind: tuple[onnx.NodeProto, ...]


def equalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes what `model` does, with the weights on both sides of its joints made alike.

    Its weights are others, so that it needs ranges of its own.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    editor = GraphEditor(made)
    for joint in joints(editor):
        rescale(editor, joint, _equalising(editor, joint))
    return made


def equalise_file(path: Path) -> None:
    """Equalise an exported ONNX file in place; it is there whole at any time."""
    model = equalised(load_graph(path))
    with atomic_file(path) as partial:
        partial.write_bytes(model.SerializeToString())


def joints(editor: GraphEditor) -> list[Joint]:
    """Return the places of a float graph where channels can be rescaled and nothing else sees it."""
    found = []
    for node in editor.nodes:
        if node.op_type != "Conv" or not _has_own_weights(editor, node) or node.output[0] == LOGITS:
            continue
        readers = editor.consumers(node.output[0])
        if [reader.op_type for reader in readers] == ["Relu"]:
            readers = editor.consumers(readers[0].output[0])
        if readers and all(_takes_factors(editor, reader) for reader in readers):
            found.append(Joint(node, tuple(readers)))
    return found


def _has_own_weights(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """Return whether a node's weight and bias are stored, and no other node reads them."""
    return all(editor.is_stored(name) and len(editor.consumers(name)) == 1 for name in node.input[1:])


def _takes_factors(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """Return whether a node is a convolution over all channels, or over each for itself."""
    if node.op_type != "Conv" or not _has_own_weights(editor, node):
        return False
    return int_attribute(node, "group", 1) == 1 or _is_depthwise(editor, node)


def _is_depthwise(editor: GraphEditor, node: onnx.NodeProto) -> bool:
    """Return whether each input channel has one output channel of its own."""
    shape = editor.array(node.input[1]).shape
    return shape[:2] == (int_attribute(node, "group", 1), 1)


def rescale(editor: GraphEditor, joint: Joint, factors: Factors) -> None:
    """Divide what the first convolution gives by `factors`, positive, one a channel, and multiply it behind again."""
    for name in joint.before.input[1:]:
        values = editor.array(name).astype(np.float64)
        _replace(editor, name, values / _along(factors, 0, values.ndim))
    for node in joint.behind:
        values = editor.array(node.input[1]).astype(np.float64)
        _replace(editor, node.input[1], values * _along(factors, _channel_axis(editor, node), values.ndim))


def _equalising(editor: GraphEditor, joint: Joint) -> Factors:
    """Return the square root of how much larger a channel's weights are before the joint than behind it."""
    before = _largest(editor, joint.before, 0)
    behind = np.max([_largest(editor, node, _channel_axis(editor, node)) for node in joint.behind], axis=0)
    used = (before > 0) & (behind > 0)
    factors: Factors = np.ones(len(before))
    factors[used] = np.sqrt(before[used] / behind[used])
    return factors


def _channel_axis(editor: GraphEditor, node: onnx.NodeProto) -> int:
    """Return the axis of a reader's weight that counts the channels it reads."""
    return 0 if _is_depthwise(editor, node) else 1


def _largest(editor: GraphEditor, node: onnx.NodeProto, axis: int) -> Factors:
    weight = np.abs(editor.array(node.input[1]).astype(np.float64))
    return np.asarray(weight.max(axis=tuple(index for index in range(weight.ndim) if index != axis)))


def _along(factors: Factors, axis: int, ndim: int) -> Factors:
    return factors.reshape([-1 if index == axis else 1 for index in range(ndim)])


def _replace(editor: GraphEditor, name: str, values: npt.NDArray[np.floating]) -> None:
    editor.discard(name)
    editor.store(name, values.astype(np.float32))
