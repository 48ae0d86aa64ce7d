"""Running a plan of TensorRT or TensorRT for RTX on a GPU.

Written against the published API and tested on a GPU that NumPy plays; it has not run on a real one yet.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.session import Frames, Outputs, Session
from edgefsa.engines.tensorrt.builder import ENGINE_NAME
from edgefsa.engines.tensorrt.memory import CudaMemory, open_memory
from edgefsa.errors import EngineError, TargetError

_NUMPY_TYPES = {"UINT8": np.uint8, "FLOAT": np.float32}


class PlanSession(Session):
    """Holds one buffer on the GPU for the frames and one for the result.

    `module` is the runtime's Python module; `prepare` is called with it before the plan is read.
    """

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
        self._resources = contextlib.ExitStack()
        self._context: Any = None
        self._memory: CudaMemory | None = None
        self._addresses: dict[str, int] = {}
        self._output_shape: tuple[int, ...] = ()
        self._output_type: Any = None

    def _load(self) -> None:
        tensorrt = importlib.import_module(self._module)
        if self._prepare is not None:
            self._prepare(tensorrt)
        path = self.directory / ENGINE_NAME
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        context = None if engine is None else engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"{self.manifest.target} cannot load {path} on this GPU; rebuild it for its compute capability"
            )
        with contextlib.ExitStack() as stack:
            memory = open_memory()
            stack.callback(memory.close)
            for index in range(engine.num_io_tensors):
                self._bind(tensorrt, engine, context, memory, engine.get_tensor_name(index))
            self._resources = stack.pop_all()
        self._context, self._memory = context, memory

    def _bind(self, tensorrt: Any, engine: Any, context: Any, memory: CudaMemory, name: str) -> None:
        """Return a tensor of the engine its buffer."""
        shape, kind = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name).name
        if kind not in _NUMPY_TYPES:
            raise EngineError(f"{self.directory.name} has the tensor {name} of type {kind}; rebuild it")
        dtype = np.dtype(_NUMPY_TYPES[kind])
        address = memory.new_buffer(int(np.prod(shape)) * dtype.itemsize)
        context.set_tensor_address(name, address)
        if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT:
            self._addresses["frames"] = address
        else:
            self._addresses["outputs"] = address
            self._output_shape, self._output_type = shape, dtype

    def _release(self) -> None:
        self._context = self._memory = None
        self._resources.close()

    def _submit(self, frames: Frames) -> Any:
        start_ns = time.perf_counter_ns()
        return self._infer(frames), (time.perf_counter_ns() - start_ns) / 1e6

    def _wait(self, handle: Any) -> None:
        """Return: the run was over when it was submitted."""

    def _collect(self, handle: Any) -> tuple[Outputs, float]:
        result: tuple[Outputs, float] = handle
        return result

    def _infer(self, frames: Frames) -> Outputs:
        if self._context is None or self._memory is None:
            raise self._not_open()
        outputs = np.empty(self._output_shape, self._output_type)
        self._memory.to_gpu(self._addresses["frames"], frames)
        if not self._context.execute_async_v3(self._memory.stream):
            raise EngineError(f"{self.manifest.target} failed to run {self.directory.name}; see its log above")
        self._memory.to_host(outputs, self._addresses["outputs"])
        self._memory.synchronize()
        return outputs


def logits_refused(directory: Path) -> TargetError:
    """Return the error for asking an engine of masks for its logits."""
    return TargetError(
        f"{directory.name} gives masks only, as a plan has no other outputs; build it with --outputs logits"
    )
