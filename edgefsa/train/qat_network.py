"""A network that computes in float32 what its INT8 engine computes in integers, and can be trained.

The exported graph is the authority. The network takes the graph's convolution weights, batch norms and the
normalisation's division folded in, and rounds what the graph's Q/DQ pairs round, with the same scales. So batch norms
keep their statistics, and their gains and shifts are part of the weights that are trained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgefsa.errors import InputError
from edgefsa.export.check import MAX_RELATIVE_L2, module_logits, relative_l2
from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.files import read_metadata
from edgefsa.models import FrequencySelfAttention
from edgefsa.models.checkpoint import AUXILIARY_PREFIXES
from edgefsa.models.spanet import SpectralMixer
from edgefsa.quantize import Ranges
from edgefsa.quantize.placement import place
from edgefsa.train.qat_calls import Calls, Site, sites_of
from edgefsa.train.qat_rounding import round_activation, round_weight

# Ranges are trained as log(amax) / RANGE_PACE: an optimiser that moves each number by its learning rate, as Adam
# does, then moves a range by RANGE_PACE times as many parts of itself.
RANGE_PACE = 10.0
CENTRED = "frames/Transpose"  # BGR minus the mean, in a graph whose first weights hold the division by the deviation


@dataclass
class _Folding:
    """Where the tensors of the folded network belong in the model's own state dict.

    `rounded` names the parameters of each INT8 weight: one, or those that the network joins along their inputs.
    `first` names the weights with the normalisation's division in them. `norms` are the paths of the batch norms that
    the graph has folded away, and `shifts` maps a convolution that had no bias to the one of them that has it.
    """

    rounded: list[list[str]] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)
    shifts: dict[str, str] = field(default_factory=dict)


class QuantisedNetwork(nn.Module):
    """`model` with the roundings that `quantize.int8_onnx(graph, ranges, skip=skip)` has.

    Takes float [N, 3, H, W], RGB, normalised as its own `config` says, and gives logits, without an auxiliary head's,
    in training as well. Computes in float32, also under autocast: a bf16 number has too few bits for INT8 steps.
    """

    def __init__(self, model: nn.Module, graph: onnx.ModelProto, ranges: Ranges, *, skip: Collection[str] = ()) -> None:
        """`graph` is the export of `model`, `ranges` are of it. Raises InputError where the two cannot be matched."""
        super().__init__()
        config: Any = model.config
        plan, size_hw = place(graph, skip), tuple(read_metadata(graph)["size_hw"])
        self._state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        self._std_rgb = torch.tensor(config.std_rgb)
        self.network = copy.deepcopy(model).float().eval()
        self._folding = _take_weights(self.network, graph, set(plan.weights), size_hw)
        self.config = replace(config, std_rgb=(1.0, 1.0, 1.0)) if self._folding.first else config
        _check_logits(model, self.network, config, self.config, size_hw)
        self._sites = sites_of(self.network, graph, plan, size_hw)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not name.startswith(AUXILIARY_PREFIXES))
        groups = [*plan.shared, *({name} for name in plan.tensors if not any(name in item for item in plan.shared))]
        self._range_of = {name: index for index, group in enumerate(groups) for name in group}
        amax = [max(ranges.amax(name) for name in group) for group in groups]
        self.range_logs = nn.Parameter(torch.tensor(amax).log() / RANGE_PACE)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits [N, K, h, w] of the INT8 engine."""
        with torch.autocast(image.device.type, enabled=False), _Rounding(self._sites, self._round) as calls:
            logits: Tensor = self.network(image.float())
        assert calls.count == len(self._sites), "the network is called otherwise than when it was recorded"
        return logits

    def train(self, mode: bool = True) -> QuantisedNetwork:
        """Set training mode; the network inside computes as in eval mode throughout."""
        super().train(mode)
        self.network.eval()
        return self

    def amax(self) -> dict[str, float]:
        """Return the range of each quantised tensor as it is now, by its name in the graph."""
        values = (RANGE_PACE * self.range_logs.detach().double()).exp().tolist()
        return {name: values[index] for name, index in self._range_of.items()}

    def model_state(self) -> dict[str, Tensor]:
        """Return a state dict for the model, whose export has these weights and their INT8 values.

        Quantised weights are whole multiples of their steps, so that float16 keeps the INT8 values as they are.
        """
        own = {name: value.detach().cpu() for name, value in self.network.state_dict().items()}
        state = {name: own.get(name, value).clone() for name, value in self._state.items()}
        for path in self._folding.norms:
            for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                state[f"{path}.{name}"].fill_(value)
        for path, norm in self._folding.shifts.items():
            state[f"{norm}.bias"] = own[f"{path}.bias"].clone()
        for names in filter(None, self._folding.rounded):
            parts = [own[name] for name in names]
            weights = torch.split(round_weight(torch.cat(parts, 1)), [part.shape[1] for part in parts], 1)
            state.update(zip(names, weights, strict=True))
        for site in self._sites:
            if site is not None and site.rounds_weight and site.operator == "MatMul" and site.weight:
                state[site.weight] = round_weight(own[site.weight], site.axis)
        for name in self._folding.first:
            state[name] = state[name] * self._std_rgb[:, None, None]
        return state

    def _round(self, tensor: str, x: Tensor) -> Tensor:
        return round_activation(x, RANGE_PACE * self.range_logs[self._range_of[tensor]])


