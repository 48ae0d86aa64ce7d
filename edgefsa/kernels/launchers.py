"""The CUDA launchers under C names, called through ctypes on the addresses of tensors in device memory.

The parameter structures are read from the launchers' own headers, so there is no second list of their fields. Imports
neither torch nor TensorRT.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from edgefsa.artifacts import atomic_directory
from edgefsa.cache import cache_folder
from edgefsa.engines.tensorrt.plugins.cmake import build_command, configure_command
from edgefsa.engines.tensorrt.plugins.library import architecture_number
from edgefsa.engines.tensorrt.plugins.sources import source_sha256, sources_folder
from edgefsa.errors import BuildError, InputError, PluginError

LIBRARY_NAME = "libedgefsa_kernels.so"
LIBRARY_VARIABLE = "EDGEFSA_KERNELS"
# The enums of types.h and upsample_argmax.h.
FLOAT, HALF, INT8 = 0, 1, 2
LINEAR, HWC8 = 0, 1
INDEX_INT32, INDEX_UINT8, INDEX_HALF = 0, 1, 2

_INVALID_VALUE = 1  # cudaErrorInvalidValue, which the launchers return for parameters that they do not serve
_STRUCT = re.compile(r"struct (\w+) \{(.*?)\n\};", re.DOTALL)
_FIELD = re.compile(
    r"^\s*(?P<type>[\w:\s]+?\s*\**)\s*(?P<name>\w+)(?:\[(?P<length>\w+)\])?\s*(?:=[^;]*)?;", re.MULTILINE
)
_SCALARS = {"int": ctypes.c_int, "float": ctypes.c_float, "bool": ctypes.c_bool}


class Kernels:
    """The library of the launchers, loaded from `path`."""

    def __init__(self, path: str | Path) -> None:
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise PluginError(
                f"cannot load the kernels ({error}); build them again, or unset {LIBRARY_VARIABLE}"
            ) from None
        self._checked: set[str] = set()

    def params(self, name: str, **values: Any) -> ctypes.Structure:
        """Return <name>Params with `values`; tensors stand for their addresses, what is not named is zero."""
        result = structures()[f"{name}Params"]()
        self._check_size(name, ctypes.sizeof(result))
        for key, value in values.items():
            assert not hasattr(value, "is_contiguous") or value.is_contiguous(), f"{key} has gaps or another order"
            field = getattr(result, key)
            if isinstance(field, ctypes.Array):
                field[:] = value
            else:
                setattr(result, key, value.data_ptr() if hasattr(value, "data_ptr") else value)
        return result

    def workspace_bytes(self, name: str, params: ctypes.Structure) -> int:
        """Return the bytes of workspace that a launch with `params` needs."""
        function = getattr(self._library, f"edgefsa{name}WorkspaceBytes", None)
        if function is None:  # a launcher that never needs one
            return 0
        function.restype = ctypes.c_size_t
        return int(function(ctypes.byref(params)))

    def launch(self, name: str, params: ctypes.Structure, workspace: int = 0, stream: int = 0) -> None:
        """Enqueue a launch on a stream; `workspace` is the address of device memory, 16-byte aligned.

        Raises InputError for parameters that the launcher does not serve, RuntimeError where CUDA fails.
        """
        function = getattr(self._library, f"edgefsaLaunch{name}")
        status = function(ctypes.byref(params), ctypes.c_void_p(workspace), ctypes.c_void_p(stream))
        if status == _INVALID_VALUE:
            sizes = {key: value for key, value in _values_of(params).items() if isinstance(value, int)}
            raise InputError(
                f"the kernel {name} does not serve {sizes}; its README in plugins/kernels lists its limits"
            )
        if status != 0:
            raise RuntimeError(f"launch{name} returned cudaError {status}")

    def _check_size(self, name: str, expected: int) -> None:
        if name in self._checked:
            return
        size = getattr(self._library, f"edgefsa{name}ParamsBytes")()
        if size != expected:
            raise PluginError(
                f"the library of the kernels was built from other sources: {name}Params has {size} bytes there and "
                f"{expected} here; build it again"
            )
        self._checked.add(name)


def _values_of(params: ctypes.Structure) -> dict[str, Any]:
    pointers = {name for name, kind in params._fields_ if kind is ctypes.c_void_p}  # type: ignore[misc]
    return {name: getattr(params, name) for name, _ in params._fields_ if name not in pointers}  # type: ignore[misc]


@functools.cache
def load_kernels(capability: str) -> Kernels:
    """Return the kernels for GPUs of `capability` ("9.0"): the library that EDGEFSA_KERNELS names, else built here.

    A build takes CMake 3.22, nvcc 12.2 and some minutes, once for each GPU and version of the sources; it stays in the
    user's cache. Raises PluginError where the library cannot be loaded, BuildError where it cannot be built.
    """
    given = os.environ.get(LIBRARY_VARIABLE)
    if given:
        return Kernels(given)
    folder = cache_folder("kernels") / f"sm_{architecture_number(capability)}-{source_sha256()[:16]}"
    if not (folder / LIBRARY_NAME).is_file():
        # Another process may build the same meanwhile; either's will do.
        with atomic_directory(folder, overwrite=True) as partial, tempfile.TemporaryDirectory() as scratch:
            shutil.copy2(build_kernels(str(architecture_number(capability)), Path(scratch)), partial)
    return Kernels(folder / LIBRARY_NAME)


def build_kernels(architectures: str, folder: Path) -> Path:
    """Compile the kernels in `folder`, what changed only, and return the library.

    `architectures` is as CMake has it: "90", "75-virtual" for PTX alone, several with semicolons. Raises BuildError
    with what is missing or failed.
    """
    configure = [*configure_command(sources_folder(), folder), f"-DCMAKE_CUDA_ARCHITECTURES={architectures}"]
    for command in ([*configure, "-DEDGEFSA_KERNELS_ONLY=ON"], build_command(folder, "edgefsa_kernels")):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise BuildError(
                f"{command[0]} is not here, and the kernels are built with it; install CMake and the CUDA toolkit, or "
                f"set {LIBRARY_VARIABLE} to a library that was built elsewhere"
            ) from None
        if done.returncode != 0:
            raise BuildError(f"the kernels cannot be built: {' '.join((done.stdout + done.stderr).split())[-600:]}")
    return folder / LIBRARY_NAME


@functools.cache
def structures() -> dict[str, type[ctypes.Structure]]:
    """Return every structure of the launchers' headers by name: parameters, and what is part of them."""
    found: dict[str, type[ctypes.Structure]] = {}
    # A folder's other headers are its own affair.
    headers = [folder / f"{folder.name}.h" for folder in sorted((sources_folder() / "kernels").iterdir())]
    for header in (header for header in headers if header.is_file()):
        text = re.sub(r"//[^\n]*", "", header.read_text(encoding="utf-8"))
        constants = {name: int(value) for name, value in re.findall(r"constexpr int (\w+) = (\d+);", text)}
        for name, body in _STRUCT.findall(text):
            fields = []
            for match in _FIELD.finditer(body):
                kind = _ctype(match["type"].strip(), found)
                length = match["length"]
                if length is not None:
                    kind = kind * (int(length) if length.isdigit() else constants[length])
                fields.append((match["name"], kind))
            found[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return found


def _ctype(text: str, structs: dict[str, type[ctypes.Structure]]) -> Any:
    if text.endswith("*"):
        return ctypes.c_void_p
    # The rest are enums, which the headers base on int32.
    return structs.get(text) or _SCALARS.get(text, ctypes.c_int32)
