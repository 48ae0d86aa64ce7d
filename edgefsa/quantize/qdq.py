"""Explicit INT8: QuantizeLinear / DequantizeLinear pairs with the scales that ranges give."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from edgefsa.errors import InputError
from edgefsa.graph.editing import GraphEditor, int_attribute
from edgefsa.quantize.biases import integer_biases
from edgefsa.quantize.half import fits_half, half_rest, half_scale
from edgefsa.quantize.half_plan import HalfPlan, plan_half
from edgefsa.quantize.placement import Placement, never_negative, place, result_of
from edgefsa.quantize.ranges import Ranges
from edgefsa.quantize.scan import HalfScan

LARGEST = 127  # of signed codes, which are symmetric: -128 is not used for weights
# By their bits. Two products of a weight of 64 and a uint8 activation are the most that 16 bits hold.
LARGEST_WEIGHT = {8: LARGEST, 7: 64}
ACTIVATIONS = ("int8", "uint8", "mixed")
RESTS = ("f32", "f16")


@dataclass(frozen=True)
class QuantizationSummary:
    """What became INT8 and what did not.

    `quantised` are the names of the convolutions and matrix products in INT8, `float_nodes` maps the nodes of
    weight that stayed in float to the reason, `tensors` maps each quantised activation to its scale. Where the rest
    runs in float16, `f32_nodes` maps the nodes that stay in float32 to the reason.
    """

    activations: str
    quantised: list[str]
    float_nodes: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, float] = field(default_factory=dict)
    f32_nodes: dict[str, str] = field(default_factory=dict)


def int8_onnx(
    model: onnx.ModelProto,
    ranges: Ranges,
    *,
    skip: Collection[str] = (),
    activations: str = "int8",
    rest: str = "f32",
    int8_operators: bool = False,
    weight_bits: int = 8,
    scan: HalfScan | None = None,
) -> tuple[onnx.ModelProto, QuantizationSummary]:
    """Return `model` with Q/DQ pairs, and what was quantised; `model` stays as it is.

    Activations are symmetric with one scale per tensor, amax / 127, and zero point 0. Weights are stored as INT8
    with one scale per output channel: -127 to 127, or -64 to 64 with `weight_bits` 7, for CPUs whose kernels saturate
    (see `engines.weights`). Biases stay in float, function bodies are untouched. `skip` are name patterns of nodes to
    leave in float. Raises RangesError where the ranges are of another network, and InputError for a pattern that fits
    no node.

    activations="uint8" is the form that ONNX Runtime's CPU kernels are fast with: the same steps with zero point
    128, or steps of amax / 255 with zero point 0 where a tensor is never negative, so that a ReLU merges with its
    rounding; the results of convolutions and residual additions are rounded too, the classifier stays in float, and
    biases of matrix products are int32.

    activations="mixed" is for OpenVINO: tensors that are never negative, and maps that a Concat joins, are uint8 as
    there, all else is the symmetric INT8; both sides of residual additions and what max poolings read are rounded too.

    rest="f16" is for GPUs: what is not INT8 runs in float16 where `fp16_onnx` deems that safe, by `scan` too. Scales
    are then rounded up to float16, weights with the scale as rounded, and a tensor whose scale float16 does not hold
    well stays in float32 with the nodes around it. `int8_operators` is that of `placement.place`.
    """
    _check_choices(
        activations=(activations, ACTIVATIONS), rest=(rest, RESTS), weight_bits=(weight_bits, LARGEST_WEIGHT)
    )
    ranges.check(model)
    plan = place(
        model,
        skip,
        integer_outputs=activations == "uint8",
        integer_sums=activations == "mixed",
        int8_operators=int8_operators,
    )
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    editor = GraphEditor(quantised)
    zeros = _zero_points(editor, plan, activations)
    scales = _scales(plan, ranges, zeros)
    if activations == "uint8":
        _round_before_relu(editor, plan, scales, zeros)
    half = _choose_half(model, ranges, scales, scan) if rest == "f16" else HalfPlan()
    _quantise_weights(editor, plan, half.nodes, weight_bits)
    if activations == "uint8":
        integer_biases(editor, model, plan.weights, scales)
    _quantise_activations(editor, plan, scales, zeros)
    editor.drop_unused_tensors()
    if rest == "f16":
        half_rest(quantised, half.nodes)
    left = dict(plan.float_nodes)
    return quantised, QuantizationSummary(activations, list(plan.weights), left, scales, half.kept)


def _check_choices(**choices: tuple[object, Collection[object]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise InputError(f"{name} {value!r} is unknown; choose {' or '.join(map(str, known))}")


def _scales(plan: Placement, ranges: Ranges, zeros: Mapping[str, np.integer]) -> dict[str, float]:
    """Return each tensor's scale, amax over the codes above its zero point; tensors that share one take the largest."""
    amax = {name: ranges.amax(name) for name in plan.tensors}
    for group in plan.shared:
        amax.update(dict.fromkeys(group & amax.keys(), max(amax[name] for name in group & amax.keys())))
    return {name: amax[name] / (np.iinfo(zeros[name].dtype).max - int(zeros[name])) for name in plan.tensors}


