"""Frames of any size into an engine's input on the GPU and masks back: kernels of the plugin library, by ctypes.

They give what `Geometry.to_engine` and `Geometry.mask_to_frame` give on the CPU, bit by bit.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.engines.tensorrt.memory import Buffer, CudaMemory
from edgefsa.engines.tensorrt.plugins.library import find_library
from edgefsa.errors import EngineError, InputError, PluginError
from edgefsa.media.fit import BORDER, Geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.media.resampling import frame_taps, mask_sources

FIT_VARIABLE = "EDGEFSA_FIT_FRAMES_ON"

_COLOURS = 3


_SIZES = "frame_height frame_width height width seen_top seen_left seen_height seen_width"
_FILLED = "filled_top filled_left filled_height filled_width"


def _fields(pointers: str, integers: str) -> list[tuple[str, Any]]:
    fields = [(name, ctypes.c_void_p) for name in pointers.split()]
    return [*fields, *((name, ctypes.c_int32) for name in integers.split())]


class PreparationParams(ctypes.Structure):
    """FramePreparationParams of plugins/kernels/frame_preparation/frame_preparation.h."""

    _fields_ = _fields(
        "frame image first_rows first_columns row_weights column_weights",
        f"resampling row_taps column_taps {_SIZES} {_FILLED} border",
    )


class RestorationParams(ctypes.Structure):
    """MaskRestorationParams of the same file."""

    _fields_ = _fields("mask restored rows columns", f"{_SIZES} ignore_index")


@dataclass
class FrameSlot:
    """What one frame of a batch has on the GPU: itself, the tables of its geometry, and its mask at its own size."""

    geometry: Geometry | None = None
    buffers: dict[str, Buffer] = field(default_factory=dict)
    preparation: PreparationParams = field(default_factory=PreparationParams)
    restoration: RestorationParams = field(default_factory=RestorationParams)
    has_new_tables: bool = False

    def mask(self) -> Mask:
        """Return the mask uint8 [H, W] that has come to the host, as the slot's own memory."""
        assert self.geometry is not None
        return self.buffers["restored"].array.reshape(self.geometry.frame_hw)


def tables_of(geometry: Geometry) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, int]]:
    """Return the arrays that the kernels read of a geometry, and their numbers, by the names of the parameters."""
    taps = frame_taps(geometry.seen.size_hw, geometry.filled.size_hw)
    sources = zip(geometry.filled.size_hw, geometry.seen.size_hw, strict=True)
    rows, columns = (mask_sources(source, size) for source, size in sources)
    arrays = {
        "first_rows": taps.rows.first,
        "first_columns": taps.columns.first,
        "row_weights": taps.rows.weights,
        "column_weights": taps.columns.weights,
        "rows": rows + np.int32(geometry.filled.top),
        "columns": columns + np.int32(geometry.filled.left),
    }
    numbers = {"resampling": int(taps.resampling), "row_taps": taps.rows.count, "column_taps": taps.columns.count}
    numbers |= dict(zip(("frame_height", "frame_width"), geometry.frame_hw, strict=True))
    numbers |= dict(zip(("height", "width"), geometry.engine_hw, strict=True))
    for name, box in (("seen", geometry.seen), ("filled", geometry.filled)):
        numbers |= {f"{name}_{side}": getattr(box, side) for side in ("top", "left", "height", "width")}
    return arrays, numbers | {"border": BORDER}


