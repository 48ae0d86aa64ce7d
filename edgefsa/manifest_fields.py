"""What the fields of an engine's manifest have to be, so that a manifest from elsewhere can be read like any input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgefsa.metadata import metadata_fault

Test = Callable[[Any], bool]
_LONGEST_VALUE = 80
_HASH = re.compile(r"[0-9a-f]{64}")
_CAPABILITY = re.compile(r"\d{1,2}\.\d")
# No separator of any system, no drive, no hidden file, and none of the names "." and "..".
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


def is_file_name(value: object) -> bool:
    """Return whether `value` names a file in a directory, and cannot name one elsewhere."""
    return isinstance(value, str) and _FILE_NAME.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_distance(value: Any) -> bool:
    if not isinstance(value, dict) or not {"relative_l2", "agreement"} <= value.keys():
        return False
    l2, agreement = value["relative_l2"], value["agreement"]
    return (l2 is None or (type(l2) in (int, float) and l2 >= 0)) and (agreement is None or _is_share(agreement))


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_files(value: Any) -> bool:
    return isinstance(value, dict) and all(is_file_name(name) and _is_hash(digest) for name, digest in value.items())


def _is_calibrated(value: Any) -> bool:
    def fits(item: Any) -> bool:
        return (
            isinstance(item, dict)
            and type(item.get("amax")) in (int, float)
            and item["amax"] > 0
            and _is_share(item.get("clipped"))
            and _is_text(item.get("block"))
        )

    return isinstance(value, dict) and all(map(fits, value.values()))


def _all(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(map(test, value))


def _is_capability(value: Any) -> bool:
    return isinstance(value, str) and _CAPABILITY.fullmatch(value) is not None


_TEXT, _OBJECT, _SHARE = ("a text", _is_text), ("an object", _is_object), ("a number from 0 to 1", _is_share)
_DISTANCE = ("a distance or null", lambda value: value is None or _is_distance(value))
_COUNT = ("a whole number", lambda value: type(value) is int and value >= 0)
# Each field by its path, with what it has to be in words and as a test; one with "?" may be missing.
_FIELDS: dict[str, tuple[str, Test]] = {
    "target": _TEXT,
    # What other tools made is of unknown precision.
    "precision": ("fp32, fp16, int8 or unknown", lambda value: value in ("fp32", "fp16", "int8", "unknown")),
    "precision_detail": _OBJECT,
    "precision_detail.compute": _TEXT,
    "precision_detail.float": _TEXT,
    "precision_detail.device?": _TEXT,
    "precision_detail.builder?": _OBJECT,
    "precision_detail.builder.graph?": ("a plain file name", is_file_name),
    "precision_detail.trtexec?": _TEXT,
    "precision_detail.layers?": _OBJECT,
    "precision_detail.f32_nodes?": ("an object of texts", _is_texts),
    "precision_detail.range_scan?": ("an object or null", lambda value: value is None or isinstance(value, dict)),
    "files": ("plain file names with their SHA-256", _is_files),
    "golden": _OBJECT,
    "proof": _OBJECT,
    "proof.evidence": ("engine, network or none", lambda value: value in ("engine", "network", "none")),
    "proof.account": _TEXT,
    "proof.expected": _COUNT,
    "proof.proved": _COUNT,
    "proof.numbers": _OBJECT,
    "proof.numbers.frames": _COUNT,
    "proof.numbers.data": _TEXT,
    "proof.numbers.computed_by?": _TEXT,
    "proof.numbers.float_to_converted": _DISTANCE,
    "proof.numbers.converted_to_engine": _DISTANCE,
    "int8_macs_share": _SHARE,
    "fp16_macs_share": _SHARE,
    "quantization": ("an object or null", lambda value: value is None or isinstance(value, dict)),
    "versions": ("an object of texts", _is_texts),
    "device": _OBJECT,
    "device.cpu?": _TEXT,
    "device.gpu?": _TEXT,
    "device.architecture?": _TEXT,
    "device.cpu_features?": ("a list of texts", _all(_is_text)),
    "device.compute_capability_from?": ('a text like "8.9"', _is_capability),
    "device.compute_capabilities?": ('a list of texts like "8.9"', _all(_is_capability)),
    "plugins": ("a list of objects", _all(_is_object)),
    "created": _TEXT,
}
_QUANTIZATION_FIELDS: dict[str, tuple[str, Test]] = {"calibrated?": ("ranges of tensors", _is_calibrated)}
# Of an engine whose outputs could be computed beside it; else there is none of these.
_GOLDEN_FIELDS: dict[str, tuple[str, Test]] = {
    "file": ("a plain file name", is_file_name),
    "frames": _TEXT,
    "outputs": _TEXT,
    "agreement": _SHARE,
}
_PLUGIN_FIELDS: dict[str, tuple[str, Test]] = {
    **dict.fromkeys(("name", "version", "namespace", "where"), _TEXT),
    "tensorrt?": _TEXT,
    "compute_capability?": ('a text like "8.9"', _is_capability),
    "sha256?": ("a SHA-256", _is_hash),
}


def manifest_fault(value: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first wrong field of a manifest, as "FIELD VALUE, not ...", or None."""
    fault = metadata_fault(value.get("model"))
    if fault is not None:
        return f"model {fault}"
    return next(_faults(value), None)


def _faults(value: Mapping[str, Any]) -> Iterator[str]:
    yield from _faults_of(value, _FIELDS, "")
    yield from _faults_of(value["quantization"] or {}, _QUANTIZATION_FIELDS, "quantization.")
    if value["golden"]:
        yield from _faults_of(value["golden"], _GOLDEN_FIELDS, "golden.")
        if value["golden"].get("file") not in value["files"]:
            yield f"golden.file {value['golden'].get('file')!r}, not one of its files"
    for index, plugin in enumerate(value["plugins"]):
        yield from _faults_of(plugin, _PLUGIN_FIELDS, f"plugins[{index}].")
        if plugin["where"] == "library" and not {"tensorrt", "sha256"} <= plugin.keys():
            yield f"plugins[{index}] without the library's tensorrt and sha256"


def _faults_of(value: Mapping[str, Any], specified: Mapping[str, tuple[str, Test]], before: str) -> Iterator[str]:
    for path, (wanted, fits) in specified.items():
        *parents, name = path.removesuffix("?").split(".")
        holder: Any = value
        for parent in parents:
            holder = holder.get(parent, {})
        if name in holder:
            if not fits(holder[name]):
                yield f"{before}{path.removesuffix('?')} {repr(holder[name])[:_LONGEST_VALUE]}, not {wanted}"
        elif not path.endswith("?"):
            yield f"no {before}{path}"
