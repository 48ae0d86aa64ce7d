"""The two small networks and their variants as graphs: what is folded, what is one node, what becomes INT8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgefsa.export import inline_functions, load_graph, onnx_from_model, read_metadata
from edgefsa.models import FrequencySelfAttention, ModelConfig, NonLocalAttention, create_model, replace_nonlocal
from edgefsa.quantize.placement import place

FSANET_CONVS, SPANET_CONVS, BLOCKS = 26, 81, 8


def with_random_weights(model: nn.Module) -> nn.Module:
    """Norms that shift and scale, gains that are not 0: what is folded wrongly shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point() and value.ndim < 2:
                value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(0.5, 0.3)
    return model.eval()


def exported(model: nn.Module, path: Path, size_hw: tuple[int, int], frame: np.ndarray) -> onnx.ModelProto:
    """Export, which compares the logits of the graph, as it is and inlined, with the module's."""
    report = onnx_from_model(model, path, size_hw=size_hw, frame=frame)
    assert {form for form, check in report.checks.items() if check.relative_l2 < 1e-5} == {"as_is", "inlined"}
    return load_graph(path)


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("attention", ["frequency", "nonlocal", "none"])
def test_fsanet_edge(attention: str, frame: np.ndarray, tmp_path: Path) -> None:
    model = with_random_weights(create_model("fsanet-edge", attention=attention))
    graph = exported(model, tmp_path / "m.onnx", (56, 104), frame)
    full = attention == "nonlocal"
    assert kinds(graph)["Conv"] == FSANET_CONVS + 3 * full and kinds(graph)["MatMul"] == 2 * full
    assert kinds(graph)["TruncatedDctAttention"] == (attention == "frequency")
    assert kinds(graph)["BatchNormalization"] == 0 and kinds(graph)["Softmax"] == 0
    plan = place(graph)
    assert len(plan.weights) == kinds(graph)["Conv"]
    products = {name for name, reason in plan.float_nodes.items() if reason == "product of two activations"}
    assert len(products) == 2 * full
    # Two dimensions: TensorRT gives up INT8 for a convolution of one.
    assert all(onnx_rank(graph, node.input[1]) == 4 for node in graph.graph.node if node.op_type == "Conv")


@pytest.mark.parametrize("masked", [True, False])
def test_spanet_edge_at_an_odd_size(masked: bool, frame: np.ndarray, tmp_path: Path) -> None:
    model = with_random_weights(create_model("spanet-edge", masked=masked))
    graph = exported(model, tmp_path / "m.onnx", (65, 91), frame)
    assert (kinds(graph)["SpectralMask"], kinds(graph)["Mul"]) == (BLOCKS * masked, BLOCKS)
    # Norms before a mixer are in its first convolution, those of the MLP too, and the three projections are one.
    assert kinds(graph)["BatchNormalization"] == 0 and kinds(graph)["Conv"] == SPANET_CONVS
    by_output = {name: node for node in graph.graph.node for name in node.output}
    contexts = [by_output[node.input[1]] for node in graph.graph.node if node.op_type == "Mul"]
    source = "SpectralMask" if masked else "Conv"
    assert [(node.op_type, by_output[node.input[0]].op_type) for node in contexts] == [("Conv", source)] * BLOCKS
    for plan, count in ((place(graph), SPANET_CONVS), (place(graph, integer_outputs=True), SPANET_CONVS - 1)):
        assert len(plan.weights) == count
        assert Counter(plan.float_nodes.values())["frequency operator"] == BLOCKS * masked
    assert not {name for name, _ in place(graph).reads} & {n.name for n in graph.graph.node if n.op_type == "Mul"}
    read = place(graph, int8_operators=True).reads
    assert sum((n.name, 0) in read for n in graph.graph.node if n.op_type == "SpectralMask") == BLOCKS * masked


def onnx_rank(model: onnx.ModelProto, tensor: str) -> int:
    return next(len(item.dims) for item in model.graph.initializer if item.name == tensor)


def test_a_replaced_network_exports_as_a_native_one(frame: np.ndarray, tmp_path: Path) -> None:
    full = with_random_weights(create_model("fsanet-edge", attention="nonlocal", recurrence=2))
    native = create_model("fsanet-edge", k=(0, 6, 0, 8), recurrence=2).eval()
    native.load_state_dict(full.state_dict())
    replaced = replace_nonlocal(full, (0, 6, 0, 8))
    graph = exported(replaced, tmp_path / "replaced.onnx", (96, 128), frame)
    nodes = [node for node in graph.graph.node if node.op_type == "TruncatedDctAttention"]
    assert [node.name for node in nodes] == ["attention/TruncatedDctAttention"]
    bases = {item.name: list(item.dims) for item in graph.graph.initializer if item.name in nodes[0].input[1:3]}
    assert bases == {"attention.basis_h": [6, 6], "attention.basis_w": [8, 8]}
    assert read_metadata(graph)["options"]["attention"] == "frequency"
    exported(native, tmp_path / "native.onnx", (96, 128), frame)
    assert (tmp_path / "replaced.onnx").read_bytes() == (tmp_path / "native.onnx").read_bytes()


class Twice(nn.Module):
    """A block that is used twice, under two names, and one of the other form and mode."""

    def __init__(self) -> None:
        super().__init__()
        self.config = ModelConfig("twice", "test", 4, size_hw=(24, 40))
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.first = NonLocalAttention(8, recurrence=2)
        self.tail = nn.Sequential(nn.Tanh(), self.first)
        self.other = NonLocalAttention(8, form="mmseg", mode="linsoftmax", use_scale=True)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.other(self.tail(self.first(self.stem(x)))))
        return logits


def test_blocks_of_every_form_export_before_and_after_their_replacement(frame: np.ndarray, tmp_path: Path) -> None:
    model = with_random_weights(Twice())
    full = exported(model, tmp_path / "full.onnx", (24, 40), frame)
    assert kinds(full)["BatchNormalization"] == 0 and not kinds(full)["TruncatedDctAttention"]
    graph = exported(replace_nonlocal(model, 3), tmp_path / "replaced.onnx", (24, 40), frame)
    assert isinstance(model.first, FrequencySelfAttention)
    nodes = [node for node in graph.graph.node if node.op_type == "TruncatedDctAttention"]
    modes = [next(item.s.decode() for item in node.attribute if item.name == "mode") for node in nodes]
    assert modes == ["dot_product", "dot_product", "linsoftmax"] and kinds(graph)["MatMul"] == 0
    assert list(nodes[0].input)[1:] == list(nodes[1].input)[1:]
    assert {node.domain for node in inline_functions(graph).graph.node} == {""}
