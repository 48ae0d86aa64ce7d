"""Running a plan of TensorRT or TensorRT for RTX on a GPU.

Written against the published API and tested on a GPU that NumPy plays; it has not run on a real one yet.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.session import Frames, Outputs, Session, Ticket
from edgefsa.engines.tensorrt.builder import ENGINE_NAME
from edgefsa.engines.tensorrt.frame_kernels import FIT_VARIABLE, FrameKernels, FrameSlot, open_frame_kernels
from edgefsa.engines.tensorrt.memory import Buffer, CudaMemory, open_memory
from edgefsa.engines.tensorrt.profiler import profiler_of
from edgefsa.engines.tensorrt.runtime import load_engine
from edgefsa.errors import EngineError, PluginError, TargetError
from edgefsa.media.fit import Geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.metadata import MASKS

_FITTED_ON_CPU = f"frames are fitted on the CPU: {FIT_VARIABLE} says so"


@dataclass
class _Marks:
    """Events of a run, in their order; those of fitting only where the GPU does it."""

    begun: Any
    sent: Any
    fitted: Any
    computed: Any
    restored: Any
    received: Any


@dataclass
class _Lane:
    """What one run needs for itself, as several may be under way. `frames` and `outputs` lie in page-locked memory.

    A lane is for one number of frames, as many as `frames` holds, as a CUDA graph is of one shape. `slots` are those of
    frames that the GPU fits, and `fitted` is how many of them the run under way has. `graph` is the engine's run as a
    CUDA graph, made after the first run, or None.
    """

    context: Any
    stream: int
    frames: Frames
    outputs: Outputs
    sent: Buffer
    received: Buffer
    marks: _Marks
    slots: list[FrameSlot]
    fitted: int = 0
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
        self._kernels: FrameKernels | None = None
        self._knows_kernels = False
        self._tensorrt: Any = None
        self._engine: Any = None
        self._free: list[_Lane] = []
        self._staged: _Lane | None = None

    def staging(self, count: int | None = None) -> Frames | None:
        """Return page-locked memory uint8 [N, H, W, 3] for the frames of the next run."""
        self._staged = self._lane(count or self.batch)
        return self._staged.frames

    @property
    def fits_frames(self) -> bool:
        """Whether the GPU fits frames: where the plugin library serves it, and EDGEFSA_FIT_FRAMES_ON is not "cpu"."""
        if not self._knows_kernels:
            self._knows_kernels = True
            try:
                self._kernels = open_frame_kernels(self._opened())
                self.notes.append("frames are fitted on the GPU" if self._kernels else _FITTED_ON_CPU)
            except PluginError as error:
                self.notes.append(f"frames are fitted on the CPU: {error}")
        return self._kernels is not None

    def layer_times_ms(self, frames: Frames, rounds: int) -> dict[str, list[float]]:
        """Run `frames` so often while TensorRT's profiler times each layer, without a CUDA graph."""
        memory, lane = self._opened(), self._new_lane(len(frames))  # of its own: a context stays watched
        np.copyto(lane.frames, frames)
        memory.to_gpu(lane.sent, lane.stream)
        profiler = profiler_of(self._tensorrt)
        for index in range(rounds + 1):  # the first one prepares
            if index == 1:
                lane.context.profiler = profiler
            self._execute(lane.context, lane.stream)
            memory.record(lane.marks.received, lane.stream)
            memory.wait(lane.marks.received)
        return dict(profiler.times_ms)

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
        self._knows_kernels = self.manifest.model["outputs"] != MASKS  # the CPU makes masks of logits
        try:
            self._free.append(self._new_lane(self.batch))
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        memory, self._memory, self._kernels = self._memory, None, None
        self._free.clear()
        self._staged = self._engine = None
        if memory is not None:
            memory.close()

    def _submit(self, frames: Frames) -> _Lane:
        lane = self._lane(len(frames))
        if frames is not lane.frames:
            np.copyto(lane.frames, frames)
        memory, marks = self._opened(), lane.marks
        memory.record(marks.begun, lane.stream)
        memory.to_gpu(lane.sent, lane.stream)
        memory.record(marks.sent, lane.stream)
        self._enqueue(lane)
        memory.record(marks.computed, lane.stream)
        memory.to_host(lane.received, lane.stream)
        memory.record(marks.received, lane.stream)
        return lane

    def _submit_frames(self, frames: Sequence[Frame], geometries: Sequence[Geometry], ignore_index: int) -> _Lane:
        if self._kernels is None:
            raise self._fits_none()
        memory, kernels, lane = self._opened(), self._kernels, self._lane(max(len(frames), self.batches.fewest))
        marks, stream, slots = lane.marks, lane.stream, lane.slots[: len(frames)]
        for slot, frame, made in zip(slots, frames, geometries, strict=True):
            kernels.place(slot, frame, made)
        memory.record(marks.begun, stream)
        for slot in slots:
            kernels.send(slot, stream)
        memory.record(marks.sent, stream)
        count = len(lane.frames)
        image_bytes, mask_bytes = (buffer.array.nbytes // count for buffer in (lane.sent, lane.received))
        for index in range(count):  # the last frame stands for those that are missing
            kernels.prepare(slots[min(index, len(slots) - 1)], lane.sent.device + index * image_bytes, stream)
        memory.record(marks.fitted, stream)
        self._enqueue(lane)
        memory.record(marks.computed, stream)
        for index, slot in enumerate(slots):
            kernels.restore(slot, lane.received.device + index * mask_bytes, ignore_index, stream)
        memory.record(marks.restored, stream)
        for slot in slots:
            kernels.receive(slot, stream)
        memory.record(marks.received, stream)
        lane.fitted = len(slots)
        return lane

    def _wait(self, handle: _Lane) -> None:
        with contextlib.suppress(EngineError):  # which comes again when it is collected
            self._opened().wait(handle.marks.received)

    def _collect(self, handle: _Lane) -> tuple[Outputs, float, float]:
        memory, marks = self._opened(), handle.marks
        memory.wait(marks.received)
        outputs = handle.outputs.copy()  # the lane's memory is the next run's
        whole_ms = memory.elapsed_ms(marks.begun, marks.received)
        engine_ms = memory.elapsed_ms(marks.sent, marks.computed)
        self._free.append(handle)
        return outputs, engine_ms, whole_ms - engine_ms

    def _collect_masks(self, handle: _Lane, ticket: Ticket) -> list[Mask]:
        memory, marks = self._opened(), handle.marks
        memory.wait(marks.received)
        masks = [slot.mask().copy() for slot in handle.slots[: handle.fitted]]
        ticket.fit_ms = memory.elapsed_ms(marks.sent, marks.fitted)
        ticket.engine_ms = memory.elapsed_ms(marks.fitted, marks.computed)
        ticket.restore_ms = memory.elapsed_ms(marks.computed, marks.restored)
        ticket.copy_ms = memory.elapsed_ms(marks.begun, marks.sent) + memory.elapsed_ms(marks.restored, marks.received)
        self._free.append(handle)
        return masks

    def _enqueue(self, lane: _Lane) -> None:
        """Put the engine's run on the lane's stream: by itself at first, which prepares it, then as a graph."""
        memory = self._opened()
        if lane.runs == 1:
            lane.graph = memory.capture(lane.stream, lambda: lane.context.execute_async_v3(lane.stream))
            note = f"{self.directory.name} runs without a CUDA graph: {memory.why_no_graph}"
            if lane.graph is None and note not in self.notes:
                self.notes.append(note)
        lane.runs += 1
        if lane.graph is not None:
            memory.launch(lane.graph, lane.stream)
        else:
            self._execute(lane.context, lane.stream)

    def _execute(self, context: Any, stream: int) -> None:
        if not context.execute_async_v3(stream):
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
        marks = _Marks(*(memory.new_event() for _ in dataclasses.fields(_Marks)))
        slots = [FrameSlot() for _ in frames]
        return _Lane(context, memory.new_stream(), frames, outputs, sent, received, marks, slots)

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
