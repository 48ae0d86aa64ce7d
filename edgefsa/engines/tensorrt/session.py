"""Running a plan of TensorRT or TensorRT for RTX on a GPU.

Written against the published API and tested on a GPU that NumPy plays; it has not run on a real one yet.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.session import Frames, Outputs, Session
from edgefsa.engines.tensorrt.builder import ENGINE_NAME
from edgefsa.engines.tensorrt.memory import Buffer, CudaMemory, open_memory
from edgefsa.engines.tensorrt.runtime import load_engine
from edgefsa.errors import EngineError, TargetError


@dataclass
class _Lane:
    """What one run needs for itself, as several may be under way. `frames` and `outputs` lie in page-locked memory.

    A lane is for one number of frames, as many as `frames` holds, as a CUDA graph is of one shape. `marks` are events:
    the copy to the GPU begins, the engine begins, it ends, the copy back has ended. `graph` is the engine's run as a
    CUDA graph, made after the first run, or None.
    """

    context: Any
    stream: int
    frames: Frames
    outputs: Outputs
    sent: Buffer
    received: Buffer
    marks: tuple[Any, Any, Any, Any]
    runs: int = 0
    graph: Any | None = None


class PlanSession(Session):
    """Runs a plan; each run under way has an execution context, a stream and buffers of its own.

    Frames go through page-locked memory (`staging` lends it), or lie where the GPU reads them itself on a board that
    shares its memory. From its second run on a lane's engine is launched as one CUDA graph, where that can be had.
    `module` is the runtime's Python module; `prepare` is called with it before the plan is read.
    """

    # The types that an engine's tensors may have.
    numpy_types: ClassVar[dict[str, type[np.generic]]] = {"UINT8": np.uint8, "FLOAT": np.float32}

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        *,
        module: str,
        prepare: Callable[[Any], None] | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(directory, manifest, threads=threads)
        self._module, self._prepare = module, prepare
        self._memory: CudaMemory | None = None
        self._tensorrt: Any = None
        self._engine: Any = None
        self._free: list[_Lane] = []
        self._staged: _Lane | None = None

    def staging(self, count: int | None = None) -> Frames | None:
        """Return page-locked memory uint8 [N, H, W, 3] for the frames of the next run."""
        self._staged = self._lane(count or self.batch)
        return self._staged.frames

    def _load(self) -> None:
        tensorrt = importlib.import_module(self._module)
        if self._prepare is not None:
            self._prepare(tensorrt)
        settings = self.manifest.precision_detail.get("builder", {})
        logger, path = tensorrt.Logger(tensorrt.Logger.ERROR), self.directory / ENGINE_NAME
        engine = load_engine(tensorrt, logger, path, settings, host_code=self.host_code)
        if engine is None:
            raise self._does_not_load()
        self._tensorrt, self._engine = tensorrt, engine
        self._memory = open_memory()
        try:
            self._free.append(self._new_lane(self.batch))
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        memory, self._memory = self._memory, None
        self._free.clear()
        self._staged = self._engine = None
        if memory is not None:
            memory.close()

    def _submit(self, frames: Frames) -> _Lane:
        lane = self._lane(len(frames))
        if frames is not lane.frames:
            np.copyto(lane.frames, frames)
        memory = self._opened()
        begun, sent, computed, received = lane.marks
        memory.record(begun, lane.stream)
        memory.to_gpu(lane.sent, lane.stream)
        memory.record(sent, lane.stream)
        self._enqueue(lane)
        memory.record(computed, lane.stream)
        memory.to_host(lane.received, lane.stream)
        memory.record(received, lane.stream)
        return lane

    def _wait(self, handle: _Lane) -> None:
        with contextlib.suppress(EngineError):  # which comes again when it is collected
            self._opened().wait(handle.marks[-1])

    def _collect(self, handle: _Lane) -> tuple[Outputs, float, float]:
        memory = self._opened()
        begun, sent, computed, received = handle.marks
        memory.wait(received)
        outputs = handle.outputs.copy()  # the lane's memory is the next run's
        whole_ms, engine_ms = memory.elapsed_ms(begun, received), memory.elapsed_ms(sent, computed)
        self._free.append(handle)
        return outputs, engine_ms, whole_ms - engine_ms

    def _enqueue(self, lane: _Lane) -> None:
        """Put the engine's run on the lane's stream: by itself at first, which prepares it, then as a graph."""
        memory = self._opened()
        if lane.runs == 1:
            lane.graph = memory.capture(lane.stream, lambda: lane.context.execute_async_v3(lane.stream))
            if lane.graph is None and not self.notes:
                self.notes.append(f"{self.directory.name} runs without a CUDA graph: {memory.why_no_graph}")
        lane.runs += 1
        if lane.graph is not None:
            memory.launch(lane.graph, lane.stream)
        elif not lane.context.execute_async_v3(lane.stream):
            raise EngineError(f"{self.manifest.target} failed to run {self.directory.name}; see its log above")

    def _lane(self, count: int) -> _Lane:
        """Return the staged lane, or a free or new one, for runs of `count` frames."""
        self._opened()
        staged, self._staged = self._staged, None
        if staged is not None:
            if len(staged.frames) == count:
                return staged
            self._free.append(staged)
        fitting = next((lane for lane in self._free if len(lane.frames) == count), None)
        if fitting is None:
            return self._new_lane(count)
        self._free.remove(fitting)
        return fitting

    def _new_lane(self, count: int) -> _Lane:
        memory, context = self._opened(), self._engine.create_execution_context()
        if context is None:
            raise self._does_not_load()
        named = {}
        for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors)):
            named[self._engine.get_tensor_mode(name) == self._tensorrt.TensorIOMode.INPUT] = name
        if not self.batches.fixed and not context.set_input_shape(named[True], (count, *self.input_shape[1:])):
            raise EngineError(f"{self.directory.name} takes no {count} frames a run; rebuild it with --batch")
        bound = {is_input: self._bind(context, name) for is_input, name in named.items()}
        (sent, frames), (received, outputs) = bound[True], bound[False]
        begun, copied, computed, done = (memory.new_event() for _ in range(4))
        marks = (begun, copied, computed, done)
        return _Lane(context, memory.new_stream(), frames, outputs, sent, received, marks)

    def _bind(self, context: Any, name: str) -> tuple[Buffer, Outputs]:
        """Return a buffer for a tensor of the engine, and the view of its host's side."""
        shape, kind = tuple(context.get_tensor_shape(name)), self._engine.get_tensor_dtype(name).name
        if kind not in self.numpy_types:
            raise EngineError(f"{self.directory.name} has the tensor {name} of type {kind}; rebuild it")
        if min(shape) < 1:
            raise EngineError(f"{self.directory.name} has the tensor {name} of the open shape {shape}; rebuild it")
        dtype = np.dtype(self.numpy_types[kind])
        buffer = self._opened().new_buffer(int(np.prod(shape)) * dtype.itemsize)
        context.set_tensor_address(name, buffer.device)
        return buffer, buffer.array.view(dtype).reshape(shape)

    def _opened(self) -> CudaMemory:
        if self._memory is None:
            raise self._not_open()
        return self._memory

    def _does_not_load(self) -> EngineError:
        path = self.directory / ENGINE_NAME
        return EngineError(
            f"{self.manifest.target} cannot load {path} on this GPU; rebuild it for its compute capability"
        )


def logits_refused(directory: Path) -> TargetError:
    """Return the error for asking an engine of masks for its logits."""
    return TargetError(
        f"{directory.name} gives masks only, as a plan has no other outputs; build it with --outputs logits"
    )
