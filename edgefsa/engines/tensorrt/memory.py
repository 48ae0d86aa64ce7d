"""Memory on the GPU and a stream, by cuda.bindings or, where that is not installed, by pycuda.

Both use the device's primary context, the one that TensorRT and PyTorch use too, so one process may hold all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from edgefsa.errors import EngineError

Array = npt.NDArray[Any]


class CudaMemory(ABC):
    """One stream and the buffers of one user, for one thread at a time; `close` gives all of them back.

    `stream` is its handle as a number. Every call raises EngineError where CUDA fails.
    """

    stream: int

    @abstractmethod
    def new_buffer(self, size: int) -> int:
        """Return the address of `size` bytes on the GPU."""

    @abstractmethod
    def to_gpu(self, address: int, array: Array) -> None:
        """Enqueue the copy of a contiguous array; it must stay as it is until `synchronize`."""

    @abstractmethod
    def to_host(self, array: Array, address: int) -> None:
        """Enqueue the copy into a contiguous array, which is filled after `synchronize`."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""

    @abstractmethod
    def close(self) -> None:
        """Free the buffers and the stream."""


class CudaBindingsMemory(CudaMemory):
    """By NVIDIA's own package, cuda-bindings."""

    def __init__(self) -> None:
        self._cuda = importlib.import_module("cuda.bindings.runtime")
        self._given = contextlib.ExitStack()
        (stream,) = self._ok(self._cuda.cudaStreamCreate())
        self._given.callback(self._cuda.cudaStreamDestroy, stream)
        self._stream, self.stream = stream, int(stream)

    def new_buffer(self, size: int) -> int:
        """Return the address of `size` bytes on the GPU."""
        (address,) = self._ok(self._cuda.cudaMalloc(size))
        self._given.callback(self._cuda.cudaFree, address)
        return int(address)

    def to_gpu(self, address: int, array: Array) -> None:
        """Enqueue the copy of a contiguous array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ok(self._cuda.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, self._stream))

    def to_host(self, array: Array, address: int) -> None:
        """Enqueue the copy into a contiguous array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ok(self._cuda.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, self._stream))

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        self._ok(self._cuda.cudaStreamSynchronize(self._stream))

    def close(self) -> None:
        """Free the buffers and the stream."""
        self._given.close()

    @staticmethod
    def _ok(result: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what a call returned after its error code; EngineError where that is no success."""
        error, *values = result
        if int(error) != 0:
            raise _failure(getattr(error, "name", error))
        return tuple(values)


class PyCudaMemory(CudaMemory):
    """By pycuda, in the primary context that `pycuda.autoprimaryctx` retains."""

    def __init__(self) -> None:
        self._driver = importlib.import_module("pycuda.driver")
        with self._errors():
            self._context = importlib.import_module("pycuda.autoprimaryctx").context
        self._buffers: dict[int, Any] = {}
        with self._current():
            self._stream = self._driver.Stream()
        self.stream = int(self._stream.handle)

    def new_buffer(self, size: int) -> int:
        """Return the address of `size` bytes on the GPU."""
        with self._current():
            buffer = self._driver.mem_alloc(size)
        self._buffers[int(buffer)] = buffer
        return int(buffer)

    def to_gpu(self, address: int, array: Array) -> None:
        """Enqueue the copy of a contiguous array."""
        with self._current():
            self._driver.memcpy_htod_async(address, array, self._stream)

    def to_host(self, array: Array, address: int) -> None:
        """Enqueue the copy into a contiguous array."""
        with self._current():
            self._driver.memcpy_dtoh_async(array, address, self._stream)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        with self._current():
            self._stream.synchronize()

    def close(self) -> None:
        """Free the buffers and the stream."""
        with self._current():
            for buffer in self._buffers.values():
                buffer.free()
            self._buffers.clear()
            self._stream = None  # pycuda destroys it with its last reference

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the context current: pycuda keeps account of that thread by thread, unlike CUDA's runtime."""
        with self._errors(), contextlib.ExitStack() as stack:
            if self._driver.Context.get_current() is None:
                self._context.push()
                stack.callback(self._context.pop)
            yield

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise _failure(error) from error


def _failure(reason: object) -> EngineError:
    return EngineError(f"CUDA failed with {' '.join(str(reason).split())}; check the GPU with nvidia-smi")


_KINDS: dict[str, type[CudaMemory]] = {"cuda.bindings": CudaBindingsMemory, "pycuda": PyCudaMemory}


def open_memory() -> CudaMemory:
    """Return memory by the first package that is installed; EngineError names both where none is."""
    kind = _installed()
    if kind is None:
        raise EngineError(str(memory_fault()))
    return _KINDS[kind]()


def memory_fault() -> str | None:
    """Return why memory on a GPU cannot be had, with the remedy, or None where it can."""
    if _installed() is not None:
        return None
    return (
        "neither cuda-bindings nor pycuda is installed; pip install 'edgefsa[tensorrt]' or 'edgefsa[rtx]', which take "
        "the former, or 'edgefsa[pycuda]'"
    )


def _installed() -> str | None:
    return next((name for name in _KINDS if _importable(name)), None)


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it lies in is missing
        return False
