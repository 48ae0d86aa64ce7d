"""What a checkpoint file holds, with its tensors read when they are asked for, and nothing else brought to life.

PyTorch's files are a pickle beside raw storages, in a zip archive since 1.6 and one after the other before that. Of the
functions that a pickle calls only those that rebuild tensors mean something here; see `inert_pickle` for the rest.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import load
from torch import Tensor

from edgefsa.errors import CheckpointError
from edgefsa.models.inert_pickle import DAMAGED, ContentError, Global, read_pickle

_ZIP_MAGIC = b"PK\x03\x04"
_MOST_AXES = 64
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "BoolStorage": torch.bool, "UntypedStorage": torch.uint8},
    **{"LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16},
    **{"CharStorage": torch.int8, "ByteStorage": torch.uint8},
    **{"ComplexDoubleStorage": torch.complex128, "ComplexFloatStorage": torch.complex64},
    **{"QInt8Storage": torch.qint8, "QUInt8Storage": torch.quint8, "QInt32Storage": torch.qint32},
}
# Of the tensors that these make it is only said why no parameter can be made of them.
_FLAWS = {
    "torch._utils._rebuild_sparse_tensor": "not dense",
    "torch._utils._rebuild_sparse_csr_tensor": "not dense",
    "torch._utils._rebuild_nested_tensor": "not dense",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_meta_tensor_no_storage": "without values",
    "torch._utils._rebuild_wrapper_subclass": "without values",
}
_WRAPPING = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file: its shape is known, its values are read by `read`; or its `flaw`, in words, and neither."""

    shape: tuple[int, ...] = ()
    read: Callable[[], Tensor] = field(default=lambda: torch.empty(0), repr=False)
    flaw: str | None = None


@contextlib.contextmanager
def open_checkpoint(path: str | Path) -> Iterator[Any]:
    """Yield what a safetensors or PyTorch file holds: texts, numbers, lists, dicts, `Inert` and `StoredTensor`.

    Tensors can be read until the block ends. Raises CheckpointError where the file is missing, damaged, would run
    what no checkpoint runs, or is a TorchScript program.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            yield _content(file, safetensors=path.suffix == ".safetensors")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(f"cannot read {path}: {reason}; check the path") from error
    except ContentError as error:
        raise CheckpointError(f"{path} {error}") from error


def _content(file: IO[bytes], *, safetensors: bool) -> Any:
    try:
        if safetensors:
            return dict(load(file.read()))
        if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
            return _zip_content(zipfile.ZipFile(file))
        file.seek(0)
        return _legacy_content(file)
    except (ContentError, OSError):
        raise
    except Exception as error:  # bytes that are no checkpoint stop the readers in every way there is
        raise ContentError(DAMAGED) from error


class _Storages:
    """The raw storages of a file; tensors that share one share it again."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._known: dict[str, Tensor] = {}

    def values(self, key: str, dtype: torch.dtype, start: int, count: int) -> Tensor:
        """Read `count` values of `dtype` from the value `start` on."""
        if key not in self._known:
            data = bytearray(self._read(key))
            self._known[key] = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        stored, first, size = self._known[key], start * dtype.itemsize, count * dtype.itemsize
        if first < 0 or count < 0 or first + size > len(stored):
            raise ContentError(f"declares {count} values in a storage of {len(stored)} bytes; fetch or save it again")
        return stored[first : first + size].view(dtype)


