"""Compile kernels for the host, each operator into one shared library together with the emulator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EMULATION = Path(__file__).resolve().parent
PLUGINS = EMULATION.parents[2] / "plugins"
# Of the sanitisers, those that need no runtime: a fault of theirs is a trap, which the emulator reports.
CHECKS = [
    "-fsanitize=alignment,bounds-strict,shift,integer-divide-by-zero,signed-integer-overflow",
    "-fsanitize-undefined-trap-on-error",
    "-ftrivial-auto-var-init=pattern",
]
FLAGS = ["-std=c++17", "-O1", "-g1", "-fPIC", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror"]
# Names that a process shares by default would make two builds of one kernel share their variables.
KERNEL_FLAGS = [
    "-fno-gnu-unique",
    "-fno-extern-tls-init",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    *CHECKS,
]


@dataclass(frozen=True)
class Operator:
    """A launcher in plugins/kernels: `launch<name>(const <name>Params&, void* workspace, cudaStream_t)`.

    `folder` lies below plugins/kernels, and holds `header` and `sources`. `pointers`, `integers` (enums too) and
    `floats` are the fields of <name>Params, elements of arrays as `mean[0]`; the compiler checks their names.
    `workspace` is the function that gives the bytes of workspace, empty for a launcher that needs none.
    """

    name: str
    folder: str
    header: str
    sources: tuple[str, ...]
    pointers: tuple[str, ...]
    integers: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    workspace: str = ""


def compiler() -> str | None:
    """Give the host compiler, if there is one."""
    return shutil.which("g++")


def build_emulator(folder: Path) -> list[Path]:
    """Compile the emulator itself; gives its object files."""
    objects = []
    for source in sorted(EMULATION.glob("*.cpp")):
        objects.append(folder / f"{source.stem}.o")
        _run([*FLAGS, "-I", EMULATION / "include", "-c", source, "-o", objects[-1]])
    return objects


def build_operator(operator: Operator, emulator: Sequence[Path], folder: Path, plugins: Path = PLUGINS) -> Path:
    """Compile an operator's sources as they are, and link them with the emulator; gives the library."""
    folder.mkdir(parents=True, exist_ok=True)
    binding = folder / "binding.cpp"
    binding.write_text(_binding(operator))
    includes: list[str | Path] = ["-I", EMULATION / "include", "-I", plugins, "-I", plugins / "kernels"]
    sources = [plugins / "kernels" / operator.folder / source for source in operator.sources]
    library = folder / f"{operator.name}.so"
    inputs: list[str | Path] = ["-x", "c++", *sources, binding, "-x", "none", *emulator]
    _run([*FLAGS, *KERNEL_FLAGS, *includes, "-shared", "-Wl,-Bsymbolic", *inputs, "-o", library])
    return library


def _binding(operator: Operator) -> str:
    fields = [(name, "void*") for name in operator.pointers]
    fields += [(name, "int") for name in operator.integers] + [(name, "float") for name in operator.floats]
    arguments = ", ".join(f"{kind} a{i}" for i, (_, kind) in enumerate(fields))
    sets = "".join(
        f"    params.{name} = static_cast<std::decay_t<decltype(params.{name})>>(a{i});\n"
        for i, (name, _) in enumerate(fields)
    )
    made = f"make({', '.join(f'a{i}' for i in range(len(fields)))})"
    workspace = f"edgefsa::{operator.workspace}(params)" if operator.workspace else "0"
    return f"""#include <type_traits>
#include "kernels/{operator.folder}/{operator.header}"
static edgefsa::{operator.name}Params make({arguments}) {{
    edgefsa::{operator.name}Params params = {{}};
{sets}    return params;
}}
extern "C" std::size_t operatorWorkspaceBytes({arguments}) {{
    [[maybe_unused]] const edgefsa::{operator.name}Params params = {made};
    return {workspace};
}}
extern "C" int operatorLaunch(void* workspace, {arguments}) {{
    return static_cast<int>(edgefsa::launch{operator.name}({made}, workspace, nullptr));
}}
"""


def _run(arguments: Sequence[str | Path]) -> None:
    command = [compiler() or "g++", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
