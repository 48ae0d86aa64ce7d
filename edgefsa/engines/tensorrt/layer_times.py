"""What trtexec writes of an engine's layers: `--exportLayerInfo` and `--exportProfile`, as one table.

The first is the engine inspector's JSON: {"Layers": [...], "Bindings": [...]}, where a layer is an object with its
types, or its name alone where the plan was made without `--profilingVerbosity=detailed`. The second is a list:
{"count": runs}, then for each layer "name", "timeMs" (of all runs), "averageMs", "medianMs" and "percentage".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefsa.engines.precision import UNKNOWN
from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.tensorrt.layers import layer_of
from edgefsa.errors import InputError

# A network has a few hundred layers, each of some KB.
_LARGEST_FILE = 64 << 20


@dataclass(frozen=True)
class LayerTime:
    """A layer with what it runs in and its average time in milliseconds; `share` is of all layers, 0 to 1.

    Time and share are None where no profile was given, or it does not name the layer.
    """

    name: str
    kind: str
    precision: str
    time_ms: float | None = None
    share: float | None = None


def read_layer_info(path: str | Path) -> list[LayerPrecision]:
    """Return the layers of a file of `--exportLayerInfo`; InputError where it is something else.

    Kind and precision are "unknown" of layers that the file has the names of alone.
    """
    value = _read(path, "--exportLayerInfo")
    rows = value.get("Layers") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not rows:
        raise _another(path, "--exportLayerInfo", "an object with a list of Layers")
    return [_layer(row, path) for row in rows]


def _layer(row: Any, path: str | Path) -> LayerPrecision:
    if isinstance(row, str):
        return LayerPrecision(row, UNKNOWN, UNKNOWN)
    try:
        layer = layer_of(row)
        if isinstance(layer.name, str):
            return layer
    except (TypeError, AttributeError, KeyError, ValueError):
        pass
    raise _another(path, "--exportLayerInfo", "Layers with Name, LayerType, Inputs and Outputs")


def read_profile(path: str | Path) -> dict[str, float]:
    """Return the average milliseconds of each layer of a file of `--exportProfile`; InputError for another."""
    value = _read(path, "--exportProfile")
    if not isinstance(value, list):
        raise _another(path, "--exportProfile", "a list of layers")
    times: dict[str, float] = {}
    for row in value:
        if isinstance(row, dict) and "name" not in row:
            continue  # how many runs there were
        if not isinstance(row, dict) or not isinstance(row["name"], str) or not _is_time(row.get("averageMs")):
            raise _another(path, "--exportProfile", "layers with name and averageMs")
        times[row["name"]] = times.get(row["name"], 0.0) + float(row["averageMs"])
    if not times:
        raise _another(path, "--exportProfile", "layers with name and averageMs")
    return times


def layer_times(layers: Sequence[LayerPrecision], times: Mapping[str, float]) -> list[LayerTime]:
    """Join what layers run in with their times: the slowest first, or without times in the network's order.

    Layers that only one side names are there too.
    """
    known = {layer.name: layer for layer in layers}
    total = sum(times.values()) or 1.0
    joined = []
    for name in dict.fromkeys([*known, *times]):
        layer, time_ms = known.get(name, LayerPrecision(name, UNKNOWN, UNKNOWN)), times.get(name)
        share = None if time_ms is None else time_ms / total
        joined.append(LayerTime(name, layer.kind, layer.precision, time_ms, share))
    return sorted(joined, key=lambda layer: -(layer.time_ms or 0.0))


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _read(path: str | Path, flag: str) -> Any:
    try:
        if Path(path).stat().st_size > _LARGEST_FILE:
            raise InputError(f"{path} is larger than any file of trtexec's {flag} ({_LARGEST_FILE >> 20} MB)")
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check the path") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{path} is not JSON ({reason}); write it with trtexec {flag}=FILE") from None


def _another(path: str | Path, flag: str, wanted: str) -> InputError:
    return InputError(f"{path} is not what trtexec writes with {flag} ({wanted}); write it with trtexec {flag}=FILE")
