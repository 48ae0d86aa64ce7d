"""The proof that an engine's layers run in the precision that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgefsa.engines.session import LayerPrecision
from edgefsa.errors import PrecisionError

if TYPE_CHECKING:
    import onnx

_FLOAT16 = 10  # onnx.TensorProto.FLOAT16
_ACCEPTED = {"int8": ("int8",), "fp16": ("f16", "bf16"), "fp32": ("f32",)}
_NAMED_IN_MESSAGE = 6
# How sure one can be of what the layers run in, in the words that build, inspect and report use.
EVIDENCE = {
    "engine": "read from the engine's own layer list",
    "network": "taken from the typed network that the builder accepted",
    "none": "not proved",
}
UNKNOWN = "unknown"
# Below this share of INT8 an engine is INT8 in little but its name.
LEAST_INT8_SHARE = 0.8


def int8_products(graph: onnx.GraphProto) -> list[str]:
    """Name the convolutions and matrix products whose two factors both come from DequantizeLinear."""
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [node.name for node in _multiplying(graph) if set(node.input[:2]) <= dequantised]


def half_products(graph: onnx.GraphProto) -> list[str]:
    """Name the convolutions and matrix products whose stored weight is float16."""
    half = {item.name for item in graph.initializer if item.data_type == _FLOAT16}
    return [node.name for node in _multiplying(graph) if node.input[1] in half]


def convolutions(graph: onnx.GraphProto) -> list[str]:
    """Name all convolutions."""
    return [node.name for node in _multiplying(graph) if node.op_type in ("Conv", "ConvTranspose")]


def _multiplying(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]


def prove_precision(
    precision: str,
    expected: Sequence[str],
    layers: Iterable[LayerPrecision],
    account: str,
    evidence: str,
) -> dict[str, Any]:
    """Hold the account of an engine's multiplying layers against the nodes that should run in `precision`.

    For fp32 these are all multiplying layers whose type the account knows. Returns the manifest's record: {"evidence",
    "account", "expected", "proved"}. Raises PrecisionError, naming the nodes and what they run in, where one does not.
    """
    layers = list(layers)
    runs_in = _runs_in(layers)
    if precision == "fp32":
        runs_in = {layer.name: layer.precision for layer in layers if layer.multiplies and layer.precision != UNKNOWN}
        expected = list(runs_in)
    elif not expected:
        raise PrecisionError(
            f"no layer of this graph can run in {precision}: nothing was converted; check --skip, or build fp32"
        )
    found = {node: runs_in.get(node, "not found") for node in expected}
    wrong = [f"{node} ({kind})" for node, kind in found.items() if kind not in _ACCEPTED[precision]]
    if wrong:
        more = f" and {len(wrong) - _NAMED_IN_MESSAGE} more" if len(wrong) > _NAMED_IN_MESSAGE else ""
        raise PrecisionError(
            f"{len(wrong)} of {len(expected)} {precision} layers do not run in {precision} by the account of "
            f"{account}: {', '.join(wrong[:_NAMED_IN_MESSAGE])}{more}; build another precision or target, or leave "
            "them out with --skip"
        )
    return {"evidence": evidence, "account": account, "expected": len(expected), "proved": len(expected)}


def _runs_in(layers: Iterable[LayerPrecision]) -> dict[str, str]:
    """Return what each ONNX node that multiplies runs in; a layer that names no node stands for itself."""
    heavy = [layer for layer in layers if layer.multiplies]
    return {node: layer.precision for layer in heavy for node in (layer.nodes or (layer.name,))}


def layer_counts(layers: Iterable[LayerPrecision]) -> dict[str, int]:
    """Count the multiplying layers by precision, the most frequent first."""
    heavy = (layer.precision for layer in layers if layer.multiplies)
    return dict(Counter(heavy).most_common())


@dataclass(frozen=True)
class MacsShares:
    """Shares (0 to 1) of a network's multiply-accumulates that run in INT8 and in 16-bit floats.

    `in_float` are the nodes that an INT8 engine computes in float, the largest first: {"node", "share", "reason"}.
    """

    int8: float
    half: float
    in_float: list[dict[str, Any]]


def macs_shares(
    macs: Mapping[str, int], layers: Iterable[LayerPrecision], float_reasons: Mapping[str, str]
) -> MacsShares:
    """Weigh the layers of an engine by the multiply-accumulates of their nodes.

    `macs` are those of `graph.cost.macs_by_node`, `float_reasons` why nodes were left in float when they were
    converted. A node that no layer names counts as float.
    """
    runs_in = _runs_in(layers)
    total = max(sum(macs.values()), 1)

    def share(precisions: Collection[str]) -> float:
        return sum(count for node, count in macs.items() if runs_in.get(node) in precisions) / total

    left = sorted((node for node in macs if runs_in.get(node) != "int8"), key=lambda node: -macs[node])
    in_float = [
        {
            "node": node,
            "share": round(macs[node] / total, 4),
            "reason": float_reasons.get(node, "part of a frequency operator or of an attention, whose sums need float"),
        }
        for node in left
    ]
    return MacsShares(round(share(_ACCEPTED["int8"]), 4), round(share(_ACCEPTED["fp16"]), 4), in_float)
