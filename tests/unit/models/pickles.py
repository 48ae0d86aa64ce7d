"""Pickles that trainers write and attackers would, made without the classes and functions that they name."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Named:
    """Pickles as a call of `module.name` with `arguments`, and with `state` for the object that it makes."""

    def __init__(self, module: str, name: str, arguments: tuple[Any, ...] = (), state: Any = None) -> None:
        self.module, self.name, self.arguments, self.state = module, name, arguments, state


class _Function:
    """Pickles as a name alone."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Pickler(pickle._Pickler):
    """Python's own pickler, with the names of things that are not installed."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Function):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Named):
            self.save_reduce(_callable(obj), obj.arguments, obj.state, obj=obj)
        else:
            super().save(obj, save_persistent_id)

    def save_reduce(self, func: Any, args: Any, state: Any = None, *rest: Any, obj: Any = None, **options: Any) -> None:
        if not isinstance(func, _Function):
            super().save_reduce(func, args, state, *rest, obj=obj, **options)
            return
        self.save(func)
        self.save(args)
        self.write(pickle.REDUCE)
        self.memoize(obj)
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)

    def persistent_id(self, obj: Any) -> Any:
        return None


def _callable(obj: Named) -> _Function:
    return _Function(obj.module, obj.name)


class PickleModule:
    """What torch.save takes as its `pickle_module`."""

    __name__ = "pickle"
    Pickler = _Pickler

    @staticmethod
    def dump(value: Any, file: Any, protocol: int = 2) -> None:
        _Pickler(file, protocol).dump(value)


def save(content: Any, path: Path, *, legacy: bool = False) -> Path:
    """Save as torch.save does, with `Named` objects in it."""
    torch.save(content, path, pickle_module=PickleModule, _use_new_zipfile_serialization=not legacy)
    return path


def archive(path: Path, data: bytes, **storages: bytes) -> Path:
    """Write a PyTorch archive around a pickle made by hand."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("net/data.pkl", data)
        file.writestr("net/byteorder", b"little")
        for key, stored in storages.items():
            file.writestr(f"net/data/{key}", stored)
    return path


def tensor_pickle(count: int, shape: tuple[int, ...], strides: tuple[int, ...], key: str = "gamma") -> bytes:
    """Pickle {key: tensor} whose storage "s" is said to have `count` floats."""

    class Storage:
        pass

    class Pickler(_Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", _Function("torch", "FloatStorage"), "s", "cpu", count) if obj is Storage else None

    file = io.BytesIO()
    rebuilt = Named("torch._utils", "_rebuild_tensor_v2", (Storage, 0, shape, strides, False, None))
    Pickler(file, 2).dump({key: rebuilt})
    return file.getvalue()


def history_buffer(values: int = 5) -> Named:
    """Return what MMEngine's message hub holds for each logged value."""
    state = {
        "_max_length": 1000000,
        "_log_history": np.arange(values, dtype=np.float64),
        "_count_history": np.ones(values),
    }
    statistics = {"mean": _Function("mmengine.logging.history_buffer", "HistoryBuffer.mean")}
    buffer = Named("mmengine.logging.history_buffer", "HistoryBuffer", (), {**state, "_statistics_methods": statistics})
    return buffer


def memo_bomb(levels: int) -> bytes:
    """Pickle a tuple of tuples whose hash takes 2 ** levels steps, as the key of a dictionary."""
    data = pickle.EMPTY_TUPLE + b"q\x00"
    for _ in range(levels):
        data += b"h\x00h\x00" + pickle.TUPLE2 + b"q\x00"
    return b"\x80\x02}" + data + b"K\x01s."


def copies_bomb(entries: int, copies: int) -> bytes:
    """Pickle a long list of pairs, given to OrderedDict again and again."""
    pair = b"(X\x01\x00\x00\x00aK\x01l"
    data = b"\x80\x02](" + pair * entries + b"e\x85q\x00"
    return data + b"".join(b"ccollections\nOrderedDict\nh\x00R" for _ in range(copies)) + b"."


def legacy_header() -> bytes:
    """Return the first three pickles of PyTorch's format before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system))


def huge_string() -> bytes:
    """Pickle a text that is said to be 2 GB long."""
    return b"\x80\x02X" + struct.pack("<I", 0x7FFFFFFF) + b"short."
