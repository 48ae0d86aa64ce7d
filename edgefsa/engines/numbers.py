"""The proof by numbers: what a precision costs, and whether an engine computes what its converted graph defines.

Three things run on the same frames: the float32 graph, the converted graph literally as ONNX defines it, and the
engine. Both distances go into the manifest, and beyond its bound either fails the build. Needs onnx; used at build
time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgefsa.engines.golden import Bound, Distance, Outputs, patterned_frames
from edgefsa.engines.precision import UNKNOWN
from edgefsa.errors import PrecisionError

if TYPE_CHECKING:
    import onnx

    from edgefsa.engines.session import Session

Frames = npt.NDArray[np.uint8]
FRAMES_COMPARED = 8
# Of these, where graphs are computed by the reference evaluator: seconds a frame, on a board with a plain BLAS more.
FRAMES_BY_EVALUATOR = 3


# What a precision may cost, float graph to converted graph. The shipped networks lose 0.02 in INT8 and 0.0005 in
# float16, with 99.5 and 99.99 % of the pixels kept; ten times that is a network whose ranges or types do not fit it.
COST_BOUNDS = {"fp32": Bound(1e-5, 0.9999), "fp16": Bound(0.01, 0.99), "int8": Bound(0.3, 0.9)}
# On frames unlike those that the ranges were measured on, values are clipped that were never seen: there only the loss
# of most of the signal is sure to be a fault. Colour blocks cost networks trained on streets 0.1 to 0.7.
FOREIGN_COST_BOUNDS = {**COST_BOUNDS, "int8": Bound(1.0, 0.6)}
# What rounding may do between the converted graph and the engine, by what the engine computes in. Measured: f32 1e-6,
# f16 0.0007, INT8 0.002 to 0.012 with 99.8 % of the pixels (values that lie between two codes fall to either side);
# bf16 has 8 bits of mantissa, 8 times coarser than f16. Saturating INT8 arithmetic measured 0.14 and 95.7 %.
ROUNDING_BOUNDS = {
    "f32": Bound(1e-3, 0.999),
    "f16": Bound(0.01, 0.99),
    "bf16": Bound(0.08, 0.97),
    "int8": Bound(0.04, 0.98),
    # A plan of another tool, beside the float graph that it was made of: what INT8 may cost.
    UNKNOWN: COST_BOUNDS["int8"],
}
# Where INT8 itself is coarse for a network, so is the choice between two codes: two roundings of one graph that have
# nothing to do with each other differ by the square root of 2 times what each costs.
_ROUNDING_PER_COST = 1.5


@dataclass(frozen=True)
class Numbers:
    """What the comparison found: `outputs` are the converted graph's, the truth that the engine is held against.

    `engine` is None where the engine cannot run on this machine, and so is `first`, its distance on the first batch.
    `computed_by` names what ran the two graphs.
    """

    frames: Frames
    outputs: list[Outputs]
    data: str
    cost: Distance
    cost_bound: Bound
    engine: Distance | None
    engine_bound: Bound
    first: Distance | None = None
    computed_by: str = ""

    def golden_agreement(self) -> float:
        """Return the share of mask pixels of the first batch that an engine must reach when it is opened.

        A single batch may lie below the bound over all: then it is what the engine itself reached, less 1 %.
        """
        reached = self.first.agreement if self.first is not None else None
        return self.engine_bound.agreement if reached is None else min(self.engine_bound.agreement, reached - 0.01)

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's record of the comparison, with the bounds that it was held to."""
        return {
            "frames": int(self.frames.shape[0] * self.frames.shape[1]),
            "data": self.data,
            "computed_by": self.computed_by,
            "float_to_converted": {**asdict(self.cost), "bound": asdict(self.cost_bound)},
            "converted_to_engine": None
            if self.engine is None
            else {**asdict(self.engine), "bound": asdict(self.engine_bound)},
            "engine_bound": asdict(self.engine_bound),
        }


