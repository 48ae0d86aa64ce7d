"""The plugin classes compiled for the host with emulated kernels, driven as TensorRT drives them."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.kernels.emulation.build import EMULATION, FLAGS, PLUGINS, build_emulator, build_kernels, compile_once, link
from tests.kernels.emulation.run import Device

Array = npt.NDArray[Any]

# Values of nvinfer1::DataType, TensorFormat and PluginFieldType.
FLOAT, HALF, INT8, INT32, BOOL, UINT8, FP8, BF16, INT64 = range(9)
LINEAR, CHW2, HWC8, CHW4, CHW16, CHW32 = range(6)
HWC, HWC16 = 8, 11
FIELD_FLOAT32, FIELD_INT32, FIELD_CHAR, FIELD_INT64 = 1, 5, 6, 10
SOURCE_SHA256 = "0123456789abcdef" * 4  # CMake's own would compile everything again after each change
OPERATORS = ("truncated_dct_attention", "spectral_mask", "upsample_argmax")


def include_dirs() -> list[Path]:
    """List the folders of TensorRT's headers on this machine: TENSORRT_INCLUDE_DIR (several with colons), or system."""
    given = os.environ.get("TENSORRT_INCLUDE_DIR", "")
    places = [Path(item) for item in given.split(os.pathsep) if item]
    places = places or [Path("/usr/include"), *sorted(Path("/usr/include").glob("*-linux-gnu"))]
    return [place for place in places if (place / "NvInferRuntime.h").is_file()]


def plugin_sources() -> list[Path]:
    """List the C++ files of the plugin classes and their registration."""
    folders = [PLUGINS / "tensorrt" / name for name in ("common", *OPERATORS)]
    return [path for folder in folders for path in sorted(folder.glob("*.cpp"))]


def build_harness(include_dir: Path, objects: Path, folder: Path, *, registration: str = "creators") -> Path:
    """Compile harness, plugins, kernels and emulator into one library; what they share lies in `objects`.

    With `registration` "static_registration" it registers itself where it is loaded, and needs TensorRT for that.
    """
    includes = ["-I", PLUGINS / "tensorrt", "-I", PLUGINS, "-I", PLUGINS / "kernels", "-I", EMULATION / "include"]
    # The emulated runtime has no events, and TensorRT's headers name their type.
    tensorrt = [*includes, "-isystem", include_dir, "-DcudaEvent_t=void*", f'-DEDGEFSA_SOURCE_SHA256="{SOURCE_SHA256}"']
    entries = [PLUGINS / "tensorrt" / "registration" / f"{name}.cpp" for name in {"creators", registration}]
    sources = [*plugin_sources(), *entries, Path(__file__).with_suffix(".cpp")]
    folders = [PLUGINS / "kernels" / name for name in OPERATORS]
    kernels = [path for kind in ("*.cu", "*.cpp") for item in folders for path in sorted(item.glob(kind))]
    plugins = [compile_once(source, [*FLAGS, *tensorrt], objects) for source in sources]
    return link([*build_emulator(objects), *plugins, *build_kernels(kernels, objects)], folder / "harness")


def build_driver(include_dir: Path, objects: Path, folder: Path) -> Path:
    """Compile the harness alone: it drives the plugin library that is loaded with RTLD_GLOBAL before it."""
    flags = [*FLAGS, "-I", PLUGINS / "tensorrt", "-I", EMULATION / "include", "-isystem", include_dir]
    driver = compile_once(Path(__file__).with_suffix(".cpp"), [*flags, "-DcudaEvent_t=void*"], objects)
    return link([*build_emulator(objects), driver], folder / "driver")


@dataclass(frozen=True)
class Tensor:
    """A tensor as TensorRT describes it; a negative dimension is an unknown one, and `largest` that of the profile.

    `largest_rank` of 0 or -1 stands for a profile that says nothing.
    """

    dims: tuple[int, ...]
    type: int = FLOAT
    format: int = LINEAR
    scale: float = -1.0
    largest: tuple[int, ...] | None = None
    largest_rank: int | None = None