class FrameKernels:
    """The launchers of a library, over the memory of one session; errors are EngineError."""

    def __init__(self, library: Path, memory: CudaMemory) -> None:
        self._memory = memory
        try:
            opened = ctypes.CDLL(str(library))
            self._prepare = _launcher(opened, "FramePreparation", PreparationParams)
            self._restore = _launcher(opened, "MaskRestoration", RestorationParams)
        except (OSError, AttributeError) as error:
            raise PluginError(f"{library} has no kernels for frames: {error}; build it again") from error

    def place(self, slot: FrameSlot, frame: Frame, geometry: Geometry) -> None:
        """Copy a frame to the slot's side of the host, with the tables of its geometry where that is another one."""
        if geometry != slot.geometry:
            self._fit_slot(slot, geometry)
        np.copyto(slot.buffers["frame"].array.reshape(frame.shape), frame)

    def send(self, slot: FrameSlot, stream: int) -> None:
        """Enqueue the copies to the GPU."""
        self._memory.to_gpu(slot.buffers["frame"], stream)
        if slot.has_new_tables:
            self._memory.to_gpu(slot.buffers["tables"], stream)
            slot.has_new_tables = False

    def prepare(self, slot: FrameSlot, image: int, stream: int) -> None:
        """Enqueue the fitting into uint8 [*engine_hw, 3] at the GPU's address `image`."""
        slot.preparation.image = image
        self._launch(self._prepare, slot.preparation, stream)

    def restore(self, slot: FrameSlot, mask: int, ignore_index: int, stream: int) -> None:
        """Enqueue the fitting back of uint8 [*engine_hw] at the GPU's address `mask`."""
        slot.restoration.mask, slot.restoration.ignore_index = mask, ignore_index
        self._launch(self._restore, slot.restoration, stream)

    def receive(self, slot: FrameSlot, stream: int) -> None:
        """Enqueue the copy of the mask to the host."""
        self._memory.to_host(slot.buffers["restored"], stream)

    def _fit_slot(self, slot: FrameSlot, geometry: Geometry) -> None:
        """Make room for a geometry, and write its tables and parameters."""
        arrays, numbers = tables_of(geometry)
        height, width = geometry.frame_hw
        table = np.concatenate([array.view(np.uint8).ravel() for array in arrays.values()])
        sizes = {"frame": height * width * _COLOURS, "restored": height * width, "tables": table.nbytes}
        for name, size in sizes.items():
            if name not in slot.buffers or slot.buffers[name].array.nbytes != size:
                if name in slot.buffers:
                    self._memory.release_buffer(slot.buffers.pop(name))
                slot.buffers[name] = self._memory.new_buffer(size)
        np.copyto(slot.buffers["tables"].array, table)
        address, addresses = slot.buffers["tables"].device, {}
        for name, array in arrays.items():
            addresses[name], address = address, address + array.nbytes
        addresses |= {name: slot.buffers[name].device for name in ("frame", "restored")}
        for params in (slot.preparation, slot.restoration):
            for name in (name for name, *_ in params._fields_):
                if name in numbers or name in addresses:
                    setattr(params, name, numbers.get(name, addresses.get(name)))
        slot.geometry, slot.has_new_tables = geometry, True

    def _launch(self, launcher: Any, params: ctypes.Structure, stream: int) -> None:
        status = launcher(ctypes.byref(params), None, stream)
        if status != 0:
            raise EngineError(f"a kernel for frames failed with CUDA's error {status}; check the GPU with nvidia-smi")


def _launcher(library: ctypes.CDLL, name: str, params: type[ctypes.Structure]) -> Any:
    size = getattr(library, f"edgefsa{name}ParamsBytes")()
    if size != ctypes.sizeof(params):
        raise AttributeError(f"the parameters of {name} have {size} bytes there and {ctypes.sizeof(params)} here")
    launcher = getattr(library, f"edgefsaLaunch{name}")
    launcher.argtypes = (ctypes.POINTER(params), ctypes.c_void_p, ctypes.c_void_p)
    launcher.restype = ctypes.c_int
    return launcher


def open_frame_kernels(memory: CudaMemory) -> FrameKernels | None:
    """Return the kernels of the plugin library that serves this GPU; None where EDGEFSA_FIT_FRAMES_ON is "cpu".

    Raises PluginError where there is no such library, InputError for another value than "gpu" and "cpu".
    """
    wanted = os.environ.get(FIT_VARIABLE, "gpu")
    if wanted not in ("gpu", "cpu"):
        raise InputError(f"{FIT_VARIABLE} is {wanted!r}; set it to gpu or cpu, or unset it")
    if wanted == "cpu":
        return None
    return FrameKernels(find_library(None, memory.compute_capability()).path, memory)
