"""Which calls in a network's forward pass are which nodes of its exported graph.

The exporter writes a graph's nodes in the order of the calls. So the convolutions, additions and concatenations of
feature maps, numbered as they come in both, are the same ones, and that the kinds and weights agree is checked.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgefsa.errors import InputError
from edgefsa.graph.editing import GraphEditor
from edgefsa.models import FrequencySelfAttention, SpectralMask
from edgefsa.quantize.placement import Placement

_CONVOLUTIONS = (F.conv1d, F.conv2d)
_ADDITIONS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)
_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)
OPERATORS: dict[Callable[..., Any], str] = {
    **dict.fromkeys(_CONVOLUTIONS, "Conv"),
    **dict.fromkeys(_ADDITIONS, "Add"),
    **dict.fromkeys(_CONCATENATIONS, "Concat"),
}


@dataclass(frozen=True)
class Site:
    """A node of the graph that reads quantised tensors: operand -> tensor, and whether its weight is rounded."""

    operator: str
    reads: dict[int, str] = field(default_factory=dict)
    rounds_weight: bool = False


class Calls(TorchFunctionMode, ABC):
    """Numbers the calls of OPERATORS from 0 and hands each to `call`; all other functions run as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in OPERATORS:
            return func(*args, **(kwargs or {}))
        self.count += 1
        return self.call(self.count - 1, func, args, kwargs or {})

    @abstractmethod
    def call(self, number: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one of the numbered calls."""


class _Recorder(Calls):
    """Notes for each call its operator and its weight's name; None where it is of no feature maps, or not recorded.

    Feature maps are told by their gradient: nothing but the image has one.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in network.named_parameters()}
        self.found: list[tuple[str, str] | None] = []
        self.paused = False

    def call(self, number: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operator = OPERATORS[func]
        operands = {"Conv": args[:1], "Add": args[:2], "Concat": args[0]}[operator]
        of_maps = all(isinstance(item, Tensor) and item.requires_grad for item in operands)
        weight = self.names.get(id(args[1]), "") if operator == "Conv" else ""
        self.found.append((operator, weight) if of_maps and not self.paused else None)
        return func(*args, **kwargs)


def sites_of(
    network: nn.Module, graph: onnx.ModelProto, plan: Placement, size_hw: tuple[int, ...]
) -> list[Site | None]:
    """Give for each numbered call of `network` (in eval mode) what the graph's Q/DQ pairs round there.

    None stands for a call that reads nothing quantised. Raises InputError where calls and nodes do not agree.
    """
    for node in graph.graph.node:
        if node.name in plan.weights and node.op_type != "Conv":
            raise InputError(
                f"{node.name} is INT8 in the engine, and only convolutions can be trained so; leave it out with skip"
            )
    calls, nodes = _recorded(network, size_hw), _nodes_of_maps(graph)
    sites: list[Site | None] = []
    remaining = iter(nodes)
    for call in calls:
        node = next(remaining, None) if call is not None else None
        if call is not None and (node is None or not _agree(call, node)):
            raise InputError(_difference(call, node))
        sites.append(None if node is None else _site(node, plan))
    if (left := next(remaining, None)) is not None:
        raise InputError(_difference(None, left))
    return sites


def _recorded(network: nn.Module, size_hw: tuple[int, ...]) -> list[tuple[str, str] | None]:
    network = copy.deepcopy(network).cpu().requires_grad_(False)
    recorder = _Recorder(network)

    def pause(*_: Any) -> None:
        recorder.paused = True

    def go_on(*_: Any) -> None:
        recorder.paused = False

    for layer in network.modules():
        if isinstance(layer, (FrequencySelfAttention, SpectralMask)):
            layer.register_forward_pre_hook(pause)
            layer.register_forward_hook(go_on)
    image = torch.zeros(1, 3, *size_hw, requires_grad=True)
    with torch.enable_grad(), recorder:
        network(image)
    return recorder.found


def _nodes_of_maps(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    editor = GraphEditor(graph)

    def is_of_maps(node: onnx.NodeProto) -> bool:
        operands: Sequence[str] = node.input[:1] if node.op_type == "Conv" else node.input
        return not any(map(editor.is_stored, operands))

    return [node for node in editor.nodes if node.op_type in OPERATORS.values() and is_of_maps(node)]


def _agree(call: tuple[str, str], node: onnx.NodeProto) -> bool:
    operator, weight = call
    return operator == node.op_type and (not weight or weight == node.input[1])


def _site(node: onnx.NodeProto, plan: Placement) -> Site | None:
    reads = {index: name for index, name in enumerate(node.input) if (node.name, index) in plan.reads}
    return Site(node.op_type, reads, node.name in plan.weights) if reads else None


def _difference(call: tuple[str, str] | None, node: onnx.NodeProto | None) -> str:
    called = f"calls {' of '.join(filter(None, call))}" if call else "calls nothing more"
    return (
        f"the network {called} where its graph has {node.name if node else 'no node'}; quantisation-aware training "
        "needs a network whose graph follows its forward pass"
    )
