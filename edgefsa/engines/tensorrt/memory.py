"""What a session needs of CUDA: streams, buffers of two sides, events, graphs. By cuda.bindings or else by pycuda.

Both use the device's primary context, the one that TensorRT and PyTorch use too, so one process may hold all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.errors import EngineError


@dataclass(frozen=True)
class Buffer:
    """Memory of two sides: page-locked on the host, `array` uint8 [size], and at the address `device` for the GPU.

    Where both are the same memory (`mapped`, on GPUs that share the host's) nothing is copied between them.
    """

    array: npt.NDArray[np.uint8]
    device: int
    mapped: bool


class CudaMemory(ABC):
    """Streams, buffers and events of one user, for one thread at a time; `close` gives all of them back.

    Every call raises EngineError where CUDA fails.
    """

    why_no_graph = "something in it cannot be captured"

    def new_buffer(self, size: int) -> Buffer:
        """Return a buffer of `size` bytes: mapped on an integrated GPU, else one on each side."""
        return self._mapped_buffer(size) if self.is_integrated() else self._buffer_pair(size)

    def to_gpu(self, buffer: Buffer, stream: int) -> None:
        """Enqueue the copy to the GPU; the host's side must stay as it is until it is done."""
        if not buffer.mapped:
            self._copy_to_gpu(buffer, stream)

    def to_host(self, buffer: Buffer, stream: int) -> None:
        """Enqueue the copy to the host."""
        if not buffer.mapped:
            self._copy_to_host(buffer, stream)

    @abstractmethod
    def is_integrated(self) -> bool:
        """Return whether the GPU shares the host's memory, as on a Jetson."""

    @abstractmethod
    def compute_capability(self) -> str:
        """Return the GPU's compute capability, as 8.7."""

    @abstractmethod
    def release_buffer(self, buffer: Buffer) -> None:
        """Release a buffer before the rest; nothing that uses it may be under way."""

    @abstractmethod
    def new_stream(self) -> int:
        """Return the handle of a new stream, as a number."""

    @abstractmethod
    def new_event(self) -> Any:
        """Return an event that takes time."""

    @abstractmethod
    def record(self, event: Any, stream: int) -> None:
        """Enqueue an event."""

    @abstractmethod
    def wait(self, event: Any) -> None:
        """Wait until an event has come to pass."""

    @abstractmethod
    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the time between two events that have come to pass, in milliseconds."""

    @abstractmethod
    def capture(self, stream: int, enqueue: Callable[[], object]) -> Any | None:
        """Return what `enqueue` puts on a stream as a graph, which is not run yet; None where that cannot be had."""

    @abstractmethod
    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a graph."""

    @abstractmethod
    def close(self) -> None:
        """Release buffers, events, graphs and streams."""

    @abstractmethod
    def _mapped_buffer(self, size: int) -> Buffer: ...

    @abstractmethod
    def _buffer_pair(self, size: int) -> Buffer: ...

    @abstractmethod
    def _copy_to_gpu(self, buffer: Buffer, stream: int) -> None: ...

    @abstractmethod
    def _copy_to_host(self, buffer: Buffer, stream: int) -> None: ...


class CudaBindingsMemory(CudaMemory):
    """By NVIDIA's own package, cuda-bindings."""

    def __init__(self) -> None:
        self._cuda = importlib.import_module("cuda.bindings.runtime")
        self._given = contextlib.ExitStack()
        self._buffers: dict[int, contextlib.ExitStack] = {}  # by their address on the GPU

    def is_integrated(self) -> bool:
        """Return whether the GPU shares the host's memory."""
        return bool(self._attribute("Integrated"))

    def compute_capability(self) -> str:
        """Return the GPU's compute capability."""
        return f"{self._attribute('ComputeCapabilityMajor')}.{self._attribute('ComputeCapabilityMinor')}"

    def release_buffer(self, buffer: Buffer) -> None:
        """Release a buffer."""
        self._buffers.pop(buffer.device).close()

    def _attribute(self, name: str) -> int:
        (device,) = self._ok(self._cuda.cudaGetDevice())
        attribute = getattr(self._cuda.cudaDeviceAttr, f"cudaDevAttr{name}")
        return int(self._ok(self._cuda.cudaDeviceGetAttribute(attribute, device))[0])

    def new_stream(self) -> int:
        """Return the handle of a new stream that does not wait for the default one."""
        (stream,) = self._ok(self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking))
        self._given.callback(self._cuda.cudaStreamDestroy, stream)
        return int(stream)

    def new_event(self) -> Any:
        """Return an event that takes time."""
        (event,) = self._ok(self._cuda.cudaEventCreate())
        self._given.callback(self._cuda.cudaEventDestroy, event)
        return event

    def record(self, event: Any, stream: int) -> None:
        """Enqueue an event."""
        self._ok(self._cuda.cudaEventRecord(event, stream))

    def wait(self, event: Any) -> None:
        """Wait until an event has come to pass."""
        self._ok(self._cuda.cudaEventSynchronize(event))

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the time between two events in milliseconds."""
        return float(self._ok(self._cuda.cudaEventElapsedTime(start, end))[0])

    def capture(self, stream: int, enqueue: Callable[[], object]) -> Any | None:
        """Return what `enqueue` puts on a stream as a graph; None where something in it cannot be captured."""
        cuda = self._cuda
        # Of this thread alone: others may allocate meanwhile.
        self._ok(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            enqueue()
        finally:
            error, graph = cuda.cudaStreamEndCapture(stream)
        if int(error) != 0:
            cuda.cudaGetLastError()  # which would else be taken for that of the next call
            return None
        error, executable = cuda.cudaGraphInstantiate(graph, 0)
        cuda.cudaGraphDestroy(graph)
        if int(error) != 0:
            cuda.cudaGetLastError()
            return None
        self._given.callback(cuda.cudaGraphExecDestroy, executable)
        return executable

    def launch(self, graph: Any, stream: int) -> None:
        """Enqueue a graph."""
        self._ok(self._cuda.cudaGraphLaunch(graph, stream))

    def close(self) -> None:
        """Release everything, buffers first."""
        with self._given:
            while self._buffers:
                self._buffers.popitem()[1].close()

    def _host(self, size: int, flags: int, stack: contextlib.ExitStack) -> tuple[int, npt.NDArray[np.uint8]]:
        (address,) = self._ok(self._cuda.cudaHostAlloc(size, flags))
        stack.callback(self._cuda.cudaFreeHost, address)
        return int(address), np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(int(address)))

    def _mapped_buffer(self, size: int) -> Buffer:
        with contextlib.ExitStack() as stack:
            address, array = self._host(size, self._cuda.cudaHostAllocMapped, stack)
            (device,) = self._ok(self._cuda.cudaHostGetDevicePointer(address, 0))
            self._buffers[int(device)] = stack.pop_all()
        return Buffer(array, int(device), mapped=True)

    def _buffer_pair(self, size: int) -> Buffer:
        with contextlib.ExitStack() as stack:
            _, array = self._host(size, self._cuda.cudaHostAllocDefault, stack)
            (device,) = self._ok(self._cuda.cudaMalloc(size))
            stack.callback(self._cuda.cudaFree, device)
            self._buffers[int(device)] = stack.pop_all()
        return Buffer(array, int(device), mapped=False)

    def _copy_to_gpu(self, buffer: Buffer, stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ok(self._cuda.cudaMemcpyAsync(buffer.device, buffer.array.ctypes.data, buffer.array.nbytes, kind, stream))

    def _copy_to_host(self, buffer: Buffer, stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ok(self._cuda.cudaMemcpyAsync(buffer.array.ctypes.data, buffer.device, buffer.array.nbytes, kind, stream))

    @staticmethod
    def _ok(result: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what a call returned after its error code; EngineError where that is no success."""
        error, *values = result
        if int(error) != 0:
            raise _failure(getattr(error, "name", error))
        return tuple(values)


