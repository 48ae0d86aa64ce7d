"""The proof that an engine's layers run in the precision that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgefsa.engines.session import LayerPrecision
from edgefsa.errors import PrecisionError

if TYPE_CHECKING:
    import onnx

_FLOAT16 = 10  # onnx.TensorProto.FLOAT16
_ACCEPTED = {"int8": ("int8",), "fp16": ("f16", "bf16")}
_NAMED_IN_MESSAGE = 6
# What the runtimes call their layers that multiply, in lower case.
MULTIPLYING_KINDS = frozenset(
    [
        *("convolution", "deconvolution", "fullyconnected", "matmul"),
        *("conv", "fusedconv", "nhwcfusedconv", "convtranspose", "gemm", "fusedgemm", "fusedmatmul"),
        *("qlinearconv", "qlinearmatmul", "qgemm", "convinteger", "matmulinteger", "matmulintegertofloat"),
        *("matrix_multiply", "convactpool"),
    ]
)


def quantised_nodes(graph: onnx.GraphProto) -> list[str]:
    """Name the convolutions and matrix products whose two factors both come from DequantizeLinear."""
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [node.name for node in _multiplying(graph) if set(node.input[:2]) <= dequantised]


def half_nodes(graph: onnx.GraphProto) -> list[str]:
    """Name the convolutions and matrix products whose stored weight is float16."""
    half = {item.name for item in graph.initializer if item.data_type == _FLOAT16}
    return [node.name for node in _multiplying(graph) if node.input[1] in half]


def convolution_nodes(graph: onnx.GraphProto) -> list[str]:
    """Name all convolutions."""
    return [node.name for node in _multiplying(graph) if node.op_type in ("Conv", "ConvTranspose")]


def _multiplying(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm")]


def prove_precision(
    precision: str,
    expected: Sequence[str],
    layers: Iterable[LayerPrecision],
    account: str,
) -> dict[str, Any]:
    """Hold the runtime's account of its multiplying layers against the nodes that should run in `precision`.

    Returns what was found, for the manifest: {"account", "expected", "proved"}. Raises PrecisionError, naming the
    nodes and what they run in, where one does not.
    """
    if precision == "fp32":
        return {"account": account, "expected": 0, "proved": 0}
    if not expected:
        raise PrecisionError(
            f"no layer of this graph can run in {precision}: nothing was converted; check --skip, or build fp32"
        )
    heavy = [layer for layer in layers if layer.kind.lower() in MULTIPLYING_KINDS]
    runs_in = {node: layer.precision for layer in heavy for node in (layer.name, *layer.nodes)}
    found = {node: runs_in.get(node, "not found") for node in expected}
    wrong = [f"{node} ({kind})" for node, kind in found.items() if kind not in _ACCEPTED[precision]]
    if wrong:
        more = f" and {len(wrong) - _NAMED_IN_MESSAGE} more" if len(wrong) > _NAMED_IN_MESSAGE else ""
        raise PrecisionError(
            f"{len(wrong)} of {len(expected)} {precision} layers do not run in {precision} by the account of "
            f"{account}: {', '.join(wrong[:_NAMED_IN_MESSAGE])}{more}; build another precision or target, or leave "
            "them out with --skip"
        )
    return {"account": account, "expected": len(expected), "proved": len(expected)}


def layer_counts(layers: Iterable[LayerPrecision]) -> dict[str, int]:
    """Count the multiplying layers by precision, the most frequent first."""
    heavy = (layer.precision for layer in layers if layer.kind.lower() in MULTIPLYING_KINDS)
    return dict(Counter(heavy).most_common())
