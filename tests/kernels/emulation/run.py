"""Run an emulated operator: under several orders of its threads, between guard zones, on NumPy arrays."""

from __future__ import annotations

import ctypes
import dataclasses
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.kernels.emulation.build import Operator

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


ACCESS = np.dtype([("code", np.uint64), ("offset", np.uint32), ("thread", np.uint16), ("bytes", np.uint16)])


class EmulationError(Exception):
    """What a kernel did wrong: an access out of bounds, a missing barrier, a result that depends on the order."""


@dataclass(frozen=True)
class Schedule:
    """An order of threads, warps and blocks, and the end of the buffers that lies at an unmapped zone."""

    name: str
    order: int
    seed: int
    against_start: int


SCHEDULES = (
    Schedule("forward", 0, 0, 0),
    Schedule("reverse", 1, 0, 1),
    Schedule("shuffled", 2, 1, 0),
)


@dataclass(frozen=True)
class Device:
    """The limits that launchers may ask for.

    A block's dynamic shared memory (bytes), multiprocessors, capability (90 is 9.0), the L2 cache (bytes).
    """

    shared_bytes: int = 227 << 10
    multiprocessors: int = 4
    capability: int = 90
    cache_bytes: int = 64 << 10


class EmulatedOperator:
    """A library of `build_operator`, ready to be launched."""

    def __init__(self, operator: Operator, library: Path) -> None:
        self._operator = operator
        self._path = library
        self._library = ctypes.CDLL(str(library))
        self._library.emulationAllocate.restype = ctypes.c_void_p
        self._library.emulationError.restype = ctypes.c_char_p
        self._library.emulationErrorOffset.restype = ctypes.c_size_t
        self._library.operatorWorkspaceBytes.restype = ctypes.c_size_t
        self._library.emulationAccessCount.restype = ctypes.c_size_t
        self._library.emulationAccesses.restype = ctypes.c_void_p
        self.launches = 0
        self.fills = 0
        self.blocks: list[int] = []  # of each launch
        self.overlapping = 0
        self.workspace_bytes = 0

    def run(
        self,
        inputs: Mapping[str, Array | None],
        outputs: Mapping[str, tuple[Shape, Any]],
        values: Mapping[str, int | float],
        device: Device | None = None,
    ) -> dict[str, Array]:
        """Launch under each schedule and give the outputs, by the names of the parameters' fields.

        Inputs are read-only, outputs are given as (shape, dtype). Raises EmulationError where a run does wrong or
        two schedules give other bits. `launches`, the `blocks` of each, `overlapping` (launches that may begin before
        the one before has ended), `fills` (of memory) and `workspace_bytes` tell about the last run.
        """
        missing = {*self._operator.pointers, *self._operator.integers, *self._operator.floats}
        missing -= {*inputs, *outputs, *values}
        assert not missing, f"fields without a value: {sorted(missing)}"
        results = [self._run_once(inputs, outputs, values, device or Device(), item) for item in SCHEDULES]
        for schedule, result in zip(SCHEDULES[1:], results[1:], strict=True):
            for name in outputs:
                if result[name].tobytes() != results[0][name].tobytes():
                    raise EmulationError(
                        f"`{name}` depends on the order of threads ({SCHEDULES[0].name} or {schedule.name}): "
                        "a barrier is missing, or a value is read that was never written"
                    )
        return results[0]

    def accesses(
        self,
        inputs: Mapping[str, Array | None],
        outputs: Mapping[str, tuple[Shape, Any]],
        values: Mapping[str, int | float],
    ) -> Array:
        """Launch once, as `run` takes it, and return the accesses to dynamic shared memory of the first block.

        Each has the address of its code, the offset and bytes in shared memory, and its thread; a thread's are in
        order. Only what was compiled with build.RECORDING is recorded.
        """
        self._library.emulationRecordAccesses(1)
        self._run_once(inputs, outputs, values, Device(), SCHEDULES[0])
        count = self._library.emulationAccessCount()
        data = ctypes.string_at(self._library.emulationAccesses(), count * ACCESS.itemsize)
        self._library.emulationRecordAccesses(0)
        return np.frombuffer(data, ACCESS)

    def allow_overlapping_launches(self, allowed: bool) -> None:
        """Let launches begin before the one before has ended, as they do at first, or not."""
        self._library.operatorAllowOverlap(int(allowed))

    def make_mistake(self, number: int) -> None:
        """Make the planted mistake of that number from here on, 0 for none."""
        ctypes.c_int.in_dll(self._library, "emulationPlanted").value = number

    def attribute_calls(self) -> int:
        """Return how often the attributes of a device or a kernel were asked for or set, ever."""
        return int(self._library.emulationAttributeCalls())

    def is_served(self, values: Mapping[str, Any], device: Device | None = None) -> bool:
        """Whether the operator's `served` says that the device takes these parameters, all pointers being null."""
        arguments, _ = self._prepare({}, {}, values, device or Device(), SCHEDULES[0])
        return bool(self._library.operatorIsServed(*arguments))

    def status(
        self,
        inputs: Mapping[str, Array | None],
        outputs: Mapping[str, tuple[Shape, Any]],
        values: Mapping[str, Any],
        device: Device | None = None,
        *,
        workspace: bool = True,
        offset: str = "",
    ) -> int:
        """Launch once, under one schedule, and give the launcher's cudaError_t: for parameters that it must refuse.

        Without `workspace` it is a null pointer. `offset` names a pointer, or "workspace", that is one byte off.
        """
        arguments, _ = self._prepare(inputs, outputs, values, device or Device(), SCHEDULES[0], offset)
        scratch = self._workspace(arguments, SCHEDULES[0]) if workspace else None
        if scratch is not None and offset == "workspace":
            scratch += 1
        status = int(self._library.operatorLaunch(ctypes.c_void_p(scratch), *arguments))
        self.launches = int(self._library.emulationLaunches())
        self.fills = int(self._library.emulationFills())
        return status

    def _prepare(
        self,
        inputs: Mapping[str, Array | None],
        outputs: Mapping[str, tuple[Shape, Any]],
        values: Mapping[str, int | float],
        device: Device,
        schedule: Schedule,
        offset: str = "",
    ) -> tuple[list[Any], dict[str, int]]:
        library = self._library
        library.emulationReset()
        library.emulationSetDevice(*dataclasses.astuple(device))
        library.emulationSetOrder(schedule.order, schedule.seed)
        pointers: dict[str, int] = {}
        for name, array in inputs.items():
            if array is not None:
                pointers[name] = self._allocate(name, array.nbytes, schedule)
                ctypes.memmove(pointers[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)
                library.emulationMakeReadOnly(ctypes.c_void_p(pointers[name]))
        for name, (shape, dtype) in outputs.items():
            pointers[name] = self._allocate(name, int(np.prod(shape)) * np.dtype(dtype).itemsize, schedule)
        if offset in pointers:
            pointers[offset] += 1
        arguments: list[Any] = [ctypes.c_void_p(pointers.get(name)) for name in self._operator.pointers]
        arguments += [ctypes.c_int(int(values[name])) for name in self._operator.integers]
        arguments += [ctypes.c_float(values[name]) for name in self._operator.floats]
        return arguments, pointers

    def _run_once(
        self,
        inputs: Mapping[str, Array | None],
        outputs: Mapping[str, tuple[Shape, Any]],
        values: Mapping[str, int | float],
        device: Device,
        schedule: Schedule,
    ) -> dict[str, Array]:
        arguments, pointers = self._prepare(inputs, outputs, values, device, schedule)
        workspace = self._workspace(arguments, schedule)
        status = self._library.operatorLaunch(ctypes.c_void_p(workspace), *arguments)
        self.launches = int(self._library.emulationLaunches())
        self.fills = int(self._library.emulationFills())
        self.blocks = [int(self._library.emulationBlocks(index)) for index in range(self.launches)]
        self.overlapping = int(self._library.emulationOverlapping())
        self._check(status, schedule)
        results = {}
        for name, (shape, dtype) in outputs.items():
            results[name] = np.empty(shape, dtype)
            ctypes.memmove(results[name].ctypes.data, pointers[name], results[name].nbytes)
        self._library.emulationReset()
        return results

    def _workspace(self, arguments: list[Any], schedule: Schedule) -> int | None:
        self.workspace_bytes = self._library.operatorWorkspaceBytes(*arguments)
        return self._allocate("workspace", self.workspace_bytes, schedule) if self.workspace_bytes else None

    def _allocate(self, name: str, size: int, schedule: Schedule) -> int:
        data = self._library.emulationAllocate(name.encode(), ctypes.c_size_t(size), schedule.against_start)
        return int(data)

    def _check(self, status: int, schedule: Schedule) -> None:
        error = self._library.emulationError().decode()
        if error:
            offset = self._library.emulationErrorOffset()
            self._library.emulationReset()
            raise EmulationError(f"{error}{self._source_line(offset)} ({schedule.name} order)")
        if status != 0:
            self._library.emulationReset()
            raise EmulationError(f"the launcher returned cudaError {status} ({schedule.name} order)")

    def _source_line(self, offset: int) -> str:
        if offset == 0:
            return ""
        command = ["addr2line", "-s", "-e", str(self._path), hex(offset)]
        line = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return f" at {line}" if line else ""
