"""What float16 would do to a network's tensors, measured on frames: overflow, overflowing sums, subnormals.

A float32 graph is run once for each batch with a few reductions beside every tensor, so that nothing but numbers comes
out of it. Needs onnx and onnxruntime.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgefsa.errors import RangesError
from edgefsa.graph.editing import ints_attribute
from edgefsa.graph.files import largest_batch
from edgefsa.graph.running import named_tensors_runner

Frames = npt.NDArray[np.uint8]

LARGEST_HALF = float(np.finfo(np.float16).max)
# An activation this large leaves float16 only three bits before it overflows at 65504.
LARGEST_AMAX = 8192.0
# Rounding to float16 costs 0.0003 (relative L2) of what it holds with all its 11 bits, and at most 0.0005. Twice that
# is a tensor that lies in good part among the subnormals, below 6.1e-5, where bits are missing.
LARGEST_ROUNDING = 1e-3

_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_SUMS = ("ReduceSum", "ReduceMean", "GlobalAveragePool", "AveragePool")


@dataclass(frozen=True)
class TensorScan:
    """One tensor on all frames: its largest magnitude, and the relative L2 error of rounding it to float16.

    `rounding` is infinite where a value overflows, and zero for a tensor of zeros.
    """

    amax: float
    rounding: float


@dataclass(frozen=True)
class HalfScan:
    """What was measured on `frames` frames of `data`.

    `tensors` maps each float tensor of the main graph to its figures; `sums` maps a node that adds many products or
    values to the largest partial sum that some order of the additions meets.
    """

    data: str
    frames: int
    tensors: dict[str, TensorScan]
    sums: dict[str, float]

    def unfit_tensors(self) -> dict[str, str]:
        """Return the tensors that float16 does not hold well, and why."""
        found = {}
        for name, item in self.tensors.items():
            if item.amax > LARGEST_AMAX:
                found[name] = f"{name} reaches {item.amax:.3g}, and float16 ends at {LARGEST_HALF:.0f}"
            elif item.rounding > LARGEST_ROUNDING:
                found[name] = f"{name} is subnormal in float16: rounding it costs {item.rounding:.2g} of it"
        return found

    def unfit_nodes(self) -> dict[str, str]:
        """Return the nodes whose sums may overflow in a float16 accumulator, and why."""
        return {
            node: f"its partial sums reach {largest:.3g}, and float16 ends at {LARGEST_HALF:.0f}"
            for node, largest in self.sums.items()
            if largest > LARGEST_HALF
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's record: on what it was measured, and the extremes."""
        amax = max(self.tensors, key=lambda name: self.tensors[name].amax, default="")
        rounding = max(self.tensors, key=lambda name: self.tensors[name].rounding, default="")
        total = max(self.sums, key=lambda name: self.sums[name], default="")
        return {
            "data": self.data,
            "frames": self.frames,
            "tensors": len(self.tensors),
            "largest": {"tensor": amax, "amax": _figure(self.tensors[amax].amax)} if amax else None,
            "roughest": {"tensor": rounding, "rounding": _figure(self.tensors[rounding].rounding)}
            if rounding
            else None,
            "largest_sum": {"node": total, "sum": _figure(self.sums[total])} if total else None,
        }


