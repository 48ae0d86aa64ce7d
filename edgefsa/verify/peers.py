"""Networks of other origin, to be set beside our engines: a user's own figures, from a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgefsa.errors import InputError

_FORMAT = 'write {"peers": [{"name": "PIDNet-S", "miou_percent": 80.1, "frame_to_mask_ms": 8.0, "note": "test split"}]}'


@dataclass(frozen=True)
class Peer:
    """A network with its mIoU (percent) and its time from frame to mask (ms), as a user states them.

    `note` says what a reader has to know: the data, the machine, the size.
    """

    name: str
    miou_percent: float
    frame_to_mask_ms: float
    note: str = ""


def read_peers(path: str | Path) -> tuple[Peer, ...]:
    """Read {"peers": [{"name", "miou_percent", "frame_to_mask_ms", "note"?}, ...]}; InputError for anything else."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); {_FORMAT}") from None
    if not isinstance(value, dict) or set(value) != {"peers"} or not isinstance(value["peers"], list):
        raise InputError(f"{path} is no object with a list of peers and nothing else; {_FORMAT}")
    peers = tuple(_peer(item, f"{path}: peer {number}") for number, item in enumerate(value["peers"], start=1))
    names = [peer.name for peer in peers]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path} has two peers with the name {repeated!r}; give each a name of its own")
    return peers


def peer_letter(place: int) -> str:
    """Return the letter of a peer by its place: a to z, then aa, bb, ..."""
    return chr(ord("a") + place % 26) * (1 + place // 26)


def _peer(item: Any, place: str) -> Peer:
    known = [field.name for field in fields(Peer)]
    if not isinstance(item, dict):
        raise InputError(f"{place} is {item!r}, no object; {_FORMAT}")
    if unknown := sorted(set(item) - set(known)):
        raise InputError(f"{place} has {unknown[0]!r}, which is none of {', '.join(known)}; {_FORMAT}")
    name, note = item.get("name"), item.get("note", "")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{place} has no name; {_FORMAT}")
    if not isinstance(note, str):
        raise InputError(f"{place} ({name}) has the note {note!r}, no text")
    miou = _number(item, "miou_percent", place, highest=100.0)
    return Peer(name, miou, _number(item, "frame_to_mask_ms", place, highest=float("inf")), note)


def _number(item: Mapping[str, Any], key: str, place: str, highest: float) -> float:
    value: Any = item.get(key)
    if type(value) not in (int, float) or not 0 < value <= highest or value == float("inf"):
        limit = "above 0" if highest == float("inf") else f"above 0, at most {highest:g}"
        raise InputError(f"{place} ({item['name']}) has {key} {value!r}, no number {limit}; {_FORMAT}")
    return float(value)
