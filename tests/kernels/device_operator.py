"""A kernel on a real GPU, called as the emulated ones are: the same tests then run there, without PyTorch.

EDGEFSA_DEVICE_KERNELS names the library (`make plugins KERNELS_ONLY=1`). No other kernel runs in the process, which
keeps compute-sanitizer fast and its findings ours.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.kernels.launchers import Kernels
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import Device, Shape

VARIABLE = "EDGEFSA_DEVICE_KERNELS"

Array = npt.NDArray[Any]


class DeviceOperator:
    """Stands for an `EmulatedOperator`; what only an emulation can do or count skips the test."""

    def __init__(self, operator: Operator, library: Path, cuda: Any = None) -> None:
        self._operator, self._kernels = operator, Kernels(library)
        self._cuda = cuda or importlib.import_module("cuda.bindings.runtime")

    def run(
        self,
        inputs: Mapping[str, Array | None],
        outputs: Mapping[str, tuple[Shape, Any]],
        values: Mapping[str, int | float],
        device: Device | None = None,
    ) -> dict[str, Array]:
        """Launch once and return the outputs, by the names of the parameters' fields; the GPU has its own limits."""
        results = {name: np.empty(shape, dtype) for name, (shape, dtype) in outputs.items()}
        params = self._kernels.params(self._operator.name)
        for name, value in values.items():
            set_field(params, name, value)
        with self._memory() as allocate:
            for name, array in inputs.items():
                if array is not None:
                    set_field(params, name, allocate(array.nbytes, array))
            addresses = {name: allocate(array.nbytes) for name, array in results.items()}
            for name, address in addresses.items():
                set_field(params, name, address)
            workspace = allocate(self._kernels.workspace_bytes(self._operator.name, params))
            self._kernels.launch(self._operator.name, params, workspace)
            self._call("cudaDeviceSynchronize")
            for name, array in results.items():
                kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
                self._call("cudaMemcpy", array.ctypes.data, addresses[name], array.nbytes, kind)
        return results

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"`{name}` is of the emulation alone")

    @contextmanager
    def _memory(self) -> Iterator[Any]:
        with ExitStack() as held:

            def allocate(size: int, array: Array | None = None) -> int:
                if size == 0:
                    return 0
                (address,) = self._call("cudaMalloc", size)
                held.callback(self._call, "cudaFree", address)
                if array is not None:
                    kept, kind = np.ascontiguousarray(array), self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
                    self._call("cudaMemcpy", address, kept.ctypes.data, size, kind)
                return int(address)

            yield allocate

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        status, *results = getattr(self._cuda, name)(*arguments)
        assert int(status) == 0, f"{name} returned {status}"
        return tuple(results)


def set_field(params: ctypes.Structure, path: str, value: Any) -> None:
    """Set `name`, `op.name` or `name[index]` of a structure."""
    *parents, last = path.split(".")
    target: Any = params
    for parent in parents:
        target = getattr(target, parent)
    if match := re.fullmatch(r"(\w+)\[(\d+)\]", last):
        getattr(target, match[1])[int(match[2])] = value
    else:
        is_float = dict(target._fields_)[last] is ctypes.c_float
        setattr(target, last, float(value) if is_float else int(value))
