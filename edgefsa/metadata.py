"""What an exported file says of its model, and the check that it can be believed: the engine is named after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from edgefsa.errors import GraphError

METADATA_KEY = "edgefsa"
# Indices of a uint8 mask: 0 to 254, and 255 for what is ignored.
MAX_CLASSES = 255
# How frames of another shape meet the model's size (see media/fit.py); files of versions without the field stretch.
FITS = ("stretch", "letterbox", "crop")
UNNAMED_FIT = "stretch"
FRAMES, MASKS, LOGITS = "frames", "masks", "logits"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Batches(NamedTuple):
    """How many frames a run takes: the fewest, the number that engines are tuned for, and the most."""

    fewest: int
    usual: int
    most: int

    @property
    def fixed(self) -> bool:
        """Whether there is one number only."""
        return self.fewest == self.most

    def __str__(self) -> str:
        return str(self.most) if self.fixed else ":".join(map(str, self[:]))


def batches_of(metadata: Mapping[str, Any]) -> Batches:
    """Return the batches of a model's metadata; all three are one where the file's batch is fixed."""
    return Batches(*metadata.get("batches", [metadata["batch"]] * 3))


def is_model_name(value: object) -> bool:
    """Return whether `value` can name a model, and with it the engine's folder."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _are_batches(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value)) and value == sorted(value)


def _is_colour(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part <= 255 for part in value)


# Each field with what it has to be, in words and as a test.
_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a name of letters, digits, '.', '_' and '-'", is_model_name),
    "options": ("an object", lambda value: isinstance(value, dict)),
    "family": ("a text", lambda value: isinstance(value, str)),
    "num_classes": (f"1 to {MAX_CLASSES}", lambda value: _is_count(value) and value <= MAX_CLASSES),
    "classes": ("a list of names", lambda value: isinstance(value, list) and all(isinstance(x, str) for x in value)),
    "palette": ("a list of [r, g, b], 0 to 255", lambda value: isinstance(value, list) and all(map(_is_colour, value))),
    "ignore_index": ("a whole number", lambda value: type(value) is int),
    "size_hw": (
        "two numbers of pixels above 0",
        lambda value: isinstance(value, list) and len(value) == 2 and all(map(_is_count, value)),
    ),
    "batch": ("1 or more", _is_count),
    "outputs": (f"{MASKS} or {LOGITS}", lambda value: value in (MASKS, LOGITS)),
    "weights": (
        "an object with the text `kind`",
        lambda value: isinstance(value, dict) and isinstance(value.get("kind"), str),
    ),
    "tool_version": ("a text", lambda value: isinstance(value, str)),
    "batches": ("three numbers of frames that do not fall", _are_batches),
    "fit": (f"one of {', '.join(FITS)}", lambda value: value in FITS),
}
_MAY_BE_MISSING = {"fit", "batches"}
METADATA_FIELDS = tuple(name for name in _FIELDS if name not in _MAY_BE_MISSING)


def check_metadata(metadata: object, source: object) -> dict[str, Any]:
    """Return `metadata`, or raise GraphError naming the first field of `source` that is missing or wrong."""
    fault = metadata_fault(metadata)
    if fault is not None or not isinstance(metadata, dict):
        raise GraphError(f"{source} has metadata {fault}; export it again with `edgefsa export`")
    return metadata


def metadata_fault(metadata: object) -> str | None:
    """Return what is wrong with a model's metadata, naming the first wrong field, or None."""
    if not isinstance(metadata, dict):
        return "that is no JSON object"
    missing = [name for name in METADATA_FIELDS if name not in metadata]
    if missing:
        return f"without {', '.join(missing)}"
    for name, (wanted, fits) in _FIELDS.items():
        if name in metadata and not fits(metadata[name]):
            return f"with {name} {repr(metadata[name])[:80]}, not {wanted}"
    if batches_of(metadata).most != metadata["batch"]:
        return f"with batches {metadata['batches']}, of which the last is not the batch {metadata['batch']}"
    for name in ("classes", "palette"):
        if len(metadata[name]) != metadata["num_classes"]:
            return f"with {len(metadata[name])} {name} for {metadata['num_classes']} classes"
    return None