class _Description(ctypes.Structure):
    _fields_ = (
        ("rank", ctypes.c_int32),
        ("largest_rank", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("format", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("dims", ctypes.c_int64 * 8),
        ("max_dims", ctypes.c_int64 * 8),
    )


def _describe(tensors: Sequence[Tensor]) -> Any:
    items = []
    for tensor in tensors:
        dims = (ctypes.c_int64 * 8)(*tensor.dims)
        largest = (ctypes.c_int64 * 8)(*(tensor.largest or tensor.dims))
        rank = len(tensor.dims)
        ranks = (rank, rank if tensor.largest_rank is None else tensor.largest_rank)
        items.append(_Description(*ranks, tensor.type, tensor.format, tensor.scale, dims, largest))
    return (_Description * len(items))(*items)


@dataclass(frozen=True)
class CreatorFacts:
    """What a creator says of itself; fields as {name: PluginFieldType}."""

    name: str
    version: str
    namespace: str
    fields: dict[str, int] = field(hash=False)


class Driver:
    """The functions of harness.cpp in a library that is loaded already, with the plugins behind them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.c = library
        for name in ("Log", "CreatorName", "CreatorVersion", "CreatorNamespace", "FieldName", "Name", "TimingCacheId"):
            getattr(self.c, f"harness{name}").restype = ctypes.c_char_p
        for name in ("Create", "CreateFrom", "Clone", "Attach", "RoundTrip"):
            getattr(self.c, f"harness{name}").restype = ctypes.c_void_p
        self.c.harnessWorkspaceBytes.restype = ctypes.c_size_t
        self.c.harnessStart()

    def log(self) -> str:
        """Return the errors that were logged since the last call."""
        return str(self.c.harnessLog().decode())

    def creators(self) -> list[CreatorFacts]:
        """List what getCreators gives."""
        found = []
        while (name := self.c.harnessCreatorName(len(found))) is not None:
            index = len(found)
            fields = {
                self.c.harnessFieldName(index, item).decode(): self.c.harnessFieldType(index, item)
                for item in range(self.c.harnessFieldCount(index))
            }
            version, namespace = self.c.harnessCreatorVersion(index), self.c.harnessCreatorNamespace(index)
            found.append(CreatorFacts(name.decode(), version.decode(), namespace.decode(), fields))
        return found

    def create(self, name: str, attributes: Mapping[str, int | float | str]) -> Plugin | None:
        """Create a plugin from attributes as the ONNX parser hands them over."""
        names, types, data, lengths = [], [], [], []
        for key, value in attributes.items():
            kind, array = _field(value)
            names.append(key.encode())
            types.append(kind)
            data.append(array)
            lengths.append(array.size)
        count = len(names)
        pointers = (ctypes.c_void_p * count)(*(array.ctypes.data for array in data))
        kinds, sizes = (ctypes.c_int * count)(*types), (ctypes.c_int * count)(*lengths)
        texts = (ctypes.c_char_p * count)(*names)
        return self._plugin(self.c.harnessCreate(name.encode(), count, texts, kinds, pointers, sizes))

    def create_from(self, name: str, count: int, *, is_null: bool) -> Plugin | None:
        """Create a plugin from a broken list of `count` attributes: a null one, or attributes without names."""
        return self._plugin(self.c.harnessCreateFrom(name.encode(), count, is_null))

    def _plugin(self, address: int | None) -> Plugin | None:
        return None if address is None else Plugin(self, ctypes.c_void_p(address))


def _field(value: int | float | str) -> tuple[int, Array]:
    if isinstance(value, str):
        return FIELD_CHAR, np.frombuffer(value.encode() + b"\0", np.uint8).copy()
    if isinstance(value, float):
        return FIELD_FLOAT32, np.array([value], np.float32)
    if value >= 1 << 31:
        return FIELD_INT64, np.array([value], np.int64)
    return FIELD_INT32, np.array([value], np.int32)


class Harness(Driver):
    """The library of `build_harness`; `launches` and `fills` (of memory) are those of the last `enqueue`."""

    def __init__(self, library: Path) -> None:
        super().__init__(ctypes.CDLL(str(library)))
        self.launches = self.fills = 0
        self.c.emulationAllocate.restype = ctypes.c_void_p
        self.c.emulationError.restype = ctypes.c_char_p
        self.set_shared_bytes()

    def set_shared_bytes(self, shared_bytes: int = 227 << 10) -> None:
        """Let the emulated GPU have that much shared memory for a block."""
        self.c.emulationSetDevice(*dataclasses.astuple(Device(shared_bytes)))


class Plugin:
    """One plugin object; the methods are those of its three capabilities, `tensors` the inputs and the output."""

    def __init__(self, driver: Driver, address: ctypes.c_void_p) -> None:
        self.driver, self.c, self.address = driver, driver.c, address

    def name(self) -> str:
        return str(self.c.harnessName(self.address).decode())

    def timing_cache_id(self) -> str:
        return str(self.c.harnessTimingCacheId(self.address).decode())

    def clone(self) -> Plugin:
        return Plugin(self.driver, ctypes.c_void_p(self.c.harnessClone(self.address)))

    def attach(self) -> Plugin:
        return Plugin(self.driver, ctypes.c_void_p(self.c.harnessAttach(self.address)))

    def round_trip(self) -> Plugin:
        """Return the plugin that an engine would hold after it was saved and loaded."""
        return Plugin(self.driver, ctypes.c_void_p(self.c.harnessRoundTrip(self.address)))

    def destroy(self) -> None:
        self.c.harnessDestroy(self.address)

    def output_type(self, types: Sequence[int]) -> int:
        return int(self.c.harnessOutputType(self.address, (ctypes.c_int * len(types))(*types), len(types)))

    def output_shape(self, inputs: Sequence[Tensor]) -> tuple[int, ...] | None:
        dims = (ctypes.c_int64 * 8)()
        rank = self.c.harnessOutputShape(self.address, _describe(inputs), len(inputs), dims)
        return None if rank < 0 else tuple(dims[:rank])

    def supports(self, position: int, tensors: Sequence[Tensor]) -> bool:
        return bool(self.c.harnessSupports(self.address, position, _describe(tensors), len(tensors) - 1))

    def configure(self, tensors: Sequence[Tensor]) -> int:
        return int(self.c.harnessConfigure(self.address, _describe(tensors), len(tensors) - 1))

    def tactics(self) -> list[int]:
        """Return the tactics of what was configured last."""
        found = (ctypes.c_int * 8)()
        count = self.c.harnessTactics(self.address, found)
        assert 0 <= count <= len(found)
        return list(found[:count])

    def set_tactic(self, tactic: int) -> int:
        return int(self.c.harnessSetTactic(self.address, tactic))

    def shape_change(self, tensors: Sequence[Tensor]) -> int:
        return int(self.c.harnessShapeChange(self.address, _describe(tensors), len(tensors) - 1))

    def workspace_bytes(self, tensors: Sequence[Tensor]) -> int:
        return int(self.c.harnessWorkspaceBytes(self.address, _describe(tensors), len(tensors) - 1))

    def enqueue(self, tensors: Sequence[Tensor], arrays: Sequence[Array], output: Array) -> int:
        """Run on `arrays`, in memory whose every access the emulator checks; fills `output`."""
        self.c.emulationReset()
        self.c.emulationSetOrder(0, 0)
        addresses = []
        for array in arrays:
            addresses.append(self._allocate(array.nbytes))
            ctypes.memmove(addresses[-1], np.ascontiguousarray(array).ctypes.data, array.nbytes)
            self.c.emulationMakeReadOnly(ctypes.c_void_p(addresses[-1]))
        size = self.workspace_bytes(tensors)
        workspace = self._allocate(size) if size else None
        result = self._allocate(output.nbytes)
        status = self.enqueue_at(tensors, addresses, result, workspace)
        assert isinstance(self.driver, Harness)
        self.driver.launches, self.driver.fills = self.c.emulationLaunches(), self.c.emulationFills()
        error = self.c.emulationError().decode()
        assert not error, error
        ctypes.memmove(output.ctypes.data, result, output.nbytes)
        self.c.emulationReset()
        return status

    def enqueue_at(
        self, tensors: Sequence[Tensor], addresses: Sequence[int], output: int, workspace: int | None, stream: int = 0
    ) -> int:
        """Enqueue on a stream, with the tensors at addresses of the device; 0 where it is enqueued."""
        pointers = (ctypes.c_void_p * len(addresses))(*addresses)
        places = (ctypes.c_void_p(output), ctypes.c_void_p(workspace), ctypes.c_void_p(stream))
        return int(self.c.harnessEnqueue(self.address, _describe(tensors), len(addresses), pointers, *places))

    def _allocate(self, size: int) -> int:
        return int(self.c.emulationAllocate(b"buffer", ctypes.c_size_t(size), 0))