def _choose_half(model: onnx.ModelProto, ranges: Ranges, scales: dict[str, float], scan: HalfScan | None) -> HalfPlan:
    """Plan the nodes that run in float16, and make the scales that they need exact in it."""
    unfit = {
        name: f"float16 does not hold {name} in steps of {scale:.3g}"
        for name, scale in scales.items()
        if not fits_half(scale)
    }
    scales.update({name: float(half_scale(scale)) for name, scale in scales.items() if name not in unfit})
    return plan_half(model, ranges, scan, unfit)


def _zero_points(editor: GraphEditor, plan: Placement, activations: str) -> dict[str, np.integer]:
    if activations == "int8":
        return dict.fromkeys(plan.tensors, np.int8(0))
    plain = never_negative(editor)
    for group in plan.shared:
        if not group <= plain:
            plain -= group
    # OpenVINO's kernels for AVX-512 read uint8 up to 25 % faster than int8, while on AMX zero point 128 costs a network
    # up to 11 %; joined maps, which the widest convolutions read, gain the first without the second.
    joined = set().union(*plan.shared) if activations == "mixed" else set(plan.tensors)
    signed = {name: np.uint8(128) if name in joined else np.int8(0) for name in plan.tensors}
    return {name: np.uint8(0) if name in plain else signed[name] for name in plan.tensors}


def _round_before_relu(
    editor: GraphEditor, plan: Placement, scales: dict[str, float], zeros: dict[str, np.integer]
) -> None:
    """Round ahead of a ReLU as well, with the same steps, where zero point 128 keeps it from merging with it.

    The numbers stay the same, and the convolution has the integer result that its kernel needs.
    """
    for node in editor.nodes:
        tensor = result_of(editor, node) if node.name in plan.weights else node.output[0]
        if tensor != node.output[0] and zeros.get(tensor, 0) != 0:
            plan.reads.add((editor.consumers(node.output[0])[0].name, 0))
            scales[node.output[0]], zeros[node.output[0]] = scales[tensor], zeros[tensor]


def _quantise_activations(
    editor: GraphEditor, plan: Placement, scales: dict[str, float], zeros: dict[str, np.integer]
) -> None:
    pairs = {name: _pair(editor, name, scale, zeros[name]) for name, scale in scales.items()}
    nodes = [node for item in editor.graph.input for node in pairs.get(item.name, ())]
    for node in editor.nodes:
        for index, name in enumerate(node.input):
            if (node.name, index) in plan.reads:
                node.input[index] = pairs[name][1].output[0]
        nodes.append(node)
        for name in node.output:
            nodes.extend(pairs.get(name, ()))
    editor.set_nodes(nodes)


def _pair(editor: GraphEditor, tensor: str, scale: float, zero: np.integer) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    constants = [
        editor.store(f"{tensor}.scale", np.asarray(scale, np.float32)),
        editor.store(f"{tensor}.zero_point", np.asarray(zero)),
    ]
    low, high = f"{tensor}/QuantizeLinear", f"{tensor}/DequantizeLinear"
    return (
        helper.make_node("QuantizeLinear", [tensor, *constants], [low], low),
        helper.make_node("DequantizeLinear", [low, *constants], [high], high),
    )


def _quantise_weights(editor: GraphEditor, plan: Placement, half: Collection[str], bits: int) -> None:
    chosen, done = set(plan.weights), dict[tuple[str, int, bool], str]()
    nodes: list[onnx.NodeProto] = []
    for node in editor.nodes:
        if node.name in chosen:
            key = (node.input[1], output_axis(editor, node), node.name in half)
            if key not in done:
                nodes.append(_weight_node(editor, *key, bits))
                done[key] = nodes[-1].output[0]
            node.input[1] = done[key]
        nodes.append(node)
    editor.set_nodes(nodes)


def output_axis(editor: GraphEditor, node: onnx.NodeProto) -> int:
    """Return the axis of a node's weight that counts output channels."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and int_attribute(node, "transB", 0)):
        return 0
    return editor.array(node.input[1]).ndim - 1


def _weight_node(editor: GraphEditor, weight: str, axis: int, half: bool, bits: int) -> onnx.NodeProto:
    values, scale = int8_weight(editor.array(weight).astype(np.float32), axis, half=half, bits=bits)
    inputs = [
        editor.store(f"{weight}.int8", values),
        editor.store(f"{weight}.scale", scale),
        editor.store(f"{weight}.zero_point", np.zeros(len(scale), np.int8)),
    ]
    # One weight may be stored twice: along another axis, or with scales for float16.
    name = f"{weight}/DequantizeLinear{inputs[0].removeprefix(f'{weight}.int8')}"
    return helper.make_node("DequantizeLinear", inputs, [name], name, axis=axis)


def int8_weight(
    weight: npt.NDArray[np.float32], axis: int, *, half: bool = False, bits: int = 8
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Round a weight to -127 to 127, or -64 to 64 with 7 bits, with one scale per channel of `axis`; returns both.

    With `half` the scales, still float32, are values that float16 has.
    """
    others = tuple(index for index in range(weight.ndim) if index != axis)
    amax = np.abs(weight).max(axis=others)
    largest = LARGEST_WEIGHT[bits]
    scale = (np.where(amax > 0, amax, 1.0) / largest).astype(np.float32)
    if half:
        scale = half_scale(scale)
    shape = [-1 if index == axis else 1 for index in range(weight.ndim)]
    return np.clip(np.rint(weight / scale.reshape(shape)), -largest, largest).astype(np.int8), scale