def _figure(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def scan_halves(model: onnx.ModelProto, batches: Iterable[Frames], data: str = "frames") -> HalfScan:
    """Run batches of frames uint8 [N, H, W, 3] BGR through a float32 graph and measure what float16 would meet."""
    probe, tensors, sums = _probe(model)
    wanted = [f"{name}/{part}" for name in tensors for part in ("amax", "power", "lost")]
    run = named_tensors_runner(probe, [*wanted, *(f"{name}/sum" for name in sums)], optimised=True)
    amax, power, lost = (dict.fromkeys(tensors, 0.0) for _ in range(3))
    largest, frames = dict.fromkeys(sums, 0.0), 0
    for batch in batches:
        found = {name: float(np.max(value)) for name, value in run(batch).items()}
        frames += len(batch)
        broken = next((name for name in tensors if not math.isfinite(found[f"{name}/amax"])), None)
        if broken is not None:
            raise RangesError(f"{broken} is not finite on frames of {data}; the weights are broken")
        for name in tensors:
            amax[name] = max(amax[name], found[f"{name}/amax"])
            power[name] += found[f"{name}/power"]
            lost[name] += found[f"{name}/lost"]
        for name in sums:
            largest[name] = max(largest[name], found[f"{name}/sum"])
    scans = {name: TensorScan(amax[name], _relative(lost[name], power[name])) for name in tensors}
    return HalfScan(data, frames, scans, largest)


def _relative(lost: float, power: float) -> float:
    if not math.isfinite(lost):
        return math.inf
    return math.sqrt(lost / power) if power > 0 else 0.0


def _probe(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str], list[str]]:
    """Return the graph with the reductions beside its tensors, and which tensors and which sums these measure."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(largest_batch(model), data_prop=True).graph
    items = [*inferred.value_info, *inferred.output]
    floats = {item.name for item in items if item.type.tensor_type.elem_type == TensorProto.FLOAT}
    shapes = {item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim] for item in items}
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    tensors = [name for node in model.graph.node for name in node.output if name in floats and shapes[name]]
    sums = [node for node in model.graph.node if node.output[0] in floats and _adds_many(node, stored)]
    for name in tensors:
        probe.graph.node.extend(_tensor_nodes(name))
    for node in sums:
        probe.graph.node.extend(_sum_nodes(node, stored, probe.graph, _values_averaged(node, shapes)))
    return probe, tensors, [node.name for node in sums]


def _adds_many(node: onnx.NodeProto, stored: dict[str, npt.NDArray[Any]]) -> bool:
    activation = len(node.input) > 0 and node.input[0] not in stored
    return node.op_type in (*_PRODUCTS, *_SUMS) and activation


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], output, **attributes)


def _tensor_nodes(name: str) -> list[onnx.NodeProto]:
    return [
        _node("Abs", [name], f"{name}/abs"),
        _node("ReduceMax", [f"{name}/abs"], f"{name}/amax", keepdims=0),
        _node("ReduceSumSquare", [name], f"{name}/power", keepdims=0),
        _node("Cast", [name], f"{name}/low", to=TensorProto.FLOAT16),
        _node("Cast", [f"{name}/low"], f"{name}/wide", to=TensorProto.FLOAT),
        _node("Sub", [f"{name}/wide", name], f"{name}/off"),
        _node("ReduceSumSquare", [f"{name}/off"], f"{name}/lost", keepdims=0),
    ]


def _sum_nodes(
    node: onnx.NodeProto, stored: dict[str, npt.NDArray[Any]], graph: onnx.GraphProto, averaged: int
) -> list[onnx.NodeProto]:
    """Measure the largest of the positive and of the negative terms' sums: (sum of magnitudes + |sum|) / 2.

    No order of additions passes it, and one, with all terms of one sign first, reaches it. A mean adds `averaged`
    values before it divides.
    """
    name = node.name
    absolute = onnx.NodeProto()
    absolute.CopyFrom(node)
    absolute.name, absolute.output[:] = f"{name}/magnitudes", [f"{name}/magnitudes"]
    made: list[onnx.NodeProto] = []
    count = len(node.input) if node.op_type in _PRODUCTS else 1  # the others of a reduction are its axes
    for index, source in enumerate(node.input[:count]):
        if source in stored:
            item = numpy_helper.from_array(np.abs(stored[source]), f"{name}/factor{index}")
            graph.initializer.append(item)
            absolute.input[index] = item.name
        elif source:
            made.append(_node("Abs", [source], f"{name}/factor{index}"))
            absolute.input[index] = f"{name}/factor{index}"
    times = numpy_helper.from_array(np.asarray(0.5 * averaged, np.float32), f"{name}/times")
    graph.initializer.append(times)
    return [
        *made,
        absolute,
        _node("Abs", [node.output[0]], f"{name}/result"),
        _node("Add", [f"{name}/magnitudes", f"{name}/result"], f"{name}/twice"),
        _node("ReduceMax", [f"{name}/twice"], f"{name}/double", keepdims=0),
        _node("Mul", [f"{name}/double", times.name], f"{name}/sum"),
    ]


def _values_averaged(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "AveragePool":
        return math.prod(ints_attribute(node, "kernel_shape"))
    if node.op_type in ("ReduceMean", "GlobalAveragePool"):
        return math.prod(shapes[node.input[0]]) // max(math.prod(shapes[node.output[0]]), 1)
    return 1
