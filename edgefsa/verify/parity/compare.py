"""Running all stages on the same frames, and the verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.data.readers import Dataset, Sample
from edgefsa.data.survey import Survey
from edgefsa.engines.golden import Distance
from edgefsa.engines.names import SOURCE_NAME
from edgefsa.errors import CheckpointError, InputError
from edgefsa.media.fit import Geometry, fit_of, geometry
from edgefsa.media.frames import resize_mask
from edgefsa.verify.accuracy import ConfusionMatrix, class_mismatch
from edgefsa.verify.parity.heatmap import HeatMaps
from edgefsa.verify.parity.result import Fault, ParityReport, ScaleFault, StageParity
from edgefsa.verify.parity.stages import (
    CONVERTED,
    MODULE,
    EngineStage,
    Frames,
    GraphStage,
    Stage,
    bound_of,
    graph_stages,
)
from edgefsa.verify.parity.tally import Seen, Tally, distance

if TYPE_CHECKING:
    from edgefsa.graph.blocks import Block

AUTO = "auto"
# A few show how far a tensor reaches; all its values are needed for that, which takes memory.
_FRAMES_FOR_SCALES = 4
FIRST_STAGES = (AUTO, MODULE, "onnx")
Progress = Callable[[int, int], None]


def parity(
    engine: str | Path,
    *,
    checkpoint: str | Path | None = None,
    weights_key: str | None = None,
    dataset: Dataset,
    limit: int | None = None,
    first: str = AUTO,
    chosen_data: bool = True,
    heatmaps: str | Path | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run an engine and all that it was made from on the same frames, and hold each stage against the one before it.

    The PyTorch module is the first stage where its weights can be had: the shipped ones, the seeded random ones, or the
    checkpoint that was recorded (`checkpoint` says where it lies now, `weights_key` names other weights in it than the
    build's). Without them the ONNX file is, and the report says why; `first` "onnx" leaves the module and torch out,
    "module" insists on it, as `checkpoint` does. Frames that nobody chose (`chosen_data` false) may be unlike those
    that a checkpoint and its ranges were made for, where INT8 may cost more. `heatmaps` is a folder that gets pictures
    of the disagreement.

    Raises CheckpointError where the weights asked for are not those of the build, and what opening the engine raises,
    but for its golden output.
    """
    from edgefsa.graph.blocks import FRAMES_BLOCK, blocks_of
    from edgefsa.graph.files import load_graph

    directory = Path(engine)
    manifest = Manifest.read(directory)
    model = load_graph(directory / SOURCE_NAME)
    blocks = blocks_of(model)
    makers = {tensor: node.name for node in model.graph.node for tensor in node.output}
    head = next((block for block in blocks if block.name == FRAMES_BLOCK), None)
    with contextlib.ExitStack() as stack:
        stages = graph_stages(directory, manifest, model, head.end if head else "")
        stages.append(EngineStage(directory, stack))
        run = _Run(manifest, stages, blocks, makers, foreign=not chosen_data and _is_foreign(manifest, dataset))
        if first not in FIRST_STAGES:
            raise InputError(f"the first stage cannot be {first!r}; choose {', '.join(FIRST_STAGES)}")
        if first != "onnx":
            insist = first == MODULE or checkpoint is not None
            run.add_module(Path(checkpoint) if checkpoint else None, weights_key, head, insist=insist)
        run.compare(dataset if limit is None else dataset[:limit], progress)
        report = run.report()
        if heatmaps is not None:
            run.draw(dataset if limit is None else dataset[:limit], Path(heatmaps), report.fault)
        return report


def _is_foreign(manifest: Manifest, dataset: Dataset) -> bool:
    """Return whether frames are of other data than a checkpoint's own and its ranges', as far as can be known."""
    measured_on = (manifest.quantization or {}).get("data", {}).get("name")
    return bool(manifest.model["weights"]["kind"] == "checkpoint" and measured_on != dataset.name)


@dataclass
class _Row:
    """What is added up for one stage; the frames on which it is farthest from the stage before it are kept."""

    to_previous: Tally = field(default_factory=Tally)
    to_first: Tally = field(default_factory=Tally)
    confusion: ConfusionMatrix | None = None
    worst: tuple[float, Frames | None] = (-1.0, None)

    def keep_worst(self, apart: Distance, frames: Frames) -> None:
        """Keep a batch if none before was farther apart, by its logits and, where these are equal, by its masks."""
        far = (apart.relative_l2 or 0.0) + 1e-3 * (1 - (apart.agreement or 0.0))
        if far > self.worst[0]:
            self.worst = (far, frames)