@dataclass(frozen=True)
class _Storage:
    storages: _Storages
    key: str
    dtype: torch.dtype | None
    start: int
    count: int

    def tensor(self, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        count = self.count if self.dtype is None else self.count * self.dtype.itemsize // dtype.itemsize
        try:
            return self.storages.values(self.key, dtype, self.start, count).as_strided(shape, strides, offset)
        except (ContentError, OSError):
            raise
        except Exception as error:  # what torch says of numbers that contradict each other, or zipfile of damage
            raise ContentError(DAMAGED) from error


def _storage(storages: _Storages, identifier: Any) -> Any:
    """Take a storage out of a persistent id: "storage", type, key, device, values, and in old files a part of it."""
    if type(identifier) is tuple and len(identifier) == 4 and identifier[0] == "module":
        return identifier[1]  # the class of a pickled module, with its source
    if type(identifier) is not tuple or len(identifier) not in (5, 6) or identifier[0] != "storage":
        raise ContentError("refers to something else than a storage, which no checkpoint does; fetch it again")
    _, kind, key, _, count, *part = identifier
    if not isinstance(kind, Global) or type(key) is not str:
        raise ContentError(DAMAGED)
    _, start, count = part[0] if part and part[0] is not None else (key, 0, count)
    if type(start) is not int or type(count) is not int:
        raise ContentError(DAMAGED)
    return _Storage(storages, key, _DTYPES.get(kind.name.rpartition(".")[2]), start, count)


def _rebuilt(called: str, arguments: tuple[Any, ...]) -> StoredTensor | None:
    """Take a call for a tensor where it is one that rebuilds tensors, else None."""
    if called in _FLAWS:
        return StoredTensor(flaw=_FLAWS[called])
    if called in _WRAPPING and arguments and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    if called == "torch._tensor._rebuild_from_type_v2" and len(arguments) == 4 and isinstance(arguments[0], Global):
        return _rebuilt(arguments[0].name, arguments[2]) if isinstance(arguments[2], tuple) else None
    if called not in [f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")]:
        return None
    storage, offset, shape, strides, *rest = arguments
    dtype = _dtype(rest[2]) if called.endswith("_v3") else storage.dtype
    if dtype is None:
        return StoredTensor(flaw="of a type that is unknown here")
    if any(type(flags) is dict and flags for flags in rest[2:]):  # conjugated or negated when it is read
        return StoredTensor(flaw="not stored as its values")
    if len(shape) > _MOST_AXES or not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise ContentError(DAMAGED)
    return StoredTensor(shape, lambda: storage.tensor(dtype, offset, shape, strides))


def _dtype(value: Any) -> torch.dtype | None:
    found = getattr(torch, value.name.removeprefix("torch."), None) if isinstance(value, Global) else None
    return found if isinstance(found, torch.dtype) else None


def _zip_content(archive: zipfile.ZipFile) -> Any:
    names = set(archive.namelist())
    root = next(name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]).partition("/")[0]
    if f"{root}/constants.pkl" in names:
        raise ContentError(
            "is a TorchScript program, not a state dict; save torch.jit.load(FILE).state_dict() with torch.save"
        )

    def entry(name: str) -> bytes:
        info = archive.getinfo(f"{root}/{name}")
        if info.compress_type != zipfile.ZIP_STORED:  # PyTorch does not, and a few bytes could become gigabytes
            raise ContentError("is a compressed archive; save it again with torch.save")
        return archive.read(info)

    if f"{root}/byteorder" in names and entry("byteorder") != b"little":
        raise ContentError("is of a machine with another byte order; save it again on a little-endian one")
    storages = _Storages(lambda key: entry(f"data/{key}"))
    return _read(io.BytesIO(entry("data.pkl")), storages)


def _legacy_content(file: IO[bytes]) -> Any:
    if read_pickle(file) != _LEGACY_MAGIC or read_pickle(file) != _LEGACY_PROTOCOL:
        raise ContentError(DAMAGED)
    if read_pickle(file).get("little_endian") is not True:
        raise ContentError("is of a machine with another byte order; save it again on a little-endian one")
    places: dict[str, tuple[int, int]] = {}

    def stored(key: str) -> bytes:
        start, size = places[key]
        file.seek(start)
        return file.read(size)

    sizes: dict[str, int] = {}
    content = _read(file, _Storages(stored), sizes)
    for key in read_pickle(file):
        (count,) = struct.unpack("<Q", file.read(8))
        if type(key) is not str:
            raise ContentError(DAMAGED)
        places[key] = (file.tell(), count * sizes[key])
        file.seek(count * sizes[key], io.SEEK_CUR)
    return content


def _read(file: IO[bytes], storages: _Storages, sizes: dict[str, int] | None = None) -> Any:
    """Read the pickle; `sizes` gets the bytes of one value of each storage."""

    def persistent(identifier: Any) -> Any:
        found = _storage(storages, identifier)
        if sizes is not None and isinstance(found, _Storage):
            sizes[found.key] = found.dtype.itemsize if found.dtype else 1
        return found

    return read_pickle(file, persistent=persistent, rebuild=_rebuilt)
