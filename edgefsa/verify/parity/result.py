"""What a comparison of stages found, as plain values. Imports neither torch nor onnx."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgefsa.engines.golden import Bound, Distance


@dataclass(frozen=True)
class Closeness:
    """How near one stage's outputs are to another's, over all frames.

    `relative_l2` is |logits - reference| / |reference|, infinite where a logit is no finite number; `cosine` and
    `max_abs` are of the logits as well; all three are None where a stage has masks only. `agreement` is the share (0 to
    1) of mask pixels with the same class; `at_borders` is that of the pixels within 3 of another class in the
    reference, `elsewhere` that of the others; None where there are no such pixels.
    """

    relative_l2: float | None
    cosine: float | None
    max_abs: float | None
    agreement: float
    at_borders: float | None
    elsewhere: float | None

    @property
    def distance(self) -> Distance:
        """The two figures that have bounds."""
        return Distance(self.relative_l2, self.agreement)


@dataclass(frozen=True)
class Equality:
    """Values that have to be the same bits: how many were compared, how many differ, where first, and by how much."""

    compared: int
    different: int
    first: str = ""
    max_abs: float = 0.0


@dataclass(frozen=True)
class ScaleFault:
    """An activation whose INT8 scale does not fit what it holds on the frames, and what is wrong with it."""

    tensor: str
    why: str


# A block that adds this many times the error that it reads (or a tenth of its stage's bound, where it reads less) is at
# fault, however little of it reaches the logits. Blocks of ten sound engines were measured to add at most 3.5 times.
LARGEST_GROWTH = 5.0


@dataclass(frozen=True)
class BlockParity:
    """The block of a stage in which the error grows most, on the frames where the stage is off by most.

    `error` is how far its end is from the stage before (relative L2, of masks the share of pixels that differ),
    `error_before` the largest such error of what it reads, `growth` the one over the other.
    """

    name: str
    error: float
    error_before: float
    growth: float

    @property
    def fault(self) -> str | None:
        """What is wrong with the block, in words, or None."""
        if self.growth <= LARGEST_GROWTH:
            return None
        return f"the block {self.name} is off by {self.error:.2g} where what it reads is off by {self.error_before:.2g}"


@dataclass(frozen=True)
class StageParity:
    """One stage, `source` being what it was read from, against the stage before it and against the first.

    `tensors` are a module's weights against those of its checkpoint, and then there is nothing else to compare;
    `pixels` are the frames as they reach the first weight, where both stages show them, `scales` what is wrong with
    the INT8 scales of a converted graph. `block` is where the error grows most, None where the stage does not show its
    inside, and `block_note` says how it was found. `iou` is the IoU of each class
    on labelled frames, 0 to 1, `iou_change` its difference to the first stage's.
    """

    stage: str
    source: str
    against: str
    to_previous: Closeness | None = None
    to_first: Closeness | None = None
    bound: Bound | None = None
    tensors: Equality | None = None
    pixels: Equality | None = None
    scales: tuple[ScaleFault, ...] = ()
    block: BlockParity | None = None
    block_note: str = ""
    iou: dict[str, float | None] | None = None
    iou_change: dict[str, float | None] | None = None

    @property
    def faults(self) -> list[str]:
        """What is beyond its bound, in words; empty where nothing is."""
        found = []
        if self.tensors is not None and self.tensors.different:
            share = f"{self.tensors.different} of {self.tensors.compared} weights are not the checkpoint's"
            found.append(f"{share} ({self.tensors.first} first)")
        if self.pixels is not None and self.pixels.different:
            share = f"{self.pixels.different} of {self.pixels.compared} values"
            found.append(f"the frames reach the first weight otherwise: {share}, by up to {self.pixels.max_abs:.3g}")
        if self.to_previous is not None and self.bound is not None and not self.to_previous.distance.within(self.bound):
            limit = f"{self.bound.relative_l2:.2g} and {100 * self.bound.agreement:.2f} %"
            found.append(f"{self.to_previous.distance.in_words()}, and the bound is {limit}")
        found += [item.why for item in self.scales]
        wrong = None if self.block is None else self.block.fault
        return [*found, *([] if wrong is None else [wrong])]


@dataclass(frozen=True)
class Fault:
    """The first stage that is beyond its bound, in words, and the block in it where the fault begins.

    `block` is a name of `graph.blocks`, "" where none can be named, and `nodes` are its nodes. `error` is how far the
    block's end is from that of the stage before, and `error_before` the largest such error of what the block reads:
    relative L2, or for masks the share of pixels that differ. `note` says how the block was found, `hints` what the
    fault looks like.
    """

    stage: str
    against: str
    why: str
    block: str = ""
    nodes: tuple[str, ...] = ()
    error: float | None = None
    error_before: float | None = None
    note: str = ""
    hints: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Return one line for people."""
        where = f", beginning in the block {self.block}" if self.block else ""
        return f"{self.stage} parts from {self.against}{where}: {self.why}"


@dataclass(frozen=True)
class ParityReport:
    """All stages in order, the engine last, and the first fault; `first` is what the others are held against in all.

    `unreadable` names the files that could not be read, `notes` says what was left out and why.
    """

    first: str
    stages: list[StageParity]
    frames: int
    fault: Fault | None = None
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every stage keeps to its bound."""
        return self.fault is None

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON: the verdict and the engine's figures at the top, then every stage.

        What is not finite becomes None.
        """
        stages = [_flat(stage) for stage in self.stages]
        return {
            "passed": self.passed,
            "fault": None if self.fault is None else _finite(asdict(self.fault)),
            "first": self.first,
            "argmax_agreement": stages[-1]["argmax_agreement"],
            "relative_l2": stages[-1]["relative_l2"],
            "frames": self.frames,
            "unreadable": list(self.unreadable),
            "notes": list(self.notes),
            "stages": stages,
        }


def _flat(stage: StageParity) -> dict[str, Any]:
    """Put the figures that are asked for most at the top: those against the first stage."""
    to_first, to_previous = stage.to_first, stage.to_previous
    head = {
        "stage": stage.stage,
        "within": not stage.faults,
        "argmax_agreement": None if to_first is None else to_first.agreement,
        "relative_l2": None if to_first is None else to_first.relative_l2,
        "relative_l2_to_previous": None if to_previous is None else to_previous.relative_l2,
    }
    found: dict[str, Any] = _finite({**head, **asdict(stage)})
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
