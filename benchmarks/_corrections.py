"""What others do to weights and biases so that INT8 costs less, for comparison: each returns another float graph.

`with_outliers` is the network that needs it: the same function, with a few channels far larger than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from edgefsa.graph.editing import GraphEditor, int_attribute, ints_attribute
from edgefsa.graph.running import tensors_runner
from edgefsa.media.frames import Frame
from edgefsa.quantize.equalise import equalised, joints, rescale
from edgefsa.quantize.placement import place
from edgefsa.quantize.qdq import int8_weight

Floats = npt.NDArray[np.float64]
Correction = Callable[[onnx.ModelProto, Sequence[Frame]], onnx.ModelProto]

_OUTLIERS = 0.1  # of the channels
_PIXELS = 256  # of each frame, whose surroundings the rounding is fitted to
_DAMPING = 0.01


def with_outliers(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Return the same function with every tenth channel between two convolutions 8 to 64 times larger."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    editor, rng = GraphEditor(made), np.random.default_rng(seed)
    for joint in joints(editor):
        channels = editor.array(joint.before.input[1]).shape[0]
        larger = np.where(rng.random(channels) < _OUTLIERS, 2 ** rng.uniform(3, 6, channels), 1.0)
        rescale(editor, joint, 1 / larger)
    return made


def as_it_is(model: onnx.ModelProto, _frames: Sequence[Frame]) -> onnx.ModelProto:
    """Return the graph itself."""
    return model


def with_equalised_channels(model: onnx.ModelProto, _frames: Sequence[Frame]) -> onnx.ModelProto:
    """Return the graph after cross-layer equalisation."""
    return equalised(model)


def with_corrected_biases(model: onnx.ModelProto, frames: Sequence[Frame]) -> onnx.ModelProto:
    """Return the graph with each convolution's bias less the mean that the rounding of its weights adds to its result.

    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, with the means
    measured.
    """
    made = onnx.ModelProto.FromString(model.SerializeToString())
    editor = GraphEditor(made)
    nodes = [node for node in _convolutions(editor, model) if len(node.input) > 2]
    run = tensors_runner(model, [node.input[0] for node in nodes])
    means = np.mean([_means(run(frame[None])) for frame in frames], axis=0, dtype=object)
    for node, mean in zip(nodes, means, strict=True):
        weight = editor.array(node.input[1]).astype(np.float64)
        error = (_on_grid(weight) - weight).sum(axis=(2, 3))
        groups = int_attribute(node, "group", 1)
        shift = np.concatenate(
            [part @ part_mean for part, part_mean in zip(np.split(error, groups), np.split(mean, groups), strict=True)]
        )
        _replace(editor, node.input[2], editor.array(node.input[2]) - shift)
    return made


def _means(tensors: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.object_]:
    made = np.empty(len(tensors), object)
    for index, tensor in enumerate(tensors):
        made[index] = tensor.mean(axis=(0, 2, 3), dtype=np.float64)
    return made


def with_fitted_rounding(model: onnx.ModelProto, frames: Sequence[Frame]) -> onnx.ModelProto:
    """Return the graph with weights on INT8's grid, rounded so that the convolutions' results change least.

    Column by column, what rounding one weight costs is made up for by those not rounded yet (Frantar et al., "GPTQ",
    2022): the closed form of what AdaRound (Nagel et al., 2020) searches by gradients.
    """
    made = onnx.ModelProto.FromString(model.SerializeToString())
    editor = GraphEditor(made)
    nodes = [node for node in _convolutions(editor, model) if int_attribute(node, "group", 1) == 1]
    run, rng = tensors_runner(model, [node.input[0] for node in nodes]), np.random.default_rng(0)
    products = [np.zeros((editor.array(node.input[1])[0].size,) * 2) for node in nodes]
    for frame in frames:
        for node, tensor, product in zip(nodes, run(frame[None]), products, strict=True):
            seen = _surroundings(tensor, node, editor.array(node.input[1]).shape[2:], rng)
            product += seen.T @ seen
    for node, product in zip(nodes, products, strict=True):
        _replace(editor, node.input[1], _fitted(editor.array(node.input[1]).astype(np.float64), product))
    return made


def _surroundings(
    tensor: npt.NDArray[np.float32], node: onnx.NodeProto, kernel_hw: tuple[int, ...], rng: np.random.Generator
) -> Floats:
    """Return what a convolution multiplies at random places, [places, channels * height * width]."""
    top, left, bottom, right = ints_attribute(node, "pads") or [0, 0, 0, 0]
    steps = ints_attribute(node, "dilations") or [1, 1]
    padded = np.pad(tensor[0], ((0, 0), (top, bottom), (left, right)))
    reach = [step * (kernel - 1) for step, kernel in zip(steps, kernel_hw, strict=True)]
    high, wide = padded.shape[1] - reach[0], padded.shape[2] - reach[1]
    rows, columns = rng.integers(0, high, _PIXELS), rng.integers(0, wide, _PIXELS)
    taps = [
        padded[:, rows + steps[0] * row, columns + steps[1] * column]
        for row in range(kernel_hw[0])
        for column in range(kernel_hw[1])
    ]
    return np.stack(taps, axis=-1).transpose(1, 0, 2).reshape(_PIXELS, -1).astype(np.float64)


def _fitted(weight: Floats, product: Floats) -> Floats:
    """Round [out, ...] weights to their grid, given the sum of the outer products of what they multiply."""
    rows = weight.reshape(len(weight), -1).copy()
    scale = np.abs(rows).max(axis=1) / 127
    scale[scale == 0] = 1.0
    damped = product + np.eye(len(product)) * (_DAMPING * np.trace(product) / len(product) + 1e-12)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    fixed = np.abs(rows) >= np.abs(rows).max(axis=1, keepdims=True)  # they are the scale
    for column in range(rows.shape[1]):
        rounded = np.clip(np.rint(rows[:, column] / scale), -127, 127) * scale
        rounded = np.where(fixed[:, column], weight.reshape(len(weight), -1)[:, column], rounded)
        error = (rows[:, column] - rounded) / upper[column, column]
        rows[:, column:] -= np.outer(error, upper[column, column:])
        rows[:, column] = rounded
    return rows.reshape(weight.shape)


def _convolutions(editor: GraphEditor, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    chosen = set(place(model).weights)
    return [node for node in editor.nodes if node.op_type == "Conv" and node.name in chosen]


def _on_grid(weight: Floats) -> Floats:
    codes, scale = int8_weight(weight.astype(np.float32), 0)
    return codes * scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64)


def _replace(editor: GraphEditor, name: str, values: npt.NDArray[np.floating]) -> None:
    editor.discard(name)
    editor.store(name, values.astype(np.float32))


CORRECTIONS: dict[str, Correction] = {
    "none": as_it_is,
    "bias correction": with_corrected_biases,
    "equalisation": with_equalised_channels,
    "fitted rounding": with_fitted_rounding,
}
