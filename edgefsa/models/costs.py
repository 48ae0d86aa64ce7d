"""How large models are and what they cost. `python -m edgefsa.models.costs` records it for `list_models`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgefsa.artifacts import atomic_file
from edgefsa.models.checkpoint import AUXILIARY_PREFIXES
from edgefsa.models.config import ModelConfig
from edgefsa.models.listing import RECORD
from edgefsa.models.registry import MODELS, create_model

Shape = tuple[int, ...]


def counted(name: str) -> dict[str, Any]:
    """Return what `models.json` records of a model with its default options, counted anew."""
    with torch.device("meta"):
        model = create_model(name)
    config: ModelConfig = model.config  # type: ignore[assignment]
    return {
        "name": name,
        "family": config.family,
        "num_classes": config.num_classes,
        "params": count_params(model),
        "macs": _macs(model, config.size_hw),
        "size_hw": list(config.size_hw),
    }


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


if __name__ == "__main__":
    with atomic_file(RECORD) as partial:
        partial.write_text(json.dumps([counted(name) for name in MODELS], indent=1) + "\n", encoding="utf-8")
