"""A GPU of NumPy arrays: cuda.bindings.runtime and pycuda over host memory, which count what is not given back.

Work on a stream is done at once; each step takes a millisecond of a clock that events read.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

STREAMS = range(77, 200)


class PlayedGpu:
    """What both packages play on: memory, streams, events and graphs that are not given back, and a clock."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.events = 0
        self.graphs = 0
        self.clock_ms = 0.0
        self.fails = self.integrated = self.refuses_graphs = False
        self.captured: list[Callable[[], None]] | None = None
        self.log: list[str] = []

    def is_empty(self) -> bool:
        return not (self.memory or self.pinned or self.streams or self.events or self.graphs)

    def allocate(self, size: int, kind: dict[int, Any]) -> int:
        block = ctypes.create_string_buffer(size)
        kind[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def copy(self, to: int, source: int, size: int, what: str) -> None:
        inside = self.memory[to if what == "to gpu" else source]
        outside = self.pinned[source if what == "to gpu" else to]
        assert size <= len(inside) and size <= len(outside), "copies go between page-locked memory and the GPU"
        self.work(what, lambda: ctypes.memmove(to, source, size))

    def work(self, name: str, step: Callable[[], object]) -> None:
        """Do a step on a stream, or put it into the graph that is captured."""
        if self.captured is not None:
            self.captured.append(lambda: self.work(name, step))
            return
        self.log.append(name)
        self.clock_ms += 1
        step()


class FakeCuda(ModuleType):
    """cuda.bindings.runtime."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaDeviceAttr = SimpleNamespace(  # noqa: N815
        cudaDevAttrIntegrated=18, cudaDevAttrComputeCapabilityMajor=75, cudaDevAttrComputeCapabilityMinor=76
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815
    cudaHostAllocDefault, cudaHostAllocMapped, cudaStreamNonBlocking = 0, 2, 1  # noqa: N815

    def __init__(self, gpu: PlayedGpu) -> None:
        super().__init__("cuda.bindings.runtime")
        self.gpu = gpu

    def cudaGetDevice(self) -> tuple[int, int]:  # noqa: N802
        return 0, 0

    def cudaDeviceGetAttribute(self, attribute: int, device: int) -> tuple[int, int]:  # noqa: N802
        assert device == 0
        return 0, {18: int(self.gpu.integrated), 75: 8, 76: 7}[attribute]

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[int, int]:  # noqa: N802
        stream = next(stream for stream in STREAMS if stream not in self.gpu.streams)
        self.gpu.streams.add(stream)
        return 0, stream

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.gpu.streams.remove(stream)
        return (0,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[int, int]:  # noqa: N802
        assert flags == (self.cudaHostAllocMapped if self.gpu.integrated else self.cudaHostAllocDefault)
        return 0, self.gpu.allocate(size, self.gpu.pinned)

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> tuple[int, int]:  # noqa: N802
        assert self.gpu.integrated and address in self.gpu.pinned
        return 0, address

    def cudaFreeHost(self, address: int) -> tuple[int]:  # noqa: N802
        del self.gpu.pinned[address]
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        return 0, self.gpu.allocate(size, self.gpu.memory)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.gpu.memory[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        assert stream in self.gpu.streams
        self.gpu.copy(to, source, size, "to gpu" if kind == 1 else "to host")
        return (2,) if self.gpu.fails else (0,)

    def cudaEventCreate(self) -> tuple[int, Any]:  # noqa: N802
        self.gpu.events += 1
        return 0, SimpleNamespace(ms=None)

    def cudaEventRecord(self, event: Any, stream: int) -> tuple[int]:  # noqa: N802
        event.ms = self.gpu.clock_ms
        return (0,)

    def cudaEventSynchronize(self, event: Any) -> tuple[int]:  # noqa: N802
        assert event.ms is not None
        return (0,)

    def cudaEventElapsedTime(self, start: Any, end: Any) -> tuple[int, float]:  # noqa: N802
        return 0, end.ms - start.ms

    def cudaEventDestroy(self, event: Any) -> tuple[int]:  # noqa: N802
        self.gpu.events -= 1
        return (0,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:  # noqa: N802
        assert mode == 1 and self.gpu.captured is None
        self.gpu.captured = []
        return (0,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[int, Any]:  # noqa: N802
        steps, self.gpu.captured = self.gpu.captured, None
        return (901, None) if self.gpu.refuses_graphs else (0, steps)

    def cudaGetLastError(self) -> tuple[int]:  # noqa: N802
        self.gpu.log.append("last error taken")
        return (901,)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[int, Any]:  # noqa: N802
        self.gpu.graphs += 1
        return 0, graph

    def cudaGraphDestroy(self, graph: Any) -> tuple[int]:  # noqa: N802
        return (0,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:  # noqa: N802
        self.gpu.log.append("graph")
        for step in graph:
            step()
        return (0,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[int]:  # noqa: N802
        self.gpu.graphs -= 1
        return (0,)


class FakePyCuda(ModuleType):
    """pycuda.driver; the names and the account of contexts, thread by thread, are those of pycuda 2026.1."""

    device_attribute = SimpleNamespace(INTEGRATED=18)
    host_alloc_flags = SimpleNamespace(DEVICEMAP=2)

    class Error(Exception):
        """What every failing call raises."""

    def __init__(self, gpu: PlayedGpu) -> None:
        super().__init__("pycuda.driver")
        self.gpu = gpu
        self.contexts: list[Any] = []
        driver = self

        class Context:
            """The primary context."""

            @staticmethod
            def get_current() -> Any:
                return driver.contexts[-1] if driver.contexts else None

            @staticmethod
            def get_device() -> Any:
                return SimpleNamespace(
                    get_attribute=lambda attribute: int(gpu.integrated and attribute == 18),
                    compute_capability=lambda: (8, 7),
                )

            def push(self) -> None:
                driver.contexts.append(self)

            @staticmethod
            def pop() -> None:
                driver.contexts.pop()

        class Stream:
            """Lives until its last reference is gone."""

            def __init__(self) -> None:
                driver.needs_context()
                self.handle = next(stream for stream in STREAMS if stream not in gpu.streams)
                gpu.streams.add(self.handle)

            def __del__(self) -> None:
                gpu.streams.discard(self.handle)

        class Event:
            """Lives until its last reference is gone."""

            def __init__(self) -> None:
                driver.needs_context()
                gpu.events += 1
                self.ms: float | None = None

            def __del__(self) -> None:
                gpu.events -= 1

            def record(self, stream: Any) -> None:
                assert stream.handle in gpu.streams
                self.ms = gpu.clock_ms

            def synchronize(self) -> None:
                driver.needs_context()
                assert self.ms is not None

            def time_till(self, event: Any) -> float:
                return event.ms - self.ms

        self.Context, self.Stream, self.Event, self.primary = Context, Stream, Event, Context()

    def needs_context(self) -> None:
        if not self.contexts:
            raise self.Error("explicit_context_dependent failed: invalid device context - no currently active context?")

    def mem_alloc(self, size: int) -> Any:
        self.needs_context()
        return Allocation(self.gpu.allocate(size, self.gpu.memory), self.gpu.memory)

    def pagelocked_empty(self, shape: int, dtype: Any, mem_flags: int = 0) -> np.ndarray[Any, Any]:
        self.needs_context()
        assert mem_flags == (2 if self.gpu.integrated else 0)
        allocation = Allocation(self.gpu.allocate(shape, self.gpu.pinned), self.gpu.pinned)
        array = np.ctypeslib.as_array((ctypes.c_uint8 * shape).from_address(int(allocation)))
        return array.view(_WithBase).of(allocation)

    def memcpy_htod_async(self, to: int, source: Any, stream: Any) -> None:
        assert stream.handle in self.gpu.streams
        del stream  # an error's traceback would keep it alive, as pycuda's own, in C++, does not
        self._copy(to, source.ctypes.data, source.nbytes, "to gpu")

    def memcpy_dtoh_async(self, to: Any, source: int, stream: Any) -> None:
        assert stream.handle in self.gpu.streams
        del stream
        self._copy(to.ctypes.data, source, to.nbytes, "to host")

    def _copy(self, to: int, source: int, size: int, what: str) -> None:
        self.needs_context()
        self.gpu.copy(to, source, size, what)
        if self.gpu.fails:
            raise self.Error("cuMemcpyAsync failed: an illegal memory access was encountered")


class _WithBase(np.ndarray[Any, Any]):
    """An array whose base is what pycuda puts there."""

    @property
    def base(self) -> Any:  # type: ignore[override]
        return self._allocation

    def of(self, allocation: Any) -> _WithBase:
        self._allocation = allocation
        return self


class Allocation:
    """pycuda.driver.DeviceAllocation, and PagelockedHostAllocation."""

    def __init__(self, address: int, kind: dict[int, Any]) -> None:
        self._address, self._kind = address, kind

    def __int__(self) -> int:
        return self._address

    def get_device_pointer(self) -> int:
        return self._address

    def free(self) -> None:
        del self._kind[self._address]


KINDS = {"cuda.bindings": FakeCuda, "pycuda": FakePyCuda}


def play_gpu(monkeypatch: pytest.MonkeyPatch, kind: str) -> Any:
    """Install one of KINDS as the only package for GPU memory; return it, with its account as `gpu`."""
    from edgefsa.engines.tensorrt import memory as cuda_memory

    driver = KINDS[kind](PlayedGpu())
    monkeypatch.setattr(cuda_memory, "_importable", lambda name: name == kind)
    if kind == "cuda.bindings":
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", driver)
        return driver
    package, context = ModuleType("pycuda"), ModuleType("pycuda.autoprimaryctx")
    context.context = driver.primary  # type: ignore[attr-defined]
    for name, module in (("pycuda", package), ("pycuda.driver", driver), ("pycuda.autoprimaryctx", context)):
        monkeypatch.setitem(sys.modules, name, module)
    return driver