class _Run:
    """One comparison: its stages, and what is added up of them."""

    def __init__(
        self, manifest: Manifest, stages: list[Stage], blocks: list[Block], makers: Mapping[str, str], *, foreign: bool
    ) -> None:
        self._manifest, self._stages, self._blocks, self._makers = manifest, stages, blocks, makers
        self._foreign = foreign
        self._weights: StageParity | None = None
        self._rows: list[_Row] = []
        self._notes: list[str] = []
        self._unreadable: tuple[str, ...] = ()
        self._frames = 0
        self._classes: tuple[str, ...] = ()
        self._scales: tuple[ScaleFault, ...] = ()

    def add_module(self, checkpoint: Path | None, weights_key: str | None, head: Block | None, *, insist: bool) -> None:
        """Put the PyTorch module before the other stages; where that cannot be, note why unless it is insisted on."""
        try:
            from edgefsa.verify.parity.module import ModuleStage, module_of, weights_equality

            module, path = module_of(self._manifest, checkpoint, weights_key)
        except (CheckpointError, ModuleNotFoundError) as error:
            if insist or weights_key is not None:
                raise
            self._notes.append(f"the ONNX file is the first stage, not the PyTorch module: {error}")
            return
        normalised = head is not None and any(name.rpartition("/")[2].startswith("Div") for name in head.nodes)
        self._stages.insert(0, ModuleStage(module, head.end if head else "", normalised=normalised))
        if path is not None:
            tensors = weights_equality(module, path)
            self._weights = StageParity(MODULE, path.name, "checkpoint", tensors=tensors)

    def compare(self, dataset: Dataset, progress: Progress | None) -> None:
        """Run every stage on all frames."""
        survey = Survey(dataset)
        mismatch = class_mismatch(tuple(self._manifest.model["classes"]), dataset.class_set, dataset.name)
        self._rows = [_Row() for _ in self._stages]
        first_frames: list[Frames] = []
        for frames, samples, geometries in self._batches(dataset, survey, progress):
            if sum(map(len, first_frames)) < _FRAMES_FOR_SCALES:
                first_frames.append(frames)
            seen = [stage.run(frames).first(len(samples)) for stage in self._stages]
            for index, row in enumerate(self._rows[1:], 1):
                row.to_previous.add(seen[index], seen[index - 1])
                row.to_first.add(seen[index], seen[0])
                row.keep_worst(distance(seen[index], seen[index - 1]), frames)
            if mismatch is None:
                self._count_labels(dataset, samples, geometries, seen)
        survey.check_any()
        self._frames, self._unreadable = survey.frames, tuple(survey.unreadable)
        if not self._frames:
            raise InputError(f"{dataset.name} has no frames to compare on; give --data with frames")
        self._check_scales(first_frames)
        if mismatch is not None:
            self._notes.append(f"no IoU: {mismatch}")

    def _batches(
        self, dataset: Dataset, survey: Survey, progress: Progress | None = None
    ) -> Iterator[tuple[Frames, list[Sample], list[Geometry]]]:
        """Yield full batches of the engine's size, the last one padded, with the samples that they hold."""
        facts = self._manifest.model
        size, size_hw, fit = int(facts["batch"]), tuple(facts["size_hw"]), fit_of(facts)
        for start in range(0, len(dataset), size):
            last = min(start + size, len(dataset))
            samples = list(survey.readable(range(start, last)))
            if samples:
                made = [geometry(fit, (item.frame.shape[0], item.frame.shape[1]), size_hw) for item in samples]
                fitted = [shape.to_engine(item.frame) for shape, item in zip(made, samples, strict=True)]
                yield np.stack(fitted + fitted[-1:] * (size - len(fitted))), samples, made
            if progress is not None:
                progress(last, len(dataset))

    def _count_labels(
        self, dataset: Dataset, samples: list[Sample], geometries: list[Geometry], seen: list[Seen]
    ) -> None:
        classes, unseen = dataset.class_set, int(self._manifest.model["ignore_index"])
        for index, (sample, shape) in enumerate(zip(samples, geometries, strict=True)):
            if sample.label is None:
                continue
            self._classes = classes.names
            for row, item in zip(self._rows, seen, strict=True):
                row.confusion = row.confusion or ConfusionMatrix(classes.num_classes, classes.ignore_index)
                mask = shape.mask_to_frame(item.masks[index], unseen)
                row.confusion.update(resize_mask(mask, sample.label.shape), sample.label)

    def _check_scales(self, batches: list[Frames]) -> None:
        """Look for INT8 scales that do not fit the frames; unlike frames may fill the codes as they like."""
        from edgefsa.quantize.codes import code_use

        converted = next((stage for stage in self._stages if stage.name == CONVERTED), None)
        if isinstance(converted, GraphStage) and self._manifest.precision == "int8" and not self._foreign:
            uses = code_use(converted.model, batches)
            self._scales = tuple(ScaleFault(use.tensor, use.fault) for use in uses if use.fault is not None)

    def report(self) -> ParityReport:
        """Return what was found, the first fault with its block included."""
        stages = [] if self._weights is None else [self._weights]
        cost = Distance(0.0, 1.0)
        for index, row in enumerate(self._rows[1:], 1):
            found = self._stage_parity(index, row, cost)
            stages.append(found)
            if found.stage == CONVERTED and found.to_previous is not None:
                cost = found.to_previous.distance
        fault = next((self._fault(stage) for stage in stages if stage.faults), None)
        first = self._stages[0].name
        return ParityReport(first, stages, self._frames, fault, self._unreadable, tuple(self._notes))

    def _stage_parity(self, index: int, row: _Row, cost: Distance) -> StageParity:
        stage, previous = self._stages[index], self._stages[index - 1]
        return StageParity(
            stage.name,
            stage.source,
            previous.name,
            row.to_previous.closeness(),
            row.to_first.closeness(),
            bound_of(stage.name, self._manifest, foreign=self._foreign, cost=cost),
            pixels=row.to_previous.pixels(),
            scales=self._scales if stage.name == CONVERTED else (),
            iou=self._iou(row),
            iou_change=self._iou_change(row),
        )

    def _iou(self, row: _Row) -> dict[str, float | None] | None:
        if row.confusion is None:
            return None
        return dict(zip(self._classes, row.confusion.per_class_iou, strict=True))

    def _iou_change(self, row: _Row) -> dict[str, float | None] | None:
        first, found = self._iou(self._rows[0]), self._iou(row)
        if first is None or found is None:
            return None
        pairs = {name: (found[name], first[name]) for name in found}
        return {name: None if a is None or b is None else a - b for name, (a, b) in pairs.items()}

    def _fault(self, stage: StageParity) -> Fault:
        from edgefsa.verify.parity.hints import hints
        from edgefsa.verify.parity.search import first_block

        fault = Fault(stage.stage, stage.against, "; ".join(stage.faults))
        index = next((i for i, item in enumerate(self._stages) if item.name == stage.stage), 0)
        frames = self._rows[index].worst[1]
        if stage.bound is None or frames is None:
            return fault
        if stage.scales and len(stage.scales) == len(stage.faults):
            maker = self._makers.get(stage.scales[0].tensor)
            block = next((item for item in self._blocks if maker in item.nodes), self._blocks[0])
            return replace(fault, block=block.name, nodes=block.nodes, note="the block that makes the tensor")
        ours, previous = self._stages[index], self._stages[index - 1]
        found, note = first_block(ours, previous, self._blocks_of(stage), frames, stage.bound)
        fault = replace(fault, note=note, hints=hints(ours, previous, frames, stage.bound, found))
        if found is None:
            return fault
        block, errors = found.block, (found.error, found.error_before)
        return replace(fault, block=block.name, nodes=block.nodes, error=errors[0], error_before=errors[1])

    def _blocks_of(self, stage: StageParity) -> list[Block]:
        """Return the blocks to look into: where the frames arrive otherwise it is the first, whatever follows."""
        from edgefsa.graph.blocks import FRAMES_BLOCK

        differ = stage.pixels is not None and stage.pixels.different > 0
        return [block for block in self._blocks if block.name == FRAMES_BLOCK] if differ else self._blocks

    def draw(self, dataset: Dataset, folder: Path, fault: Fault | None) -> list[Path]:
        """Draw where the faulty stage differs from the one before it, or without a fault the engine from the first."""
        names = [stage.name for stage in self._stages]
        pair = (names[0], names[-1]) if fault is None or fault.stage not in names[1:] else (fault.against, fault.stage)
        reference, found = (self._stages[names.index(name)] for name in pair)
        facts = self._manifest.model
        maps = HeatMaps(folder, pair, [tuple(colour) for colour in facts["palette"]], facts["classes"])
        for frames, samples, _ in self._batches(dataset, Survey(dataset)):
            masks = reference.run(frames).masks, found.run(frames).masks
            for index, sample in enumerate(samples):
                maps.add(sample.name, frames[index], masks[0][index], masks[1][index])
        return maps.finish()
