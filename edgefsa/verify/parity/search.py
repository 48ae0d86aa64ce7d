"""The block in which a stage parts from the one before it, found at the blocks' ends. Needs onnx."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgefsa.engines.golden import Bound, Distance
from edgefsa.errors import TargetError
from edgefsa.metadata import LOGITS, MASKS
from edgefsa.verify.parity.stages import MODULE, Frames, Stage, Tensors
from edgefsa.verify.parity.tally import Seen, distance

if TYPE_CHECKING:
    from edgefsa.graph.blocks import Block

# Errors below this part of a bound are no trace of a fault: the bounds are about ten times what rounding was measured
# to do. Without such a floor the first rounding of all, behind exact pixels, would be the largest growth.
_FLOOR = 0.1


# For each tensor the error, what it is held against, and its own value.
Errors = dict[str, tuple[float, npt.NDArray[Any], npt.NDArray[Any]]]


@dataclass(frozen=True)
class Found:
    """A block, the errors at its end and before it, how much it adds, and the ends of this stage and the one before."""

    block: Block
    error: float
    error_before: float
    growth: float
    end: npt.NDArray[Any]
    reference: npt.NDArray[Any]


def first_block(
    stage: Stage, previous: Stage, blocks: Sequence[Block], frames: Frames, bound: Bound, *, beyond: bool
) -> tuple[Found | None, str]:
    """Return the block in which `stage` parts from `previous` on `frames`, and how it was found or why it was not.

    Of the blocks up to the first whose end is beyond the bound it is the one in which the error grows most: the error
    at its end over the largest at what it reads. `beyond` says whether the stage as a whole is beyond its bound; where
    it is not, masks are left out, in which a few ties are no growth.
    """
    ends = {name for block in blocks for name in (*block.inputs, block.end)}
    tails = (name for block in blocks for name in (block.tail() if previous.name == MODULE else ()))
    names = list(dict.fromkeys([*sorted(ends), *tails]))
    try:
        ours, note = _tensors(stage, previous, names, frames, None if beyond else bound)
    except TargetError as refusal:
        return None, str(refusal)
    theirs = previous.tensors(names, frames)
    both = [name for name in names if ours.get(name) and theirs.get(name)]
    errors: Errors = {name: (*nearest(ours[name][0], theirs[name]), ours[name][0]) for name in both}
    if previous.name == MODULE:
        _bridge_unmatched(errors, blocks)
        _forget_unmatched(errors, blocks, bound)
    compared = [block for block in blocks if block.end in errors and (beyond or block.end != MASKS)]
    ends_here = (i for i, block in enumerate(compared) if errors[block.end][0] > _limit(block, bound))
    grown = [_growth(block, errors, bound) for block in compared[: next(ends_here, len(compared)) + 1]]
    if not grown:
        return None, note or "no block's end can be compared"
    place = int(np.argmax(grown))
    block = compared[place]
    error, reference, end = errors[block.end]
    return Found(block, error, _before(block, errors), grown[place], end, reference), note


def nearest(value: npt.NDArray[Any], candidates: Sequence[npt.NDArray[Any]]) -> tuple[float, npt.NDArray[Any]]:
    """Return the least error of `value` against any of `candidates`, and which that is.

    It is the relative L2, of uint8 masks the share of pixels that differ; infinite where a value is not finite, or no
    candidate has the shape.
    """
    found = [(_error(value, other), other) for other in candidates if other.shape == value.shape]
    return min(found, key=lambda item: item[0], default=(math.inf, value))


def _error(value: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    if value.dtype == np.uint8:
        return float(np.mean(value != reference))
    with np.errstate(all="ignore"):
        wide = reference.astype(np.float64)
        error = float(np.linalg.norm(value - wide) / max(float(np.linalg.norm(wide)), 1e-30))
    return error if math.isfinite(error) else math.inf


def _limit(block: Block, bound: Bound) -> float:
    return 1 - bound.agreement if block.end == MASKS else bound.relative_l2


def _before(block: Block, errors: Errors) -> float:
    return max((errors[name][0] for name in block.inputs if name in errors), default=0.0)


def _growth(block: Block, errors: Errors, bound: Bound) -> float:
    error, before = errors[block.end][0], max(_before(block, errors), _FLOOR * _limit(block, bound))
    return 1.0 if math.isinf(before) else error / before


def _bridge_unmatched(errors: Errors, blocks: Sequence[Block]) -> None:
    """Judge an end that no submodule returns, as of a resize, by what is returned behind the last weight."""
    for block in blocks:
        if block.end in errors and block.end != MASKS:
            tail = [errors[name] for name in block.tail() if name in errors]
            errors[block.end] = min([errors[block.end], *tail], key=lambda item: item[0])


def _forget_unmatched(errors: Errors, blocks: Sequence[Block], bound: Bound) -> None:
    """Drop ends that no submodule returns: what follows from them is right, so they are.

    Masks are no proof of logits.
    """
    right: set[str] = set()
    for block in reversed(blocks):
        if block.end != MASKS and block.end in errors and errors[block.end][0] <= _limit(block, bound):
            right.add(block.end)
        if block.end in right:
            right.update(block.inputs)
    for name in [name for name in errors if name in right and errors[name][0] > bound.relative_l2]:
        del errors[name]


def _tensors(
    stage: Stage, previous: Stage, names: list[str], frames: Frames, bound: Bound | None
) -> tuple[Tensors, str]:
    """Return a stage's inner tensors; of one that fuses only where tapping leaves its result as it is.

    That is within its `bound`; without one, of a stage that is beyond it, within half of what the stage is off by.
    """
    if not stage.fuses:
        return stage.tensors(names, frames), ""
    untapped = stage.run(frames)
    limit = bound or _half_of(distance(untapped, previous.run(frames)))

    def undisturbed(found: Tensors) -> bool:
        return distance(_outputs(found, untapped), untapped).within(limit)

    together = stage.tensors([*names, LOGITS], frames)
    if undisturbed(together):
        return together, "tapped at all blocks' ends at once, with the same result as untapped"
    if bound is not None:
        return {}, "not looked into: tapping it changes its result"
    single = {name: stage.tensors([name, LOGITS], frames) for name in names}
    kept = {name: found[name] for name, found in single.items() if name in found and undisturbed(found)}
    lost = len(names) - len(kept)
    return kept, f"tapped one at a time; {lost} of {len(names)} taps change the engine's result and were left out"


def _half_of(apart: Distance) -> Bound:
    return Bound(0.5 * max(apart.relative_l2 or 0.0, 1e-6), 1 - 0.5 * max(1 - (apart.agreement or 0.0), 1e-3))


def _outputs(found: Tensors, untapped: Seen) -> Seen:
    logits = found[LOGITS][0] if LOGITS in found and untapped.logits is not None else None
    return Seen(logits, found[MASKS][0] if MASKS in found else untapped.masks)
