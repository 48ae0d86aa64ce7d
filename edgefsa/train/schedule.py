"""The optimiser and its rate over the run."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgefsa.train.settings import TrainSettings


def learning_rate(settings: TrainSettings, progress: float) -> float:
    """Return the rate at `progress` (0 to 1): linear warm-up from 1 %, then (1 - progress) ** poly_power."""
    poly: float = max(0.0, 1 - progress) ** settings.poly_power
    warm = 1.0 if settings.warmup <= 0 else min(1.0, 0.01 + 0.99 * progress / settings.warmup)
    return (settings.learning_rate or 0.0) * poly * warm


def optimizer_for(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Make AdamW, or SGD with momentum 0.9; weight decay on matrices and kernels, not on norms, biases and gains."""
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    # By name too: the attention's output bias is [1, C, 1].
    decayed = {name for name, value in parameters.items() if value.ndim > 1 and not name.endswith("bias")}
    groups: list[dict[str, Any]] = [
        {"params": [parameters[name] for name in parameters if name in decayed], "weight_decay": settings.weight_decay},
        {"params": [parameters[name] for name in parameters if name not in decayed], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, fused=True)
