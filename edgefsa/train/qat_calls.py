"""Which calls in a network's forward pass are which nodes of its exported graph.

The exporter writes a graph's nodes in the order of the calls. So the convolutions, matrix products with weights,
additions and concatenations of feature maps, numbered as they come in both, are the same ones, and that the kinds and
weights agree is checked.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgefsa.errors import InputError
from edgefsa.graph.editing import GraphEditor, int_attribute
from edgefsa.models.frequency import FrequencyLayer
from edgefsa.quantize.placement import Placement

_CONVOLUTIONS = (F.conv1d, F.conv2d)
_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm)
_ADDITIONS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)
_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
OPERATORS: dict[Callable[..., Any], str] = {
    **dict.fromkeys(_CONVOLUTIONS, "Conv"),
    **dict.fromkeys((F.linear, *_PRODUCTS), "MatMul"),
    **dict.fromkeys(_ADDITIONS, "Add"),
    **dict.fromkeys(_CONCATENATIONS, "Concat"),
}
_MATRIX_PRODUCTS = ("MatMul", "Gemm")
_OPERAND_NAMES = ("input", "tensors", "weight", "other", "mat2")  # of all these functions, in their order


@dataclass(frozen=True)
class Call:
    """A call of feature maps: its operator, the name of its weight where that is a parameter, and the weight.

    `axis` is the weight's axis of output channels: F.linear and convolutions take it first, x @ W last.
    """

    operator: str
    weight: str = ""
    axis: int = 0
    value: Tensor | None = None


@dataclass(frozen=True)
class Site:
    """A call whose node reads quantised tensors: operand -> tensor, and whether its weight is rounded.

    `weight` and `axis` are those of the call.
    """

    operator: str
    reads: dict[int, str] = field(default_factory=dict)
    rounds_weight: bool = False
    weight: str = ""
    axis: int = 0


class Calls(TorchFunctionMode, ABC):
    """Numbers the calls of OPERATORS from 0 and hands each to `call`; all other functions run as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in OPERATORS:
            return func(*args, **(kwargs or {}))
        self.count += 1
        kwargs = dict(kwargs or {})
        args = (*args, *(kwargs.pop(name) for name in _OPERAND_NAMES if name in kwargs))
        return self.call(self.count - 1, func, args, kwargs)

    @abstractmethod
    def call(self, number: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one of the numbered calls."""


class _Recorder(Calls):
    """Notes each call; None where it is of no feature maps, or not recorded.

    Feature maps are known by their gradient: nothing but the image has one. A matrix product counts where its right
    factor is none: a product of two maps reads nothing quantised, nor does one whose left factor is stored.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in network.named_parameters()}
        self.found: list[Call | None] = []
        self.paused = False

    def call(self, number: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operator = OPERATORS[func]
        operands = {"Conv": args[:1], "MatMul": args[:1], "Add": args[:2], "Concat": args[0]}[operator]
        of_maps = all(isinstance(item, Tensor) and item.requires_grad for item in operands)
        if operator == "MatMul" and args[1].requires_grad:
            of_maps = False
        self.found.append(self._described(func, args) if of_maps and not self.paused else None)
        return func(*args, **kwargs)

    def _described(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Call:
        operator = OPERATORS[func]
        if operator not in ("Conv", "MatMul"):
            return Call(operator)
        return Call(operator, self.names.get(id(args[1]), ""), 1 if func in _PRODUCTS else 0, args[1])


def sites_of(
    network: nn.Module, graph: onnx.ModelProto, plan: Placement, size_hw: tuple[int, ...]
) -> list[Site | None]:
    """Return for each numbered call of `network` (in eval mode) what the graph's Q/DQ pairs round there.

    None stands for a call that reads nothing quantised. Raises InputError where calls and nodes do not agree.
    """
    editor = GraphEditor(graph)
    calls, nodes = _recorded(network, size_hw), _nodes_of_maps(editor)
    sites: list[Site | None] = []
    remaining = iter(nodes)
    for call in calls:
        node = next(remaining, None) if call is not None else None
        if call is not None and (node is None or not _agree(call, node, editor)):
            raise InputError(_difference(call, node))
        sites.append(None if call is None or node is None else _site(call, node, plan))
    if (left := next(remaining, None)) is not None:
        raise InputError(_difference(None, left))
    return sites


def _recorded(network: nn.Module, size_hw: tuple[int, ...]) -> list[Call | None]:
    network = copy.deepcopy(network).cpu().requires_grad_(False)
    recorder = _Recorder(network)

    def pause(*_: Any) -> None:
        recorder.paused = True

    def go_on(*_: Any) -> None:
        recorder.paused = False

    for layer in network.modules():
        if isinstance(layer, FrequencyLayer):
            layer.register_forward_pre_hook(pause)
            layer.register_forward_hook(go_on)
    image = torch.zeros(1, 3, *size_hw, requires_grad=True)
    with torch.enable_grad(), recorder:
        network(image)
    return recorder.found


def _nodes_of_maps(editor: GraphEditor) -> list[onnx.NodeProto]:
    def is_of_maps(node: onnx.NodeProto) -> bool:
        has_weight = node.op_type in ("Conv", *_MATRIX_PRODUCTS)
        if node.op_type in _MATRIX_PRODUCTS and not editor.is_stored(node.input[1]):
            return False
        return not any(map(editor.is_stored, node.input[:1] if has_weight else node.input))

    return [node for node in editor.nodes if _operator(node) in OPERATORS.values() and is_of_maps(node)]


def _operator(node: onnx.NodeProto) -> str:
    return "MatMul" if node.op_type in _MATRIX_PRODUCTS else node.op_type


def _agree(call: Call, node: onnx.NodeProto, editor: GraphEditor) -> bool:
    if call.operator != _operator(node):
        return False
    if call.operator != "MatMul" or call.value is None:
        return not call.weight or call.weight == node.input[1]
    # The graph holds a product's weight as it is or transposed, under a name of its own.
    value, stored = call.value.detach().numpy(), editor.array(node.input[1])
    is_transposed = (call.axis == 0) != bool(int_attribute(node, "transB", 0))
    return np.array_equal(value.T if is_transposed else value, stored)


def _site(call: Call, node: onnx.NodeProto, plan: Placement) -> Site | None:
    reads = {index: name for index, name in enumerate(node.input) if (node.name, index) in plan.reads}
    return Site(call.operator, reads, node.name in plan.weights, call.weight, call.axis) if reads else None


def _difference(call: Call | None, node: onnx.NodeProto | None) -> str:
    called = f"calls {' of '.join(filter(None, (call.operator, call.weight)))}" if call else "calls nothing more"
    return (
        f"the network {called} where its graph has {node.name if node else 'no node'}; quantisation-aware training "
        "needs a network whose graph follows its forward pass"
    )
