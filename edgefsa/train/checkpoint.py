"""Training state that is on disk whole or not at all, and the shipped weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from edgefsa.artifacts import atomic_file
from edgefsa.errors import CheckpointError

FORMAT = 3
_REMEDY = "start anew in another folder"
_COUNTER = "num_batches_tracked"
_RUN_KEYS = {"format", "step", "seconds", "history", "accuracy", "fixed"}
_KEYS = _RUN_KEYS | {"model", "average", "optimizer", "scaler"}


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (tensors, numbers, strings, lists and dicts only), whole or not at all."""
    with atomic_file(path) as partial:
        torch.save({"format": FORMAT, **state}, partial)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote; nothing but tensors and plain values is unpickled.

    Raises CheckpointError where the file is missing, damaged, or no training checkpoint of this version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({(error.strerror or str(error)).lower()}); {_REMEDY}") from error
    except Exception as error:  # bytes that are no checkpoint stop the unpickler in every way there is
        raise CheckpointError(f"{path} cannot be read: it is damaged or no checkpoint; {_REMEDY}") from error
    if not isinstance(state, dict) or not _KEYS.issubset(state) or state["format"] != FORMAT:
        raise CheckpointError(f"{path} is no training checkpoint of this version; {_REMEDY}")
    return state


def load_matching(module: nn.Module, path: Path) -> tuple[int, int]:
    """Copy the tensors of a safetensors file that fit the module by name and shape; return how many, of how many.

    Batch counters (`num_batches_tracked`) are left alone and not counted.
    Raises CheckpointError where the file cannot be read or none fits.
    """
    if not path.is_file():
        raise CheckpointError(f"cannot read {path}: no such file; check the path")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights ({error}); give a safetensors file") from error
    own = {name: value for name, value in module.state_dict().items() if not name.endswith(_COUNTER)}
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise CheckpointError(f"no tensor of {path} fits this model by name and shape; give weights of a related one")
    module.load_state_dict(fitting, strict=False)
    return len(fitting), len(own)


def write_weights(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a model's tensors as a safetensors file, floats as float16, whole or not at all.

    Batch counters (`num_batches_tracked`) are left out. Raises CheckpointError where a value does not fit float16.
    """
    halves = {}
    for name, value in tensors.items():
        if name.endswith(_COUNTER):
            continue
        halves[name] = (value.half() if value.is_floating_point() else value).contiguous().clone()
        if not halves[name].isfinite().all():
            largest = value.abs().max().item()
            raise CheckpointError(f"{name} reaches {largest:g}, beyond float16 (65504); train with a lower rate")
    with atomic_file(path) as partial:
        partial.write_bytes(save(halves, dict(metadata or {})))
    return path
