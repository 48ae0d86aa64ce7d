"""Where another way of training takes hold of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


def _as_it_is(model: nn.Module) -> nn.Module:
    return model


@dataclass(frozen=True)
class Hooks:
    """Two steps around the training loop, and what tells them apart.

    `prepare(model)` gets the network in training mode on the CPU, with its initial weights, and gives the module to
    train: the same one, changed or not, or another with its `config`, inputs and outputs. It is called once in each
    process, before the optimiser and the average are made; a copy of its result (`copy.deepcopy`) holds the averaged
    weights for evaluation, and checkpoints hold its `state_dict`.
    `finish(model)` gets that copy at the end, in eval mode, on the run's device, in the first process only, and
    gives the module whose tensors become weights.safetensors.
    `record` holds plain values (JSON) that say what they do: it is written beside the weights, and a run goes on
    only with the same record.
    """

    prepare: Callable[[nn.Module], nn.Module] = _as_it_is
    finish: Callable[[nn.Module], nn.Module] = _as_it_is
    record: Mapping[str, Any] = field(default_factory=dict)