def converted_numbers(
    source: onnx.ModelProto,
    converted: onnx.ModelProto | None,
    frames: Frames,
    data: str,
    *,
    precision: str,
    compute: str,
    foreign: bool,
) -> Numbers:
    """Run the float graph and the converted graph (None where they are one) on `frames`, uint8 [M, N, H, W, 3] BGR.

    Without ONNX Runtime only the first FRAMES_BY_EVALUATOR frames are compared. Raises PrecisionError where the
    precision costs more than its bound; `foreign` frames are held to the wider one.
    """
    from edgefsa.graph.running import evaluator_in_words, has_onnxruntime, onnx_runner

    if not has_onnxruntime():
        frames = frames[: -(-FRAMES_BY_EVALUATOR // frames.shape[1])]
    run = onnx_runner(source, optimised=False)
    reference = [Outputs(*run(batch)) for batch in frames]
    outputs = reference
    if converted is not None:
        run = onnx_runner(converted, optimised=False)
        outputs = [Outputs(*run(batch)) for batch in frames]
    cost, bound = distance(outputs, reference), (FOREIGN_COST_BOUNDS if foreign else COST_BOUNDS)[precision]
    if not cost.within(bound):
        raise PrecisionError(
            f"{precision} costs this network too much: against its float graph {cost.in_words()}, and the bound is "
            f"{bound.relative_l2:g} and {100 * bound.agreement:g} % ({data}); "
            "calibrate on data like yours (--data), leave layers in float (--skip), or build another precision"
        )
    rounding = engine_bound(compute, cost)
    return Numbers(frames, outputs, data, cost, bound, None, rounding, computed_by=evaluator_in_words())


def engine_bound(compute: str, cost: Distance) -> Bound:
    """Return what an engine that computes in `compute` may differ by from its converted graph."""
    bound = ROUNDING_BOUNDS[compute]
    if compute != "int8":
        return bound
    coarse = _ROUNDING_PER_COST * (cost.relative_l2 or 0.0)
    lost = _ROUNDING_PER_COST * (1 - (1.0 if cost.agreement is None else cost.agreement))
    return Bound(max(bound.relative_l2, coarse), min(bound.agreement, 1 - lost))


def with_engine(numbers: Numbers, masks: Session, logits: Session | None) -> Numbers:
    """Run an open engine on the frames of `numbers`, and return them with how far it is from the converted graph.

    `masks` is the engine as it was built; `logits` is a session of it that returns logits, None where it has none.
    Raises PrecisionError where that is more than rounding does.
    """
    own = masks.manifest.model["outputs"] == "logits"
    found = []
    for batch in numbers.frames:
        result = masks.run(batch)
        wide = result if own else None if logits is None else logits.run(batch)
        found.append(Outputs(wide, None if own else result))
    whole, truth = list(found), list(numbers.outputs)
    fewest = masks.batches.fewest
    if not masks.batches.fixed:  # the other end of what the engine was built for
        few = masks.run(numbers.frames[0][:fewest])
        whole.append(Outputs(few if own else None, None if own else few))
        truth.append(Outputs(_first(truth[0].logits, fewest), _first(truth[0].masks, fewest)))
    apart = distance(whole, truth)
    if not apart.within(numbers.engine_bound):
        bound = numbers.engine_bound
        raise PrecisionError(
            f"the engine does not compute what its converted graph defines: {apart.in_words()}, and rounding explains "
            f"{bound.relative_l2:.2g} and {100 * bound.agreement:.1f} %; its runtime is wrong for this graph on this "
            "machine: build for another target or precision, and please report it"
        )
    return replace(numbers, engine=apart, first=distance(found[:1], numbers.outputs[:1]))


def _first(outputs: Any, count: int) -> Any:
    return None if outputs is None else outputs[:count]


def distance(found: Sequence[Outputs], reference: Sequence[Outputs]) -> Distance:
    """Return how far `found` is from `reference`, in float64 over all frames."""
    off = whole = 0.0
    same = pixels = 0
    for here, there in zip(found, reference, strict=True):
        if here.logits is not None and there.logits is not None:
            wide = there.logits.astype(np.float64)
            off += float(np.square(here.logits - wide).sum())
            whole += float(np.square(wide).sum())
        if here.masks is not None and there.masks is not None:
            same += int((here.masks == there.masks).sum())
            pixels += there.masks.size
    l2 = (off / max(whole, 1e-30)) ** 0.5 if whole or off else None
    return Distance(None if l2 is None else float(l2), same / pixels if pixels else None)


def default_frames(input_shape: tuple[int, int, int, int]) -> Frames:
    """Return frames for a build that was given none, [M, N, H, W, 3]: colour blocks, the same on every machine."""
    batches = -(-FRAMES_COMPARED // input_shape[0])
    return np.stack([patterned_frames(input_shape, seed) for seed in range(batches)])
