"""Running all stages on the same frames, and what is added up of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.data.readers import Dataset, Sample
from edgefsa.data.survey import Survey
from edgefsa.engines.golden import Distance
from edgefsa.errors import CheckpointError, InputError
from edgefsa.media.fit import Geometry, fit_of, geometry
from edgefsa.media.frames import resize_mask
from edgefsa.verify.accuracy import ConfusionMatrix, class_mismatch
from edgefsa.verify.parity.result import ScaleFault, StageParity
from edgefsa.verify.parity.stages import CONVERTED, MODULE, Frames, GraphStage, Stage
from edgefsa.verify.parity.tally import Seen, Tally, distance

if TYPE_CHECKING:
    from edgefsa.graph.blocks import Block

Progress = Callable[[int, int], None]
# A few show how far a tensor reaches; all its values are needed for that, which takes memory.
_FRAMES_FOR_SCALES = 4


@dataclass
class Row:
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


class Comparison:
    """One comparison: its stages, and what is added up of them."""

    def __init__(self, manifest: Manifest, stages: list[Stage], blocks: list[Block], *, foreign: bool) -> None:
        self.manifest, self.stages, self.blocks, self.foreign = manifest, stages, blocks, foreign
        self.weights: StageParity | None = None
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.unreadable: tuple[str, ...] = ()
        self.frames = 0
        self.classes: tuple[str, ...] = ()
        self.scales: tuple[ScaleFault, ...] = ()

    def add_module(self, checkpoint: Path | None, weights_key: str | None, head: Block | None, *, insist: bool) -> None:
        """Put the PyTorch module before the other stages; where that cannot be, note why unless it is insisted on."""
        try:
            from edgefsa.models.rebuilt import module_of
            from edgefsa.verify.parity.module import ModuleStage, weights_equality

            module, path = module_of(self.manifest.model, checkpoint, weights_key)
        except (CheckpointError, ModuleNotFoundError) as error:
            if insist or weights_key is not None:
                raise
            self.notes.append(f"the ONNX file is the first stage, not the PyTorch module: {error}")
            return
        normalised = head is not None and any(name.rpartition("/")[2].startswith("Div") for name in head.nodes)
        self.stages.insert(0, ModuleStage(module, head.end if head else "", normalised=normalised))
        if path is not None:
            tensors = weights_equality(module, path)
            self.weights = StageParity(MODULE, path.name, "checkpoint", tensors=tensors)

    def compare(self, dataset: Dataset, progress: Progress | None) -> None:
        """Run every stage on all frames."""
        survey = Survey(dataset)
        mismatch = class_mismatch(tuple(self.manifest.model["classes"]), dataset.class_set, dataset.name)
        self.rows = [Row() for _ in self.stages]
        first_frames: list[Frames] = []
        for frames, samples, geometries in self.batches(dataset, survey, progress):
            if sum(map(len, first_frames)) < _FRAMES_FOR_SCALES:
                first_frames.append(frames)
            seen = [stage.run(frames).first(len(samples)) for stage in self.stages]
            for index, row in enumerate(self.rows[1:], 1):
                row.to_previous.add(seen[index], seen[index - 1])
                row.to_first.add(seen[index], seen[0])
                row.keep_worst(distance(seen[index], seen[index - 1]), frames)
            if mismatch is None:
                self._count_labels(dataset, samples, geometries, seen)
        survey.check_any()
        self.frames, self.unreadable = survey.frames, tuple(survey.unreadable)
        if not self.frames:
            raise InputError(f"{dataset.name} has no frames to compare on; give --data with frames")
        self._check_scales(first_frames)
        if mismatch is not None:
            self.notes.append(f"no IoU: {mismatch}")

    def batches(
        self, dataset: Dataset, survey: Survey, progress: Progress | None = None
    ) -> Iterator[tuple[Frames, list[Sample], list[Geometry]]]:
        """Yield full batches of the engine's size, the last one padded, with the samples that they hold."""
        facts = self.manifest.model
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
        classes, unseen = dataset.class_set, int(self.manifest.model["ignore_index"])
        for index, (sample, shape) in enumerate(zip(samples, geometries, strict=True)):
            if sample.label is None:
                continue
            self.classes = classes.names
            for row, item in zip(self.rows, seen, strict=True):
                row.confusion = row.confusion or ConfusionMatrix(classes.num_classes, classes.ignore_index)
                mask = shape.mask_to_frame(item.masks[index], unseen)
                row.confusion.update(resize_mask(mask, sample.label.shape), sample.label)

    def _check_scales(self, batches: list[Frames]) -> None:
        """Look for INT8 scales that do not fit the frames; unlike frames may fill the codes as they like."""
        from edgefsa.quantize.codes import code_use

        converted = next((stage for stage in self.stages if stage.name == CONVERTED), None)
        if isinstance(converted, GraphStage) and self.manifest.precision == "int8" and not self.foreign:
            uses = code_use(converted.model, batches)
            self.scales = tuple(ScaleFault(use.tensor, use.fault) for use in uses if use.fault is not None)
