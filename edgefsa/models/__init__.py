"""Networks by name, their checkpoints, and the frequency layers."""

from edgefsa.models.checkpoint import load_checkpoint
from edgefsa.models.config import ModelConfig
from edgefsa.models.frequency import FrequencyOperator, FrequencySelfAttention, SpectralMask
from edgefsa.models.listing import ModelInfo, count_macs, list_models
from edgefsa.models.nonlocal_attention import NonLocalAttention, replace_nonlocal
from edgefsa.models.registry import create_model
from edgefsa.models.weights import WeightsInfo, load_default_weights

__all__ = [
    "FrequencyOperator",
    "FrequencySelfAttention",
    "ModelConfig",
    "ModelInfo",
    "NonLocalAttention",
    "SpectralMask",
    "WeightsInfo",
    "count_macs",
    "create_model",
    "list_models",
    "load_checkpoint",
    "load_default_weights",
    "replace_nonlocal",
]
