"""Which nodes of a float graph may run in float16, and why the others stay in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto

from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.files import FRAMES, LOGITS
from edgefsa.quantize.placement import MULTIPLYING, reason_for_precision
from edgefsa.quantize.ranges import Ranges
from edgefsa.quantize.scan import LARGEST_AMAX, LARGEST_HALF, LARGEST_ROUNDING, HalfScan


@dataclass(frozen=True)
class HalfPlan:
    """`nodes` are the names of those that run in float16; `kept` maps the float nodes that do not to the reason."""

    nodes: set[str] = field(default_factory=set)
    kept: dict[str, str] = field(default_factory=dict)


def plan_half(
    model: onnx.ModelProto,
    ranges: Ranges | None = None,
    scan: HalfScan | None = None,
    unfit: Mapping[str, str] | None = None,
) -> HalfPlan:
    """Plan the float16 nodes of a float32 graph; `unfit` are further tensors, and why, that float16 does not hold.

    Norms, frequency operators, softmax, the classifier and the frames before the first weight stay in float32, and so
    does what float16 would harm by the stored values, by `ranges` (of the same network, RangesError else) or by `scan`.
    """
    if ranges is not None:
        ranges.check(model)
    tensors = {name: f"{name} reaches {amax_of(ranges, name):.3g} by its range" for name in wide_tensors(ranges)}
    tensors |= {} if scan is None else scan.unfit_tensors()
    tensors |= unfit or {}
    sums = {} if scan is None else scan.unfit_nodes()
    editor, types, plan = GraphEditor(model), tensor_types(model), HalfPlan()
    raw = {FRAMES}
    for node in editor.nodes:
        sources = [name for name in node.input if name and not editor.is_stored(name)]
        is_raw = node.op_type not in MULTIPLYING and raw.issuperset(sources)
        raw.update(node.output if is_raw else ())
        if not node.output or types.get(node.output[0]) != TensorProto.FLOAT or node.op_type == "Cast":
            continue
        # Integers above 2048 and the mean need float32.
        reason = "pixels on their way to the first weight" if is_raw else _reason(editor, node, tensors, sums)
        if reason is None:
            plan.nodes.add(node.name)
        else:
            plan.kept[node.name] = reason
    return plan


def wide_tensors(ranges: Ranges | None) -> list[str]:
    """Name the tensors that are too large for float16 by their ranges."""
    return [] if ranges is None else [name for name, item in ranges.tensors.items() if item["amax"] > LARGEST_AMAX]


def amax_of(ranges: Ranges | None, tensor: str) -> float:
    """Return a tensor's range, or nothing's."""
    return 0.0 if ranges is None else ranges.amax(tensor)


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every tensor of the main graph."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {item.name: item.data_type for item in inferred.initializer}
    tensors = [*inferred.input, *inferred.output, *inferred.value_info]
    return {item.name: item.type.tensor_type.elem_type for item in tensors} | types


def _reason(
    editor: GraphEditor, node: onnx.NodeProto, tensors: Mapping[str, str], sums: Mapping[str, str]
) -> str | None:
    """Return why a node stays in float32, or None where float16 serves."""
    if (reason := reason_for_precision(node)) is not None:
        return reason
    if LOGITS in node.output:
        return "the classifier"
    for name in (*node.input, *node.output):
        if name in tensors:
            return tensors[name]
    return sums.get(node.name) or _fault_of_stored(editor, node)


def _fault_of_stored(editor: GraphEditor, node: onnx.NodeProto) -> str | None:
    for name in node.input:
        array = editor.array(name) if editor.is_stored(name) else None
        if array is None or array.dtype != np.float32 or not array.size:
            continue
        largest = float(np.abs(array).max())
        if largest > LARGEST_HALF:
            return f"its stored {name} holds {largest:.3g}, and float16 ends at {LARGEST_HALF:.0f}"
        wide = array.astype(np.float64)
        lost = float(np.linalg.norm(array.astype(np.float16) - wide) / max(float(np.linalg.norm(wide)), 1e-300))
        if lost > LARGEST_ROUNDING:
            return f"its stored {name} is subnormal in float16: rounding it costs {lost:.2g} of it"
    return None
