"""The weights that a model has without a checkpoint: the shipped ones, or random ones that are always the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, TypedDict

import torch
from torch import nn

from edgefsa.artifacts import sha256_of_file
from edgefsa.models.attention import SelfAttention
from edgefsa.models.checkpoint import load_checkpoint
from edgefsa.models.config import ModelConfig
from edgefsa.models.listing import WEIGHTS_DIRECTORY as WEIGHTS_DIRECTORY
from edgefsa.models.registry import create_model


class WeightsInfo(TypedDict):
    """Where a model's weights come from; `sha256` is of the file, or of the random tensors."""

    kind: Literal["trained", "random"]
    source: str
    sha256: str


def shipped_weights(config: ModelConfig) -> Path | None:
    """Return the shipped file (fp16 safetensors) for a model with these options, or None where there is none."""
    path = WEIGHTS_DIRECTORY / f"{config.name}.safetensors"
    if not path.is_file():
        return None
    with torch.device("meta"):
        default: ModelConfig = create_model(config.name).config  # type: ignore[assignment]
    return path if default.options == config.options else None


def load_default_weights(model: nn.Module) -> WeightsInfo:
    """Load the shipped weights into `model`, or seeded random ones where it has none with its options.

    The random ones leave no part idle: gains that training starts at zero are one.
    """
    config: ModelConfig = model.config  # type: ignore[assignment]
    path = shipped_weights(config)
    if path is not None:
        load_checkpoint(model, path)
        return {"kind": "trained", "source": path.name, "sha256": sha256_of_file(path)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = create_model(config.name, **config.options)
    for module in fresh.modules():
        if isinstance(module, SelfAttention):
            nn.init.ones_(module.gain)
    model.load_state_dict(fresh.state_dict())
    return {"kind": "random", "source": "random, seed 0", "sha256": _sha256_of_tensors(model)}


def _sha256_of_tensors(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
