"""The sets of weights that a checkpoint holds, the one that fits a network, and the place of each tensor in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from edgefsa.errors import CheckpointError
from edgefsa.models.checkpoint_file import StoredTensor
from edgefsa.models.inert_pickle import Inert

# What MMSegmentation's networks have beside a backbone.
HEAD_PREFIXES = ("neck.", "decode_head.", "auxiliary_head.")
# What trainers, torch.compile and data parallelism put before a network's own keys, in any order.
WRAPPING_PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "network.")
FIXED_MASK = re.compile(r"\.sps\.\d+\.filter$")  # of SPANet; computed here
COUNTER = "num_batches_tracked"
BARE = "no key"
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?)([._]|$)")
# How far below the top of a file sets of weights are looked for, as in `ema.module`.
_DEPTH = 3
_MOST_PREFIXES = 8

Stored = Tensor | StoredTensor
State = Mapping[str, Stored]


@dataclass
class Placement:
    """Where the tensors of a set belong: by the network's keys, or by their own where they have no place in it.

    `twice` are keys that two tensors would have, `beside` are tensors outside the prefix that the network is under.
    """

    tensors: dict[str, Stored] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)


def weight_sets(content: Any, label: str) -> dict[str, State]:
    """Return the mappings in `content` that hold tensors, by their keys joined with dots, "" for `content` itself.

    Raises CheckpointError where there is none: for a pickled module with the line that saves its state dict.
    """
    found: dict[str, State] = {}
    level: list[tuple[str, Any]] = [("", content)]
    seen: set[int] = set()
    for _ in range(_DEPTH):
        below: list[tuple[str, Any]] = []
        for path, value in level:
            if not isinstance(value, Mapping) or id(value) in seen:
                continue
            seen.add(id(value))
            tensors = {str(key): item for key, item in value.items() if isinstance(item, (Tensor, StoredTensor))}
            if tensors:
                found[path] = tensors
            below += [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
        level = below
    if not found:
        raise CheckpointError(_without_tensors(content, label))
    return found


def _without_tensors(content: Any, label: str) -> str:
    for index, value in _objects(content):
        if isinstance(value, Inert) and isinstance(value.state, Mapping) and "_parameters" in value.state:
            return (
                f"{label} holds a pickled module ({value.maker}), not a state dict; if you trust it and have its code, "
                f"run: python -c \"import torch; torch.save(torch.load('{label}', weights_only=False){index}"
                ".state_dict(), 'weights.pth')\""
            )
    if not isinstance(content, Mapping) or (isinstance(content, Inert) and not content):
        kind = content.maker if isinstance(content, Inert) else type(content).__name__
        return f"{label} holds a {kind}, not a state dict; save model.state_dict()"
    return f"{label} holds no tensors, bare or under a key; give a state dict"


def _objects(content: Any) -> Iterator[tuple[str, Any]]:
    yield "", content
    if isinstance(content, Mapping):
        yield from ((f"['{key}']", value) for key, value in content.items())


def choose_set(
    sets: Mapping[str, State], expected: Mapping[str, Tensor], task: str
) -> tuple[str, Placement, tuple[str, ...]]:
    """Choose the set with most of the network's keys, a plain one before a moving average.

    Returns its key, the places of its tensors, and the keys of the others that have as many of the network's.
    """
    places = {key: placed(state, expected, task) for key, state in sets.items()}
    counts = {key: _count_known(placement, expected) for key, placement in places.items()}
    most = max(counts.values())
    # Where none fits, the error is about the largest.
    largest = max(sets, key=lambda key: len(sets[key]))
    fitting = [key for key, count in counts.items() if count == most] if most else [largest]
    chosen = next((key for key in fitting if not _AVERAGED.search(key)), fitting[0])
    return chosen, places[chosen], tuple(key for key in fitting if key != chosen)


def _count_known(placement: Placement, expected: Mapping[str, Tensor]) -> int:
    return sum(key in expected and not key.endswith(COUNTER) for key in placement.tensors)


def set_under(sets: Mapping[str, State], key: str, label: str) -> State:
    """Return the set under `key`, or the tensors of a set whose own keys go on with it; CheckpointError for another."""
    if key in sets:
        return sets[key]
    for path, state in sets.items():
        prefix = f"{key}." if not path else f"{key.removeprefix(f'{path}.')}."
        inner = {name.removeprefix(prefix): item for name, item in state.items() if name.startswith(prefix)}
        if inner and (not path or key.startswith(f"{path}.")):
            return inner
    there = ", ".join(f"{path or BARE} ({len(state)} tensors)" for path, state in sets.items())
    raise CheckpointError(f"{label} has no weights under {key}; --weights-key takes one of: {there}")


def placed(state: State, expected: Mapping[str, Tensor], task: str) -> Placement:
    """Find the place in a network of each tensor of a set, with the prefixes of trainers off and `backbone.` on or off.

    Fixed masks are left out, and for the task "features" what belongs to no backbone.
    """
    keys = {name: _place(name, expected) for name in state}
    prefixes = Counter(prefix for key, prefix in keys.values() if key is not None)
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    has_backbone = any(name.startswith(f"{prefix}backbone.") for name in state)
    placement = Placement()
    for name, tensor in state.items():
        own, (key, _) = name.removeprefix(prefix), keys[name]
        if key is None and not name.startswith(prefix):
            placement.beside.append(name)
            continue
        is_beside = not own.startswith("backbone.") if has_backbone else own.startswith(HEAD_PREFIXES)
        if key is None and (FIXED_MASK.search(own) or (task == "features" and is_beside)):
            continue
        key = key or own
        if key in placement.tensors:
            placement.twice.append(key)
        placement.tensors[key] = tensor
    return placement


def _place(name: str, expected: Mapping[str, Tensor]) -> tuple[str | None, str]:
    """Return the network's key for a tensor, or None, and the wrapping prefixes that came off for it."""
    tail = name
    for _ in range(_MOST_PREFIXES):
        for key in (tail, tail.removeprefix("backbone."), f"backbone.{tail}"):
            if key in expected:
                return key, name[: len(name) - len(tail)]
        prefix = next((item for item in WRAPPING_PREFIXES if tail.startswith(item)), None)
        if prefix is None:
            break
        tail = tail.removeprefix(prefix)
    return None, ""
