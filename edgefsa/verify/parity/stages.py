"""The stages of an engine directory, each from frames to logits and masks, and the bounds that they are held to.

Two roundings of float32 may lie between the module and its ONNX file; between that and itself with its function bodies
in place nothing but the order of a few sums. The converted graph may cost what its precision may cost a build, and the
engine may round as far from it as a build allows (`engines.numbers`, where each bound has its reason).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import Manifest
from edgefsa.engines import Session, logits_session, open_engine
from edgefsa.engines.golden import Bound, Distance
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME, SOURCE_NAME
from edgefsa.engines.numbers import COST_BOUNDS, FOREIGN_COST_BOUNDS, ROUNDING_BOUNDS, engine_bound
from edgefsa.engines.registry import target_of
from edgefsa.metadata import LOGITS, MASKS
from edgefsa.segment.segmenter import masks_from_logits
from edgefsa.verify.parity.tally import Seen

if TYPE_CHECKING:
    import onnx

Frames = npt.NDArray[np.uint8]
# Tensors of a stage by their names in the ONNX file. A module has no such names: there, all its tensors of that shape.
Tensors = dict[str, list[npt.NDArray[Any]]]
MODULE, ONNX, INLINED, CONVERTED, ENGINE = "module", "onnx", "inlined", "converted", "engine"
# What targets call the graph in the asked-for precision. ONNX Runtime's engine is that graph itself.
CONVERTED_NAMES = (QUANTISED_NAME, HALF_NAME)


class Stage(Protocol):
    """One stage: `run` takes frames uint8 [N, H, W, 3] BGR, `tensors` returns what lies inside of it, where it can.

    A stage that `fuses` computes otherwise where its inner tensors are asked for, so that these have to be held against
    what `run` returns.
    """

    name: str
    source: str
    fuses: bool

    def run(self, frames: Frames) -> Seen:
        """Return logits, masks, and the frames as they reach the first weight."""

    def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
        """Return the tensors that the stage has of `names`; TargetError where it shows nothing but its outputs."""


class GraphStage:
    """A graph, run literally as ONNX defines it; `head` is the tensor of the frames before the first weight."""

    fuses = False

    def __init__(self, name: str, source: str, model: onnx.ModelProto, head: str) -> None:
        from edgefsa.graph.running import named_tensors_runner

        self.name, self.source, self.model, self._head = name, source, model, head
        self._made = {output for node in model.graph.node for output in node.output}
        wanted = [LOGITS, *(item for item in (MASKS, head) if item in self._made)]
        self._run = named_tensors_runner(model, wanted)

    def run(self, frames: Frames) -> Seen:
        """Return what the graph gives."""
        found = self._run(frames)
        return Seen(found[LOGITS], _masks(found, frames), found.get(self._head))

    def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
        """Return those of `names` that the main graph makes."""
        from edgefsa.graph.running import named_tensors_runner

        found = named_tensors_runner(self.model, [name for name in names if name in self._made])(frames)
        return {name: [value] for name, value in found.items()}


class EngineStage:
    """The engine as it is run; the comparison takes the place of the check at opening, which would only refuse it."""

    name = ENGINE
    fuses = True

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._directory = directory
        session = open_engine(directory)
        session.check_golden = False
        self._session: Session = stack.enter_context(session)
        self._manifest = session.manifest
        self._target = target_of(self._manifest.target)
        self.source = f"{self._manifest.target} {self._manifest.versions.get(self._target.package, '')}".strip()
        self._logits: Session | None = None
        if self._manifest.model["outputs"] == MASKS and self._target.gives_logits:
            self._logits = stack.enter_context(logits_session(directory))

    def run(self, frames: Frames) -> Seen:
        """Return the engine's masks, and its logits where its target can give them."""
        result = self._session.run(frames)
        if self._manifest.model["outputs"] == LOGITS:
            return Seen(result, _masks({LOGITS: result}, frames))
        return Seen(None if self._logits is None else self._logits.run(frames), result)

    def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
        """Return those of `names` that the engine still has."""
        found = self._target.open_tapped(self._directory, self._manifest, names)(frames)
        return {name: [value] for name, value in found.items()}


def _masks(found: dict[str, npt.NDArray[Any]], frames: Frames) -> npt.NDArray[np.uint8]:
    if MASKS in found:
        return found[MASKS]
    size_hw = (int(frames.shape[1]), int(frames.shape[2]))
    return np.stack([masks_from_logits(item, size_hw) for item in found[LOGITS]])


def graph_stages(directory: Path, manifest: Manifest, model: onnx.ModelProto, head: str) -> list[Stage]:
    """Return the stages of an engine directory's ONNX files; `model` is the float one."""
    from edgefsa.graph.files import inline_functions, load_graph

    stages: list[Stage] = [
        GraphStage(ONNX, SOURCE_NAME, model, head),
        GraphStage(INLINED, f"{SOURCE_NAME}, inlined", inline_functions(model), head),
    ]
    converted = converted_file(directory, manifest)
    if converted is not None:
        stages.append(GraphStage(CONVERTED, converted.name, load_graph(converted), head))
    return stages


def converted_file(directory: Path, manifest: Manifest) -> Path | None:
    """Return the graph in the engine's precision; None where that is the float one, rounded by the runtime alone."""
    from edgefsa.engines.cpu.onnxruntime import ENGINE_NAME

    names = () if manifest.precision == "fp32" else (*CONVERTED_NAMES, ENGINE_NAME)
    return next((directory / name for name in names if (directory / name).is_file()), None)


def bound_of(stage: str, manifest: Manifest, *, foreign: bool, cost: Distance) -> Bound:
    """Return what a stage may differ by from the one before it.

    `foreign` frames are unlike those that the ranges were measured on; `cost` is the converted graph's distance.
    """
    if stage == ONNX:
        return ROUNDING_BOUNDS["f32"]
    if stage == INLINED:
        return COST_BOUNDS["fp32"]
    if stage == CONVERTED:
        return (FOREIGN_COST_BOUNDS if foreign else COST_BOUNDS)[manifest.precision]
    return engine_bound(manifest.precision_detail["compute"], cost)
