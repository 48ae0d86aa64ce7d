"""Weights in files and state dicts, ours, the authors' and trainers', into models."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edgefsa.errors import CheckpointError
from edgefsa.models.checkpoint_file import StoredTensor, open_checkpoint
from edgefsa.models.weight_sets import BARE, COUNTER, Placement, Stored, choose_set, set_under, weight_sets

# Heads that only training uses: a checkpoint may leave them out.
AUXILIARY_PREFIXES = ("auxiliary_head.", "dsn.")
# Under this key a safetensors file of `edgefsa train` records {"model", "options", "classes"} as JSON.
WEIGHTS_METADATA_KEY = "edgefsa"
LISTED = 20


@dataclass(frozen=True)
class LoadedWeights:
    """Which set of weights of a file was taken ("" where it has no key), and what was not.

    `others` are the keys of sets that fit as well, such as a moving average; `beside` are tensors in the taken set
    that are no part of the network, such as a loss's.
    """

    key: str = ""
    others: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """Return what a person should know of the choice, a line each."""
        notes = []
        if self.others:
            others = ", ".join(key or BARE for key in self.others)
            notes.append(f"weights taken under {self.key or BARE}; others fit as well (--weights-key): {others}")
        if self.beside:
            notes.append(f"left aside, as no part of the network: {_listed(self.beside)}")
        return notes


def load_checkpoint(
    model: nn.Module, source: str | Path | Mapping[str, Any], *, weights_key: str | None = None
) -> LoadedWeights:
    """Load a state dict, or a file with one, into `model`, in place.

    Takes safetensors and PyTorch files, and state dicts in our own and in every layout of the authors' code, bare or
    under any key (`state_dict`, `model_ema`, `ema.module`, ...), with or without `module.`, `model.`, `_orig_mod.`
    and the like before the keys. Of several sets of weights the one that fits best is taken, a plain one before a
    moving average; `weights_key` names another, or a prefix inside one. Tensors are converted to the model's types.
    Nothing in a pickle is run, and all but its tensors is left aside. SPANet's fixed masks (`.filter`) are left
    aside since they are computed, and an auxiliary head may be absent; a backbone alone leaves the rest of the
    checkpoint's network aside: neck and heads, or all that is not under `backbone.` where there are such keys.
    Returns which set was taken. The model stays as it was where CheckpointError is raised: for a file that cannot be
    read, is hostile or holds a pickled module, and for tensors that are missing, left over, there twice (with and
    without a prefix), of another shape, or not usable: complex, not dense, without values, or not finite in the
    model's type.
    """
    label = "the state dict" if isinstance(source, Mapping) else str(source)
    config = getattr(model, "config", None)
    with _content(source) as content:
        sets = weight_sets(content, label)
        if weights_key is not None:
            sets = {weights_key: set_under(sets, weights_key, label)}
        expected = model.state_dict()
        key, placement, others = choose_set(sets, expected, getattr(config, "task", ""))
        state = _fitting(placement, expected, label, getattr(config, "name", type(model).__name__))
    model.load_state_dict(state, strict=False)
    return LoadedWeights(key, others, tuple(placement.beside))


@contextlib.contextmanager
def _content(source: str | Path | Mapping[str, Any]) -> Iterator[Any]:
    if isinstance(source, Mapping):
        yield source
        return
    with open_checkpoint(source) as content:
        yield content


def weights_facts(path: str | Path) -> dict[str, Any]:
    """Return what a safetensors file of `edgefsa train` says of itself: "model", "options", "classes" (names).

    Empty for any other file, and for one that cannot be read: loading it says why.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {}).get(WEIGHTS_METADATA_KEY, "{}"))
    except (OSError, ValueError, SafetensorError):
        return {}
    kinds = {"model": str, "options": dict, "classes": list}
    whole = isinstance(facts, dict) and all(isinstance(facts.get(name), kind) for name, kind in kinds.items())
    return facts if whole else {}


def _fitting(placement: Placement, expected: Mapping[str, Tensor], label: str, name: str) -> dict[str, Tensor]:
    """Read the tensors of a network; CheckpointError lists all that does not fit."""
    there = placement.tensors
    has_auxiliary = any(key.startswith(AUXILIARY_PREFIXES) for key in there)
    missing = [
        key
        for key in expected
        if key not in there and not key.endswith(COUNTER) and (has_auxiliary or not key.startswith(AUXILIARY_PREFIXES))
    ]
    left_over = [key for key in there if key not in expected]
    known = {key: tensor for key, tensor in there.items() if key in expected}
    read, flaws = {}, {}
    reshaped = []
    for key, stored in known.items():
        flaw = _kind_flaw(stored)
        if flaw is None and tuple(stored.shape) != tuple(expected[key].shape):
            reshaped.append(f"{key} {list(stored.shape)} for {list(expected[key].shape)}")
            continue
        if flaw is None:
            read[key] = stored.read() if isinstance(stored, StoredTensor) else stored
            flaw = _kind_flaw(read[key]) or _value_flaw(read[key], expected[key].dtype)
        if flaw is not None:
            flaws[key] = flaw
    unusable = [f"{key}: {flaw}" for key, flaw in flaws.items()]
    misfits = _counted({"missing": missing, "left over": left_over, "of another shape": reshaped})
    faults = misfits + _counted({"there twice": placement.twice, "not usable": unusable})
    if faults:
        trained = "give the model and the options (num_classes, form, ...) that it was trained with"
        hint = trained if misfits else "save a state dict whose tensors are dense, real and finite, each of them once"
        raise CheckpointError(f"{label} does not fit {name}: {'; '.join(faults)}; {hint}")
    return read


def _kind_flaw(tensor: Stored) -> str | None:
    """Return why no parameter can be made of such a tensor, or None."""
    if isinstance(tensor, StoredTensor):
        return tensor.flaw
    if tensor.is_nested or tensor.layout != torch.strided:
        return "not dense"
    if tensor.is_meta:
        return "without values"
    if tensor.is_complex() or tensor.is_quantized:
        return str(tensor.dtype).removeprefix("torch.")
    return None


def _value_flaw(tensor: Tensor, dtype: torch.dtype) -> str | None:
    # A value beyond the model's type becomes infinite there; a counter's type would hide that it is not finite.
    values = tensor.to(dtype if dtype.is_floating_point else torch.float64)
    return None if values.isfinite().all() else "NaN or infinite"


def _counted(faults: Mapping[str, list[str]]) -> list[str]:
    return [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in faults.items() if keys]


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more