class _Rounding(Calls):
    """Rounds the operands of the calls that are sites; each tensor once, however many calls read it."""

    def __init__(self, sites: list[Site | None], round_tensor: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__()
        self.sites = sites
        self.round_tensor = round_tensor
        self.rounded: dict[str, Tensor] = {}

    def call(self, number: int, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        site = self.sites[number]
        if site is None:
            return func(*args, **kwargs)
        operands = list(args[0] if site.operator == "Concat" else args)
        for index, tensor in site.reads.items():
            if tensor not in self.rounded:
                self.rounded[tensor] = self.round_tensor(tensor, operands[index])
            operands[index] = self.rounded[tensor]
        if site.operator == "Concat":
            return func(operands, *args[1:], **kwargs)
        if site.operator == "Add":  # not in place: a rounded tensor may have other readers
            return torch.add(*operands, **kwargs)
        if site.rounds_weight:
            operands[1] = round_weight(operands[1], site.axis)
        return func(*operands, **kwargs)


def _take_weights(network: nn.Module, graph: onnx.ModelProto, rounded: set[str], size_hw: tuple[int, ...]) -> _Folding:
    """Put the graph's convolution weights into the network, and nothing in place of the norms folded into them."""
    editor, folding = GraphEditor(graph), _Folding()
    norms = {
        path: source for path, source in _norms(network, size_hw).items() if not editor.is_stored(f"{path}.weight")
    }
    behind = {source: path for path, source in norms.items() if source}
    parameters = dict(network.named_parameters())
    for node in editor.nodes:
        if node.op_type != "Conv":
            continue
        name = node.input[1]
        if node.name in rounded:
            folding.rounded.append([name] if name in parameters else _joined(network, node))
        if name not in parameters:
            continue
        weight, *bias = (torch.from_numpy(editor.array(item).astype(np.float32)) for item in node.input[1:])
        if node.input[0] == CENTRED:
            folding.first.append(name)
            weight = weight.flip(1)
        parameters[name].data.copy_(weight)
        if bias:
            _take_bias(network, name.rpartition(".")[0], bias[0], behind, folding)
    for path in norms:
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    folding.norms = list(norms)
    return folding


def _joined(network: nn.Module, node: onnx.NodeProto) -> list[str]:
    """Name the parameters of a weight that the network joins on the fly."""
    path = node.name.rpartition("/")[0]
    mixer = network.get_submodule(path)
    return [f"{path}.pws.{index}.weight" for index in range(len(mixer.pws))] if isinstance(mixer, SpectralMixer) else []


def _take_bias(network: nn.Module, path: str, bias: Tensor, behind: dict[str, str], folding: _Folding) -> None:
    convolution: Any = network.get_submodule(path)
    if convolution.bias is None and path in behind:
        folding.shifts[path] = behind[path]
        convolution.bias = nn.Parameter(bias)
    elif convolution.bias is not None:
        convolution.bias.data.copy_(bias)
    elif bias.any():
        raise InputError(
            f"{path} has a bias in the graph and no place for one in the model; give it one and train again"
        )


def _norms(network: nn.Module, size_hw: tuple[int, ...]) -> dict[str, str]:
    """Return the batch norms that a forward pass uses outside frequency layers, each with the convolution before it."""
    inside = [name + "." for name, layer in network.named_modules() if isinstance(layer, FrequencySelfAttention)]
    made: list[tuple[Tensor, str]] = []
    found: dict[str, str] = {}
    names = {module: name for name, module in network.named_modules()}

    def convolved(module: nn.Module, _: Any, output: Tensor) -> None:
        made.append((output, names[module]))

    def normed(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[names[module]] = next((name for tensor, name in made if tensor is inputs[0]), "")

    hooks = []
    for module, name in names.items():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(convolved))
        elif isinstance(module, nn.BatchNorm2d) and not name.startswith(tuple(inside)):
            hooks.append(module.register_forward_pre_hook(normed))
    with torch.no_grad():
        network(torch.zeros(1, 3, *size_hw, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    return found


def _check_logits(
    model: nn.Module, folded: nn.Module, config: Any, folded_config: Any, size_hw: tuple[int, ...]
) -> None:
    """Raise InputError where the folded network, not rounded yet, gives other logits than the model."""
    frames = np.random.default_rng(0).integers(0, 256, (1, *size_hw, 3), dtype=np.uint8)
    wanted = module_logits(model, frames, config.mean_rgb, config.std_rgb)
    given = module_logits(folded, frames, folded_config.mean_rgb, folded_config.std_rgb)
    error = relative_l2(given, wanted)
    if not error <= MAX_RELATIVE_L2:
        raise InputError(
            f"{config.name} cannot be trained with rounding: with its graph's weights it gives other logits (relative "
            f"L2 {error:.1e}); only batch norms may be folded into convolutions"
        )
