"""What models there are, how large they are, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgefsa.models.checkpoint import AUXILIARY_PREFIXES
from edgefsa.models.config import ModelConfig, Task
from edgefsa.models.registry import MODELS, create_model
from edgefsa.models.weights import shipped_weights


@dataclass(frozen=True)
class ModelInfo:
    """A model with its default options; `params` leaves out the auxiliary head, which only training uses.

    `weights` is the shipped file, or None: then the weights are random.
    """

    name: str
    family: str
    task: Task
    num_classes: int
    params: int
    default_size_hw: tuple[int, int]
    weights: Path | None


def list_models() -> list[ModelInfo]:
    """Give every model, the default first."""
    return [_info(name) for name in MODELS]


def _info(name: str) -> ModelInfo:
    with torch.device("meta"):
        model = create_model(name)
    config: ModelConfig = model.config  # type: ignore[assignment]
    return ModelInfo(
        name=name,
        family=config.family,
        task=config.task,
        num_classes=config.num_classes,
        params=count_params(model),
        default_size_hw=config.size_hw,
        weights=shipped_weights(config),
    )


def count_params(model: nn.Module) -> int:
    """Count the parameters that inference uses."""
    named = model.named_parameters()
    return sum(value.numel() for name, value in named if not name.startswith(AUXILIARY_PREFIXES))


def count_macs(model: nn.Module, size_hw: tuple[int, int]) -> int:
    """Count the multiply-accumulates of one image of `size_hw`: convolutions and matrix products.

    Nothing is computed: the model is built again without storage. Raises InputError for a size it cannot take.
    """
    config: ModelConfig = model.config  # type: ignore[assignment]
    with torch.device("meta"), torch.no_grad():
        twin = create_model(config.name, **config.options).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            twin(torch.empty(1, 3, *size_hw))
    return int(counter.get_total_flops()) // 2
