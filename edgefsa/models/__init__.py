"""Networks by name, their checkpoints, and the frequency layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "FrequencyOperator": "frequency",
    "FrequencySelfAttention": "frequency",
    "ModelConfig": "config",
    "ModelInfo": "listing",
    "NonLocalAttention": "nonlocal_attention",
    "SpectralMask": "frequency",
    "WeightsInfo": "weights",
    "count_macs": "costs",
    "create_model": "registry",
    "list_models": "listing",
    "load_checkpoint": "checkpoint",
    "load_default_weights": "weights",
    "replace_nonlocal": "nonlocal_attention",
}
__all__ = [*_PUBLIC]

if TYPE_CHECKING:
    from edgefsa.models.checkpoint import load_checkpoint as load_checkpoint
    from edgefsa.models.config import ModelConfig as ModelConfig
    from edgefsa.models.costs import count_macs as count_macs
    from edgefsa.models.frequency import FrequencyOperator as FrequencyOperator
    from edgefsa.models.frequency import FrequencySelfAttention as FrequencySelfAttention
    from edgefsa.models.frequency import SpectralMask as SpectralMask
    from edgefsa.models.listing import ModelInfo as ModelInfo
    from edgefsa.models.listing import list_models as list_models
    from edgefsa.models.nonlocal_attention import NonLocalAttention as NonLocalAttention
    from edgefsa.models.nonlocal_attention import replace_nonlocal as replace_nonlocal
    from edgefsa.models.registry import create_model as create_model
    from edgefsa.models.weights import WeightsInfo as WeightsInfo
    from edgefsa.models.weights import load_default_weights as load_default_weights


def __getattr__(name: str) -> Any:
    # Resolved on first use: listing the models needs no torch.
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
