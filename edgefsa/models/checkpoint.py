"""Checkpoint files into models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgefsa.errors import CheckpointError


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Tensor]) -> None:
    """Load a state dict, or a safetensors or PyTorch file with one, into `model`, in place."""
    if isinstance(source, Mapping):
        state = dict(source)
    elif Path(source).suffix == ".safetensors":
        state = load_file(str(source))
    else:
        state = torch.load(source, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(" ".join(str(error).split())) from error
