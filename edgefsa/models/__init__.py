"""Networks by name, their checkpoints, and the frequency layers."""

from edgefsa.models.checkpoint import load_checkpoint
from edgefsa.models.config import ModelConfig
from edgefsa.models.registry import create_model

__all__ = ["ModelConfig", "create_model", "load_checkpoint"]
