"""The CUDA launchers under C names, called through ctypes on the addresses of PyTorch tensors.

The parameter structures are read from the launchers' own headers, so there is no second list of their fields.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
from pathlib import Path
from typing import Any

from edgefsa.engines.tensorrt.plugins.cmake import build_command, configure_command
from edgefsa.engines.tensorrt.plugins.library import architecture_number
from edgefsa.engines.tensorrt.plugins.sources import sources_folder
from edgefsa.errors import BuildError

ROOT = Path(__file__).resolve().parents[1]
LIBRARY_NAME = "libedgefsa_kernels.so"
FLOAT, HALF, INT8 = 0, 1, 2
LINEAR, HWC8 = 0, 1
INDEX_INT32, INDEX_UINT8 = 0, 1

_STRUCT = re.compile(r"struct (\w+Params) \{(.*?)\n\};", re.DOTALL)
_FIELD = re.compile(
    r"^\s*(?P<type>[\w:\s]+?\s*\**)\s*(?P<name>\w+)(?:\[(?P<length>\w+)\])?\s*(?:=[^;]*)?;", re.MULTILINE
)
_SCALARS = {"int": ctypes.c_int, "float": ctypes.c_float, "bool": ctypes.c_bool}


def build_kernels(capability: str, folder: Path | None = None) -> Path:
    """Compile the kernels for GPUs of `capability` ("9.0") with CMake, what changed only; gives the library."""
    folder = folder or ROOT / "build" / f"kernels-sm_{capability.replace('.', '')}"
    configure = configure_command(sources_folder(), folder, architecture=architecture_number(capability))
    for command in ([*configure, "-DEDGEFSA_KERNELS_ONLY=ON"], build_command(folder, "edgefsa_kernels")):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"the kernels cannot be built: {' '.join((done.stdout + done.stderr).split())[-600:]}")
    return folder / LIBRARY_NAME


class Kernels:
    """The library of `build_kernels`."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def params(self, name: str, **values: Any) -> ctypes.Structure:
        """Give <name>Params with `values`; tensors stand for their addresses, what is not named is zero."""
        kind = structures()[f"{name}Params"]
        size = getattr(self._library, f"edgefsa{name}ParamsBytes")()
        assert size == ctypes.sizeof(kind), (
            f"{name}Params has {size} bytes, its header was read as {ctypes.sizeof(kind)}"
        )
        result = kind()
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
        function = getattr(self._library, f"edgefsa{name}WorkspaceBytes")
        function.restype = ctypes.c_size_t
        return int(function(ctypes.byref(params)))

    def launch(self, name: str, params: ctypes.Structure, workspace: int = 0, stream: int = 0) -> None:
        """Launch on a stream; the addresses are those of device memory. RuntimeError where CUDA refuses it."""
        function = getattr(self._library, f"edgefsaLaunch{name}")
        status = function(ctypes.byref(params), ctypes.c_void_p(workspace), ctypes.c_void_p(stream))
        if status != 0:
            raise RuntimeError(f"launch{name} gave cudaError {status}")


@functools.cache
def structures() -> dict[str, type[ctypes.Structure]]:
    """Return every structure of launch parameters that the kernels' headers define, by name."""
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
