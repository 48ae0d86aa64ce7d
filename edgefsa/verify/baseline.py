"""An earlier report.json, read as a baseline: every field that is compared is checked first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError
from edgefsa.verify.report import FORMAT, DataFacts

_REMEDY = "measure it again with `edgefsa report`"
# What has to be the same of two machines for their times to be compared; of a Jetson also its power mode.
_MACHINE_FIELDS = ("cpu", "architecture", "cores_usable", "board")


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The frames of an evaluation by name, with `hits` and `unions` in pixels, int64 [F, K]."""

    frames: tuple[str, ...]
    hits: npt.NDArray[np.int64]
    unions: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Timed:
    """An engine's batch, its times from frame to mask (ms) by round, and the yardstick's in the same rounds."""

    batch: int
    frame_to_mask_ms: tuple[float, ...]
    yardstick_ms: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """What is compared of a report: `place` names it, `machine` is what its times belong to."""

    place: str
    date: str
    machine: dict[str, Any]
    data: DataFacts | None
    times: dict[str, Timed]
    accuracy: dict[str, Evaluated]


def read_baseline(path: str | Path) -> Measured:
    """Read a report.json that `edgefsa report` wrote; InputError where it is missing, foreign, old or damaged."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read the baseline {path}: {reason}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the baseline {path} is not JSON ({error}); {_REMEDY}") from None
    return measured_of(value, str(path))


def measured_of(value: Any, place: str) -> Measured:
    """Check the values of a report (`Report.as_dict`, or its JSON); InputError names the field that is wrong."""
    if not isinstance(value, dict) or not {"engines", "machine", "date"} <= value.keys():
        raise InputError(
            f"the baseline {place} is no report of edgefsa; give a report.json that `edgefsa report` wrote"
        )
    if value.get("format") != FORMAT:
        found = "no format, as reports of earlier versions" if "format" not in value else f"format {value['format']!r}"
        raise InputError(f"the baseline {place} has {found}, this edgefsa reads {FORMAT}; {_REMEDY}")
    reader = _Reader(place)
    data = reader.data(value.get("data"))
    machine = {**reader.object(value["machine"], "machine"), "threads": value.get("threads")}
    times, accuracy = {}, {}
    for number, item in enumerate(reader.list(value["engines"], "engines")):
        engine = reader.object(item, f"engines[{number}]")
        name = reader.text(engine.get("name"), f"engines[{number}].name")
        if name in times:
            raise reader.fault("engines", f"two engines with the name {name!r}")
        times[name] = reader.timed(engine, name)
        if engine.get("frames") is not None and data is not None:
            accuracy[name] = reader.evaluated(engine["frames"], f"{name}.frames", len(data.classes))
    return Measured(place, reader.text(value["date"], "date"), machine, data, times, accuracy)


def machine_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Say what differs between two machines so that their times cannot be compared; None where nothing does."""
    for field, before, now in [
        *((field, one.get(field), other.get(field)) for field in _MACHINE_FIELDS),
        ("gpus", _gpu_names(one), _gpu_names(other)),
        ("power mode", _power_mode(one), _power_mode(other)),
        ("threads", one.get("threads"), other.get("threads")),
    ]:
        if before != now:
            return f"{field} {_or_none(before)} there, {_or_none(now)} here"
    return None


def _gpu_names(machine: Mapping[str, Any]) -> str:
    return ", ".join(str(gpu.get("name")) for gpu in machine.get("gpus") or ())


def _power_mode(machine: Mapping[str, Any]) -> Any:
    return (machine.get("jetson") or {}).get("power_mode")


def _or_none(value: Any) -> Any:
    return "none" if value in (None, "") else value


class _Reader:
    """Takes values of a report for what they have to be."""

    def __init__(self, place: str) -> None:
        self._place = place

    def fault(self, field: str, found: str) -> InputError:
        return InputError(f"the baseline {self._place} is damaged: {field} has {found}; {_REMEDY}")

    def object(self, value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fault(field, f"{str(value)[:40]!r}, no object")
        return value

    def list(self, value: Any, field: str) -> Sequence[Any]:
        if not isinstance(value, (list, tuple)):
            raise self.fault(field, f"{str(value)[:40]!r}, no list")
        return value

    def text(self, value: Any, field: str) -> str:
        if not isinstance(value, str):
            raise self.fault(field, f"{str(value)[:40]!r}, no text")
        return value

    def texts(self, value: Any, field: str) -> tuple[str, ...]:
        return tuple(self.text(item, field) for item in self.list(value, field))

    def data(self, value: Any) -> DataFacts | None:
        if value is None:
            return None
        found = self.object(value, "data")
        kind, split, fingerprint = (
            self.text(found.get(key), f"data.{key}") for key in ("kind", "split", "fingerprint")
        )
        return DataFacts(kind, split, self.texts(found.get("classes"), "data.classes"), fingerprint)

    def timed(self, engine: dict[str, Any], name: str) -> Timed:
        times = self.object(engine.get("times_ms"), f"{name}.times_ms")
        frame, yardstick = (
            self._times(times.get(key), f"{name}.times_ms.{key}") for key in ("frame_to_mask", "yardstick")
        )
        if len(frame) != len(yardstick):
            raise self.fault(f"{name}.times_ms", f"{len(frame)} rounds and {len(yardstick)} of the yardstick")
        batch = engine.get("batch")
        if type(batch) is not int or batch < 1:
            raise self.fault(f"{name}.batch", f"{batch!r}, no number of frames")
        return Timed(batch, frame, yardstick)

    def evaluated(self, value: Any, field: str, classes: int) -> Evaluated:
        found = self.object(value, field)
        names = self.texts(found.get("names"), f"{field}.names")
        shape = (len(names), classes)
        hits, unions = (self._counts(found.get(key), f"{field}.{key}", shape) for key in ("hits", "unions"))
        if (hits > unions).any() or not unions.any():
            raise self.fault(field, "more hits than pixels in label and prediction, or no pixel at all")
        return Evaluated(names, hits, unions)

    def _times(self, value: Any, field: str) -> tuple[float, ...]:
        times = self.list(value, field)
        if not times or not all(type(ms) in (int, float) and 0 < ms < float("inf") for ms in times):
            raise self.fault(field, "something else than times in milliseconds")
        return tuple(map(float, times))

    def _counts(self, value: Any, field: str, shape: tuple[int, int]) -> npt.NDArray[np.int64]:
        try:
            counts = np.array(self.list(value, field))
        except ValueError:  # rows of several lengths
            raise self.fault(field, "rows of several lengths") from None
        if counts.shape != shape or counts.dtype.kind != "i" or not counts.size or (counts < 0).any():
            raise self.fault(field, f"no pixel counts of {shape[0]} frames by {shape[1]} classes")
        return counts.astype(np.int64)
