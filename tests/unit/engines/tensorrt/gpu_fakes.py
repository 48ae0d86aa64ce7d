"""A GPU of NumPy arrays: cuda.bindings.runtime and pycuda over host memory, which count what is not given back."""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

STREAM = 77


class FakeCuda(ModuleType):
    """cuda.bindings.runtime."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: dict[int, Any] = {}
        self.streams = 0
        self.fails = False

    def cudaStreamCreate(self) -> tuple[int, int]:  # noqa: N802
        self.streams += 1
        return 0, STREAM

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:  # noqa: N802
        self.streams -= 1
        return (0,)

    def cudaMalloc(self, size: int) -> tuple[int, int]:  # noqa: N802
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return 0, ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[int]:  # noqa: N802
        del self.memory[address]
        return (0,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:  # noqa: N802
        inside = self.memory[to if kind == 1 else source]
        assert stream == STREAM and size <= len(inside)
        ctypes.memmove(to, source, size)
        return (2,) if self.fails else (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:  # noqa: N802
        return (0,)


class FakePyCuda(ModuleType):
    """pycuda.driver; the names and the account of contexts, thread by thread, are those of pycuda 2026.1."""

    class Error(Exception):
        """What every failing call raises."""

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, Any] = {}
        self.streams = 0
        self.fails = False
        self.contexts: list[Any] = []
        driver = self

        class Context:
            """The primary context."""

            @staticmethod
            def get_current() -> Any:
                return driver.contexts[-1] if driver.contexts else None

            def push(self) -> None:
                driver.contexts.append(self)

            @staticmethod
            def pop() -> None:
                driver.contexts.pop()

        class Stream:
            """Lives until its last reference is gone."""

            handle = STREAM

            def __init__(self) -> None:
                driver.needs_context()
                driver.streams += 1

            def __del__(self) -> None:
                driver.streams -= 1

            def synchronize(self) -> None:
                driver.needs_context()

        self.Context, self.Stream, self.primary = Context, Stream, Context()

    def needs_context(self) -> None:
        if not self.contexts:
            raise self.Error("explicit_context_dependent failed: invalid device context - no currently active context?")

    def mem_alloc(self, size: int) -> Any:
        self.needs_context()
        buffer = ctypes.create_string_buffer(size)
        address = ctypes.addressof(buffer)
        self.memory[address] = buffer
        return SimpleAllocation(address, self)

    def memcpy_htod_async(self, to: int, source: Any, stream: Any) -> None:
        del stream  # an error's traceback would keep it alive, as pycuda's own, in C++, does not
        self._copy(to, source.ctypes.data, source.nbytes, self.memory[to])

    def memcpy_dtoh_async(self, to: Any, source: int, stream: Any) -> None:
        del stream
        self._copy(to.ctypes.data, source, to.nbytes, self.memory[source])

    def _copy(self, to: int, source: int, size: int, inside: Any) -> None:
        self.needs_context()
        assert size <= len(inside)
        ctypes.memmove(to, source, size)
        if self.fails:
            raise self.Error("cuMemcpyAsync failed: an illegal memory access was encountered")


class SimpleAllocation:
    """pycuda.driver.DeviceAllocation."""

    def __init__(self, address: int, driver: FakePyCuda) -> None:
        self._address, self._driver = address, driver

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        del self._driver.memory[self._address]


KINDS = {"cuda.bindings": FakeCuda, "pycuda": FakePyCuda}


def play_gpu(monkeypatch: pytest.MonkeyPatch, kind: str) -> Any:
    """Install one of KINDS as the only package for GPU memory; return its account."""
    from edgefsa.engines.tensorrt import memory as cuda_memory

    driver = KINDS[kind]()
    monkeypatch.setattr(cuda_memory, "_importable", lambda name: name == kind)
    if kind == "cuda.bindings":
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", driver)
        return driver
    package, context = ModuleType("pycuda"), ModuleType("pycuda.autoprimaryctx")
    context.context = driver.primary  # type: ignore[attr-defined]
    for name, module in (("pycuda", package), ("pycuda.driver", driver), ("pycuda.autoprimaryctx", context)):
        monkeypatch.setitem(sys.modules, name, module)
    return driver