class PyCudaMemory(CudaMemory):
    """By pycuda, in the primary context that `pycuda.autoprimaryctx` retains. It has no graphs."""

    why_no_graph = "pycuda has none; cuda-bindings has"

    def __init__(self) -> None:
        self._driver = importlib.import_module("pycuda.driver")
        with self._errors():
            self._context = importlib.import_module("pycuda.autoprimaryctx").context
        self._streams: dict[int, Any] = {}
        self._events: list[Any] = []
        self._buffers: dict[int, list[Any]] = {}  # by their address on the GPU

    def is_integrated(self) -> bool:
        """Return whether the GPU shares the host's memory."""
        with self._current():
            device = self._driver.Context.get_device()
            return bool(device.get_attribute(self._driver.device_attribute.INTEGRATED))

    def compute_capability(self) -> str:
        """Return the GPU's compute capability."""
        with self._current():
            major, minor = self._driver.Context.get_device().compute_capability()
        return f"{major}.{minor}"

    def release_buffer(self, buffer: Buffer) -> None:
        """Release a buffer."""
        with self._current():
            for allocation in self._buffers.pop(buffer.device):
                allocation.free()

    def new_stream(self) -> int:
        """Return the handle of a new stream."""
        with self._current():
            stream = self._driver.Stream()
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def new_event(self) -> Any:
        """Return an event that takes time."""
        with self._current():
            event = self._driver.Event()
        self._events.append(event)
        return event

    def record(self, event: Any, stream: int) -> None:
        """Enqueue an event."""
        with self._current():
            event.record(self._streams[stream])

    def wait(self, event: Any) -> None:
        """Wait until an event has come to pass."""
        with self._current():
            event.synchronize()

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Return the time between two events in milliseconds."""
        with self._current():
            return float(start.time_till(end))

    def capture(self, stream: int, enqueue: Callable[[], object]) -> Any | None:
        """Return None."""
        return None

    def launch(self, graph: Any, stream: int) -> None:
        """Raise EngineError: there are no graphs."""
        raise _failure(f"no graph: {self.why_no_graph}")

    def close(self) -> None:
        """Release everything."""
        with self._current():
            while self._buffers:
                for allocation in self._buffers.popitem()[1]:
                    allocation.free()
            # pycuda destroys streams and events with their last references.
            self._events.clear()
            self._streams.clear()

    def _mapped_buffer(self, size: int) -> Buffer:
        with self._current():
            flags = self._driver.host_alloc_flags.DEVICEMAP
            array = self._driver.pagelocked_empty(size, np.uint8, mem_flags=flags)
            device = int(array.base.get_device_pointer())
        self._buffers[device] = [array.base]
        return Buffer(array, device, mapped=True)

    def _buffer_pair(self, size: int) -> Buffer:
        with self._current():
            array = self._driver.pagelocked_empty(size, np.uint8)
            device = self._driver.mem_alloc(size)
        self._buffers[int(device)] = [array.base, device]
        return Buffer(array, int(device), mapped=False)

    def _copy_to_gpu(self, buffer: Buffer, stream: int) -> None:
        with self._current():
            self._driver.memcpy_htod_async(buffer.device, buffer.array, self._streams[stream])

    def _copy_to_host(self, buffer: Buffer, stream: int) -> None:
        with self._current():
            self._driver.memcpy_dtoh_async(buffer.array, buffer.device, self._streams[stream])

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
