"""What a fault looks like: the mistakes that people make most, each tried on the frames that show the fault best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgefsa.engines.golden import Bound
from edgefsa.metadata import MASKS
from edgefsa.verify.parity.stages import Frames, Stage
from edgefsa.verify.parity.tally import distance

if TYPE_CHECKING:
    from edgefsa.verify.parity.search import Found

_LARGEST_HALF = float(np.finfo(np.float16).max)
# A few channels that hold nearly all of an error are a fault of theirs; more are one of the whole tensor.
_FEW_CHANNELS, _NEARLY_ALL = 4, 0.95


def hints(stage: Stage, previous: Stage, frames: Frames, bound: Bound, found: Found | None) -> tuple[str, ...]:
    """Return what the difference of two stages on `frames` looks like, a line each."""
    ours = stage.run(frames)
    lines = []
    if ours.logits is not None and distance(ours, previous.run(frames[..., ::-1].copy())).within(bound):
        lines.append("channel order: the two stages agree where one of them gets the frames' channels in reverse")
    if ours.logits is not None and found is not None and found.block.end == MASKS:
        aligned = masks_of_aligned_corners(ours.logits, (int(frames.shape[1]), int(frames.shape[2])))
        if float(np.mean(aligned == ours.masks)) >= bound.agreement:
            lines.append("align_corners: the masks are those of logits resized with align_corners=True")
    if found is not None and found.block.end != MASKS:
        lines += _of_values(found.end, found.reference)
    return tuple(lines)


def _of_values(value: npt.NDArray[Any], reference: npt.NDArray[Any]) -> list[str]:
    if value.shape != reference.shape:
        return [f"shape: {list(value.shape)} in place of {list(reference.shape)}"]
    wide, off = reference.astype(np.float64), np.asarray(value, np.float64) - reference
    broken = int(np.count_nonzero(~np.isfinite(value)))
    if broken:
        largest = float(np.abs(wide).max())
        beyond = f", beyond the {_LARGEST_HALF:.0f} of float16" if largest > _LARGEST_HALF else ""
        return [f"overflow: {broken} values are not finite; the largest before is {largest:.3g}{beyond}"]
    lines = []
    factor = float(np.vdot(wide, value) / max(float(np.vdot(wide, wide)), 1e-30))
    rest = float(np.linalg.norm(value - factor * wide) / max(float(np.linalg.norm(value)), 1e-30))
    if (factor > 1.5 or factor < 0.67) and rest < 0.1:
        lines.append(f"scale: the values are {factor:.3g} times those before")
    if off.ndim == 4 and off.shape[1] > 1:
        by_channel = np.square(off).sum(axis=(0, 2, 3))
        largest_first = np.argsort(-by_channel)[:_FEW_CHANNELS]
        shares = np.cumsum(by_channel[largest_first]) / max(float(by_channel.sum()), 1e-30)
        few = int(np.argmax(shares >= _NEARLY_ALL)) + 1
        if shares[few - 1] >= _NEARLY_ALL and few < off.shape[1]:
            named = ", ".join(str(index) for index in sorted(largest_first[:few].tolist()))
            lines.append(f"channels: {100 * shares[few - 1]:.0f} % of the difference is in channel {named}")
    return lines


def masks_of_aligned_corners(logits: npt.NDArray[Any], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the masks of logits [N, K, h, w] resized bilinearly with align_corners=True."""
    rows, columns = (_aligned(large, low) for large, low in zip(size_hw, logits.shape[2:], strict=True))
    return np.asarray((rows @ logits.astype(np.float64) @ columns.T).argmax(1), np.uint8)


def _aligned(large: int, low: int) -> npt.NDArray[np.float64]:
    position = np.linspace(0, low - 1, large)
    return np.asarray(np.maximum(0, 1 - np.abs(position[:, None] - np.arange(low))), np.float64)
