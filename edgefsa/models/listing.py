"""What models there are, how large they are, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgefsa.models.checkpoint import AUXILIARY_PREFIXES
from edgefsa.models.config import ModelConfig
from edgefsa.models.registry import MODELS, create_model
from edgefsa.models.weights import shipped_weights

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelInfo:
    """A segmentation model with its default options.

    `params` leaves out the auxiliary head, which only training uses; `macs` are the multiply-accumulates of one
    image of `default_size_hw`; `weights` is the shipped file, or None: then the weights are random.
    """

    name: str
    family: str
    num_classes: int
    params: int
    macs: int
    default_size_hw: tuple[int, int]
    weights: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return name, family, params, macs, size_hw, num_classes and trained (False: random weights) for JSON."""
        return {
            "name": self.name,
            "family": self.family,
            "params": self.params,
            "macs": self.macs,
            "size_hw": list(self.default_size_hw),
            "num_classes": self.num_classes,
            "trained": self.weights is not None,
        }


def list_models(*, progress: Callable[[int, int], None] | None = None) -> list[ModelInfo]:
    """Return every model, the default first; counting a large one's MACs takes part of a second."""
    infos = []
    for name in MODELS:
        infos.append(_info(name))
        if progress is not None:
            progress(len(infos), len(MODELS))
    return infos


def _info(name: str) -> ModelInfo:
    with torch.device("meta"):
        model = create_model(name)
    config: ModelConfig = model.config  # type: ignore[assignment]
    return ModelInfo(
        name=name,
        family=config.family,
        num_classes=config.num_classes,
        params=count_params(model),
        macs=_macs(model, config.size_hw),
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
    with torch.device("meta"):
        return _macs(create_model(config.name, **config.options), size_hw)


def _macs(model: nn.Module, size_hw: tuple[int, int]) -> int:
    image = torch.empty(1, 3, *size_hw, device="meta")
    return macs_of(lambda: model.eval()(image))


def macs_of(run: Callable[[], object]) -> int:
    """Count the multiply-accumulates of the convolutions and matrix products in a call."""
    # torch counts it only out of place.
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: _accumulated_product})
    with torch.no_grad(), counter:
        run()
    return int(counter.get_total_flops()) // 2


def _accumulated_product(_total: Shape, left: Shape, right: Shape, **_: object) -> int:
    return 2 * math.prod(left) * right[2]
