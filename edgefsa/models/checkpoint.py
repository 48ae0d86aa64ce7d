"""Checkpoint files and state dicts, ours and the authors', into models."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor, nn

from edgefsa.errors import CheckpointError

# Heads that only training uses: a checkpoint may leave them out.
AUXILIARY_PREFIXES = ("auxiliary_head.", "dsn.")
# What MMSegmentation's networks have beside a backbone.
HEAD_PREFIXES = ("neck.", "decode_head.", "auxiliary_head.")
WRAPPERS = ("state_dict", "model")
# Under this key a safetensors file of `edgefsa train` tells {"model", "options", "classes"} as JSON.
WEIGHTS_METADATA_KEY = "edgefsa"
LISTED = 20
FIXED_MASK = re.compile(r"\.sps\.\d+\.filter$")  # of SPANet; computed here


def load_checkpoint(model: nn.Module, source: str | Path | Mapping[str, Any]) -> None:
    """Load a state dict, or a file with one, into `model`, in place.

    Takes safetensors and PyTorch files, and state dicts in our own and in every layout of the authors' code,
    inside `state_dict` or `model` or bare, with or without `module.` and `backbone.` before the keys. Tensors are
    converted to the model's types. Only tensors are read from a pickle. SPANet's fixed masks (`.filter`) are left
    aside since they are computed, and an auxiliary head may be absent; a backbone alone leaves the rest of the
    checkpoint's network aside: neck and heads, or all that is not under `backbone.` where there are such keys.
    The model stays as it was where CheckpointError is raised: for a file that cannot be read or holds more than
    data, and for tensors that are missing, left over, there twice (with and without a prefix), of another shape,
    or not usable: complex, not dense, without values, or not finite in the model's type.
    """
    label = "the state dict" if isinstance(source, Mapping) else str(source)
    state = _tensors(source if isinstance(source, Mapping) else read_checkpoint(source), label)
    expected = model.state_dict()
    placed, twice = _placed(state, expected, _task(model))
    _check_fit(placed, twice, expected, label, getattr(getattr(model, "config", None), "name", type(model).__name__))
    model.load_state_dict(placed, strict=False)


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read what a safetensors or PyTorch file holds, on the CPU; no code in it is run.

    Raises CheckpointError where the file is missing, damaged, or a pickle of more than tensors and plain data.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load(path.read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"cannot read {path}: {reason}; check the path") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(_pickle_message(path, str(error))) from error
    except Exception as error:  # bytes that are no checkpoint stop the unpickler in every way there is
        raise CheckpointError(f"{path} is damaged or no checkpoint; fetch or save it again") from error
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{path} holds a {type(value).__name__}, not a state dict; save model.state_dict()")
    return value


def weights_facts(path: str | Path) -> dict[str, Any]:
    """Give what a safetensors file of `edgefsa train` says of itself: "model", "options", "classes" (names).

    Empty for any other file, and for one that cannot be read: loading it tells why.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get(WEIGHTS_METADATA_KEY, "{}"))
    except (OSError, ValueError, SafetensorError):
        return {}
    kinds = {"model": str, "options": dict, "classes": list}
    whole = isinstance(facts, dict) and all(isinstance(facts.get(name), kind) for name, kind in kinds.items())
    return facts if whole else {}


def _pickle_message(path: Path, reason: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", reason)
    if found:
        return f"{path} would run {found[1]} when unpickled, so it was not loaded; save a state dict of tensors only"
    return f"{path} is damaged or no checkpoint; fetch or save it again"


def _tensors(value: Mapping[str, Any], label: str) -> dict[str, Tensor]:
    while inner := next((value[key] for key in WRAPPERS if isinstance(value.get(key), Mapping)), None):
        value = inner
    state = {str(key): item for key, item in value.items() if isinstance(item, Tensor)}
    if not state:
        raise CheckpointError(f"{label} holds no tensors, bare or in `state_dict` or `model`; give a state dict")
    return state


def _task(model: nn.Module) -> str:
    return getattr(getattr(model, "config", None), "task", "")


def _placed(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], task: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Give each tensor the model's own key (what has no place keeps its key), and the keys that two would have."""
    placed: dict[str, Tensor] = {}
    twice: list[str] = []
    names = [key.removeprefix("module.") for key in state]
    prefixed = any(name.startswith("backbone.") for name in names)
    for name, tensor in zip(names, state.values(), strict=True):
        candidates = (name, name.removeprefix("backbone."), f"backbone.{name}")
        key = next((item for item in candidates if item in expected), None)
        beside = not name.startswith("backbone.") if prefixed else name.startswith(HEAD_PREFIXES)
        if key is None and (FIXED_MASK.search(name) or (task == "features" and beside)):
            continue
        key = key or name
        if key in placed:
            twice.append(key)
        placed[key] = tensor
    return placed, twice


def _check_fit(
    placed: Mapping[str, Tensor], twice: list[str], expected: Mapping[str, Tensor], label: str, name: str
) -> None:
    has_auxiliary = any(key.startswith(AUXILIARY_PREFIXES) for key in placed)
    missing = [
        key
        for key in expected
        if key not in placed
        and not key.endswith("num_batches_tracked")
        and (has_auxiliary or not key.startswith(AUXILIARY_PREFIXES))
    ]
    left_over = [key for key in placed if key not in expected]
    known = {key: tensor for key, tensor in placed.items() if key in expected}
    flaws = {key: flaw for key, tensor in known.items() if (flaw := _flaw(tensor, expected[key].dtype))}
    reshaped = [
        f"{key} {list(tensor.shape)} for {list(expected[key].shape)}"
        for key, tensor in known.items()
        if key not in flaws and tensor.shape != expected[key].shape
    ]
    unusable = [f"{key}: {flaw}" for key, flaw in flaws.items()]
    misfits = _counted({"missing": missing, "left over": left_over, "of another shape": reshaped})
    faults = misfits + _counted({"there twice": twice, "not usable": unusable})
    if faults:
        trained = "give the model and the options (num_classes, form, ...) that it was trained with"
        hint = trained if misfits else "save a state dict whose tensors are dense, real and finite, each of them once"
        raise CheckpointError(f"{label} does not fit {name}: {'; '.join(faults)}; {hint}")


def _flaw(tensor: Tensor, dtype: torch.dtype) -> str | None:
    """Say why a tensor cannot become a parameter or buffer of `dtype`, or give None."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return "not dense"
    if tensor.is_meta:
        return "without values"
    if tensor.is_complex() or tensor.is_quantized:
        return str(tensor.dtype).removeprefix("torch.")
    # A value beyond the model's type becomes infinite there; a counter's type would hide that it is not finite.
    values = tensor.to(dtype if dtype.is_floating_point else torch.float64)
    return None if values.isfinite().all() else "NaN or infinite"


def _counted(faults: Mapping[str, list[str]]) -> list[str]:
    return [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in faults.items() if keys]


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more
