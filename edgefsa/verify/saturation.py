"""Whether frames leave the ranges that an INT8 engine was calibrated for: shares of saturated values, tensor by tensor.

It runs on a device: neither onnx nor torch is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.errors import EngineError
from edgefsa.media.frames import Frame
from edgefsa.segment.run import Saturation
from edgefsa.verify.twin import Tensor, Twin

# Frames of the kind that was calibrated on saturate 0.06 % of a tensor's values at most, three times the calibration's
# own share; pixels that are a little brighter than any there saturate in masses, and by a hair (docs/decisions/0037).
_LEAST_SHARE, _TIMES_CALIBRATED, _LEAST_REACH = 0.002, 10.0, 1.1
_HALF_STEP = 0.5 / 127
_LARGEST_REACH = 1e6


def calibrated_tensors_of(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return what an engine's build recorded of each quantised activation: {"amax", "clipped", "block"}.

    Empty for engines that are not INT8, and for those of an edgefsa that recorded nothing.
    """
    return dict((manifest.quantization or {}).get("calibrated", {}))


@dataclass(frozen=True)
class _Seen:
    """Of one frame: its name, the share of saturated values of each tensor, and how far they reach."""

    name: str
    shares: tuple[float, ...]
    reaches: tuple[float, ...]


class Saturations:
    """Collects shares of saturated values over frames: over all, or over the `last` so many."""

    def __init__(self, calibrated: Mapping[str, Mapping[str, Any]], last: int | None = None) -> None:
        self._calibrated = calibrated
        self._seen: deque[_Seen] = deque(maxlen=last)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that a frame's values are needed of."""
        return tuple(self._calibrated)

    @property
    def frames(self) -> int:
        """The frames that are counted now."""
        return len(self._seen)

    def add(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Count a frame."""
        found = [_share_and_reach(tensors[key], item["amax"]) for key, item in self._calibrated.items()]
        shares, reaches = zip(*found, strict=True) if found else ((), ())
        self._seen.append(_Seen(name, shares, reaches))

    def rows(self) -> list[Saturation]:
        """Return each tensor's saturation: those that drifted first, then by their share."""
        rows = []
        for index, (name, item) in enumerate(self._calibrated.items()):
            shares = [seen.shares[index] for seen in self._seen]
            if shares:
                total = sum(shares)
                weighted = sum(seen.shares[index] * seen.reaches[index] for seen in self._seen)
                share, reach = total / len(shares), weighted / total if total else 0.0
                worst = int(np.argmax(shares))
                rows.append(
                    Saturation(
                        tensor=name,
                        block=item["block"],
                        share=share,
                        calibrated=item["clipped"],
                        reach=reach,
                        worst_frame=self._seen[worst].name,
                        worst_share=shares[worst],
                        drifted=_drifted(share, reach, item["clipped"]),
                    )
                )
        return sorted(rows, key=lambda row: (not row.drifted, -row.share))


def _share_and_reach(tensor: Tensor, amax: float) -> tuple[float, float]:
    """Return the share of values whose codes saturate, and their mean magnitude as a multiple of `amax`."""
    magnitudes = np.abs(tensor)
    beyond = magnitudes[magnitudes > amax * (1 + _HALF_STEP)]
    if not beyond.size:
        return 0.0, 0.0
    return beyond.size / magnitudes.size, min(float(beyond.mean(dtype=np.float64)) / amax, _LARGEST_REACH)


def _drifted(share: float, reach: float, calibrated: float) -> bool:
    return share > max(_LEAST_SHARE, _TIMES_CALIBRATED * calibrated) and reach >= _LEAST_REACH


def in_words(row: Saturation) -> str:
    """Say what share of which tensor lies beyond its range, in one clause."""
    block = f" in {row.block}" if row.block else ""
    return (
        f"{100 * row.share:.2g} % of the values of {row.tensor}{block} lie beyond the calibrated range, on average "
        f"{row.reach:.2g} times as far as it reaches ({100 * row.calibrated:.2g} % on the frames of the calibration)"
    )


def remedy(engine: Path, manifest: Manifest) -> str:
    """Return what to do about frames that the calibration has not seen, with the command."""
    data = (manifest.quantization or {}).get("data", {}).get("name", "DATA")
    return (
        f"calibrate with such frames beside the others: edgefsa build {engine / 'model.onnx'} --target "
        f"{manifest.target} --data {data} --data images:FRAMES -o FOLDER"
    )


def saturation_on(engine: Path, frames: Iterable[tuple[str, Frame]]) -> Saturations:
    """Run frames (name, uint8 [H, W, 3] BGR) through an INT8 engine's ONNX graph, and return what saturates.

    Raises EngineError where the engine has no record of its calibration.
    """
    manifest = Manifest.read(engine)
    calibrated = calibrated_tensors_of(manifest)
    if not calibrated:
        why = "is not INT8" if manifest.precision != "int8" else "has no record of its calibration; rebuild it"
        raise EngineError(f"{engine} {why}: ranges can be watched of INT8 engines only")
    found, twin = Saturations(calibrated), Twin(engine, calibrated)
    for name, frame in frames:
        found.add(name, twin.run(frame)[1])
    return found
