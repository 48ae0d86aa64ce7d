"""A canary: now and then a live frame also runs through the engine's own ONNX graph on the CPU, and masks are compared.

It shows what no check at opening can: a GPU that begins to compute wrongly, a runtime that fails under heat. It runs in
one thread at the lowest priority and takes the newest frame when it is due, so that it holds nothing back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.cpu.onnxruntime import CPU_PROVIDER
from edgefsa.engines.cpu.onnxruntime import ENGINE_NAME as ONNX_ENGINE_NAME
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME, SOURCE_NAME
from edgefsa.errors import EngineError, InputError
from edgefsa.machine.priority import give_way
from edgefsa.media.fit import fit_of, geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.run import CanaryFigures, Run, SegmentedFrame
from edgefsa.segment.segmenter import masks_from_logits
from edgefsa.segment.sinks import Sink

_ERRORS_ONLY = 3


class Twin:
    """The ONNX graph that an engine was made of, run as literally as ONNX Runtime does, on the CPU in one thread.

    Raises EngineError where ONNX Runtime is missing or refuses the graph.
    """

    def __init__(self, engine: Path) -> None:
        manifest = Manifest.read(engine)
        self._model = manifest.model
        names = (ONNX_ENGINE_NAME, QUANTISED_NAME, HALF_NAME, SOURCE_NAME)
        self._session = _literal_session(next(engine / name for name in names if (engine / name).is_file()))
        self._input = self._session.get_inputs()[0].name

    def mask(self, frame: Frame) -> Mask:
        """Return the class indices uint8 [H, W] of a frame uint8 [H, W, 3] BGR, fitted as the engine does it."""
        height, width = self._model["size_hw"]
        made = geometry(fit_of(self._model), (frame.shape[0], frame.shape[1]), (height, width))
        batch = np.repeat(made.to_engine(frame)[None], int(self._model["batch"]), axis=0)
        output = self._session.run(None, {self._input: batch})[0][0]
        found = output if output.dtype == np.uint8 else masks_from_logits(output, (height, width))
        return made.mask_to_frame(found, int(self._model["ignore_index"]))


def _literal_session(path: Path) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise EngineError("a canary needs ONNX Runtime: pip install 'edgefsa[onnxruntime]', or leave it out") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # all work is done in the canary's own thread
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[CPU_PROVIDER])
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        raise EngineError(f"ONNX Runtime cannot load {path}: {' '.join(str(error).split())[:200]}") from error


class Canary(Sink):
    """Compares every `every`-th frame; `run.canary` has the figures, and a fall below the engine's bound is a note.

    `engines` are the directories of the run's engines, by name. The bound is the one that the engine was proved within.
    """

    name = "canary"
    every_frame = False

    def __init__(self, every: int, engines: Mapping[str, Path]) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"a canary every {every} frames cannot be; give 1 or more")
        self._every, self._engines = every, engines
        self._twins: dict[str, Twin] = {}
        self._due: int | None = None
        self._total, self._frames, self._below, self._lowest = 0.0, 0, 0, 1.0
        self._fell = False
        self._run: Run

    def start(self, run: Run) -> None:
        """Load the twin of the engine that runs, and lower this thread's priority."""
        self._run = run
        give_way()
        self._twin(run.engine.name)

    def write(self, frame: SegmentedFrame) -> None:
        """Compare the frame, if it is due."""
        if self._due is not None and frame.source.index < self._due:
            return
        self._due = frame.source.index + self._every
        expected = self._twin(frame.engine).mask(frame.source.frame)
        self._take_down(frame, float((expected == frame.segmentation.mask).mean()))

    def _twin(self, name: str) -> Twin:
        if name not in self._twins:
            self._twins[name] = Twin(self._engines[name])
        return self._twins[name]

    def _take_down(self, frame: SegmentedFrame, agreement: float) -> None:
        numbers = Manifest.read(self._engines[frame.engine]).proof["numbers"]
        bound = float(numbers["engine_bound"]["agreement"])
        self._frames += 1
        self._total += agreement
        self._lowest = min(self._lowest, agreement)
        self._below += agreement < bound
        mean = self._total / self._frames
        self._run.canary = CanaryFigures(self._frames, agreement, mean, self._lowest, self._below, bound)
        fell, self._fell = self._fell, agreement < bound
        if self._fell and not fell:
            shares = f"{100 * agreement:.2f} % of the pixels, {100 * bound:.2f} % must"
            self._run.note(
                f"canary: on frame {frame.source.index} {frame.engine} agrees with its ONNX graph on {shares}; "
                "check the device, or rebuild the engine"
            )
