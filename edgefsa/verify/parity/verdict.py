"""The verdict on a comparison: each stage against its bound, each block against what it reads, and the first fault."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgefsa.engines.golden import Distance
from edgefsa.graph.blocks import FRAMES_BLOCK
from edgefsa.verify.parity.hints import hints
from edgefsa.verify.parity.result import BlockParity, Fault, ParityReport, StageParity
from edgefsa.verify.parity.run import Comparison, Row
from edgefsa.verify.parity.search import Found, first_block
from edgefsa.verify.parity.stages import CONVERTED, bound_of

if TYPE_CHECKING:
    from edgefsa.graph.blocks import Block


def judge(run: Comparison) -> ParityReport:
    """Return what a comparison found, the first fault with its block included."""
    stages = [] if run.weights is None else [run.weights]
    cost, fault = Distance(0.0, 1.0), None
    if run.weights is not None and run.weights.faults:
        fault = Fault(run.weights.stage, run.weights.against, "; ".join(run.weights.faults))
    for index, row in enumerate(run.rows[1:], 1):
        found, block = _stage_parity(run, index, row, cost)
        stages.append(found)
        if found.faults and fault is None:
            fault = _fault(run, index, found, block)
        if found.stage == CONVERTED and found.to_previous is not None:
            cost = found.to_previous.distance
    return ParityReport(run.stages[0].name, stages, run.frames, fault, run.unreadable, tuple(run.notes))


def _stage_parity(run: Comparison, index: int, row: Row, cost: Distance) -> tuple[StageParity, Found | None]:
    stage, previous = run.stages[index], run.stages[index - 1]
    bound = bound_of(stage.name, run.manifest, foreign=run.foreign, cost=cost)
    judged = StageParity(
        stage.name,
        stage.source,
        previous.name,
        row.to_previous.closeness(),
        row.to_first.closeness(),
        bound,
        pixels=row.to_previous.pixels(),
        scales=run.scales if stage.name == CONVERTED else (),
        iou=_iou(run, row),
        iou_change=_iou_change(run, row),
    )
    frames = row.worst[1]
    if frames is None:
        return judged, None
    found, note = first_block(stage, previous, _blocks_of(run, judged), frames, bound, beyond=bool(judged.faults))
    block = None if found is None else BlockParity(found.block.name, found.error, found.error_before, found.growth)
    return replace(judged, block=block, block_note=note), found


def _blocks_of(run: Comparison, stage: StageParity) -> list[Block]:
    """Return the blocks to look into: where the frames arrive otherwise it is the first, whatever follows."""
    differ = stage.pixels is not None and stage.pixels.different > 0
    return [block for block in run.blocks if block.name == FRAMES_BLOCK] if differ else run.blocks


def _fault(run: Comparison, index: int, stage: StageParity, found: Found | None) -> Fault:
    fault = Fault(stage.stage, stage.against, "; ".join(stage.faults), note=stage.block_note)
    frames, bound = run.rows[index].worst[1], stage.bound
    if stage.scales and len(stage.scales) == len(stage.faults):
        tensor = stage.scales[0].tensor
        block = next((item for item in run.blocks if tensor in item.tensors), run.blocks[0])
        return replace(fault, block=block.name, nodes=block.nodes, note="the block that makes the tensor")
    if frames is None or bound is None:
        return fault
    fault = replace(fault, hints=hints(run.stages[index], run.stages[index - 1], frames, bound, found))
    if found is None:
        return fault
    block, error, before = found.block, found.error, found.error_before
    return replace(fault, block=block.name, nodes=block.nodes, error=error, error_before=before)


def _iou(run: Comparison, row: Row) -> dict[str, float | None] | None:
    if row.confusion is None:
        return None
    return dict(zip(run.classes, row.confusion.per_class_iou, strict=True))


def _iou_change(run: Comparison, row: Row) -> dict[str, float | None] | None:
    """Return the change of each class's IoU against the first stage."""
    first, found = _iou(run, run.rows[0]), _iou(run, row)
    if first is None or found is None:
        return None
    pairs = {name: (found[name], first[name]) for name in found}
    return {name: None if a is None or b is None else a - b for name, (a, b) in pairs.items()}
