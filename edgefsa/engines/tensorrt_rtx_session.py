"""Running a TensorRT-RTX plan on a GPU, with cuda.bindings for memory and the stream.

Written against the published API and tested on a GPU that NumPy plays; it has not run on a real one yet.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.session import Frames, Outputs, Session
from edgefsa.engines.tensorrt_rtx import ENGINE_NAME
from edgefsa.errors import EngineError

_NUMPY_TYPES = {"UINT8": np.uint8, "FLOAT": np.float32}


class TensorRtRtxSession(Session):
    """Holds one buffer on the GPU for the frames and one for the result."""

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        super().__init__(directory, manifest, threads=threads)
        self._resources = contextlib.ExitStack()
        self._context: Any = None
        self._stream: Any = None
        self._addresses: dict[str, int] = {}
        self._output_shape: tuple[int, ...] = ()
        self._output_type: Any = None

    def _load(self) -> None:
        import tensorrt_rtx

        path = self.directory / ENGINE_NAME
        runtime = tensorrt_rtx.Runtime(tensorrt_rtx.Logger(tensorrt_rtx.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        context = None if engine is None else engine.create_execution_context()
        if context is None:
            raise EngineError(f"TensorRT-RTX cannot load {path} on this GPU; rebuild it for its compute capability")
        with contextlib.ExitStack() as stack:
            self._stream = _new_stream(stack)
            for index in range(engine.num_io_tensors):
                name = engine.get_tensor_name(index)
                shape = tuple(engine.get_tensor_shape(name))
                kind = np.dtype(_NUMPY_TYPES[engine.get_tensor_dtype(name).name])
                size = int(np.prod(shape)) * kind.itemsize
                address = _new_buffer(size, stack)
                context.set_tensor_address(name, address)
                if engine.get_tensor_mode(name) == tensorrt_rtx.TensorIOMode.INPUT:
                    self._addresses["frames"] = address
                else:
                    self._addresses["outputs"] = address
                    self._output_shape, self._output_type = shape, kind
            self._resources = stack.pop_all()
        self._context = context

    def _release(self) -> None:
        self._context = None
        self._resources.close()

    def _infer(self, frames: Frames) -> Outputs:
        if self._context is None:
            raise self._not_open()
        runtime = _cuda()

        outputs = np.empty(self._output_shape, self._output_type)
        to_gpu, to_host = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice, runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _ok(runtime.cudaMemcpyAsync(self._addresses["frames"], frames.ctypes.data, frames.nbytes, to_gpu, self._stream))
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(f"TensorRT-RTX failed to run {self.directory.name}; see its log above")
        _ok(
            runtime.cudaMemcpyAsync(
                outputs.ctypes.data, self._addresses["outputs"], outputs.nbytes, to_host, self._stream
            )
        )
        _ok(runtime.cudaStreamSynchronize(self._stream))
        return outputs


def _cuda() -> Any:
    return importlib.import_module("cuda.bindings.runtime")


def _new_stream(stack: contextlib.ExitStack) -> Any:
    runtime = _cuda()

    (stream,) = _ok(runtime.cudaStreamCreate())
    stack.callback(runtime.cudaStreamDestroy, stream)
    return stream


def _new_buffer(size: int, stack: contextlib.ExitStack) -> int:
    runtime = _cuda()

    (address,) = _ok(runtime.cudaMalloc(size))
    stack.callback(runtime.cudaFree, address)
    return int(address)


def _ok(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give what a CUDA call returned after its error code; EngineError where that is no success."""
    error, *values = result
    if int(error) != 0:
        raise EngineError(f"CUDA failed with {getattr(error, 'name', error)}; check the GPU with nvidia-smi")
    return tuple(values)
