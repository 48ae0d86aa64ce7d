"""Multiply-accumulates of a graph, against counts by hand and against PyTorch's own."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from torch import nn

from edgefsa.graph.cost import macs_by_node
from edgefsa.models.costs import count_macs
from tests.unit.conftest import SIZE_HW


def graph_of(text: str) -> onnx.ModelProto:
    header = '<ir_version: 10, opset_import: ["" : 20]>'
    return onnx.parser.parse_model(header + text)


@pytest.mark.parametrize(
    ("node", "shapes", "macs"),
    [
        ("logits = Conv <pads = [1, 1, 1, 1], group = 2> (x, w)", ("float[2, 4, 5, 6] x", "float[8, 2, 3, 3] w"), 8640),
        ("logits = ConvTranspose <strides = [2, 2]> (x, w)", ("float[1, 4, 5, 6] x", "float[4, 3, 2, 2] w"), 1440),
        ("logits = MatMul (x, w)", ("float[2, 7, 5] x", "float[5, 3] w"), 210),
        ("logits = Gemm <transA = 1> (x, w)", ("float[5, 7] x", "float[5, 3] w"), 105),
    ],
)
def test_by_hand(node: str, shapes: tuple[str, str], macs: int) -> None:
    rank = ", ".join("?" * shapes[0].count(",") + "?")
    beside = node.replace("logits =", "y =")
    model = graph_of(f"g ({', '.join(shapes)}) => (float[{rank}] logits) {{ [n] {node} [beside] {beside} }}")
    assert macs_by_node(model) == {"n": macs}, "what the logits do not depend on is not counted"


def test_a_whole_network_counts_as_in_pytorch(edge: nn.Module, edge_onnx: Path) -> None:
    """PyTorch counts some products of the head on k x k tokens that the export has folded beforehand."""
    assert sum(macs_by_node(onnx.load(edge_onnx)).values()) == pytest.approx(count_macs(edge, SIZE_HW), rel=1e-2)
