"""Compile kernels for the host, each operator into one shared library together with the emulator.

What is compiled lies in one folder of the checkout, under the hash of its text and its compiler, so that no text is
compiled twice, in later runs of the tests either.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

EMULATION = Path(__file__).resolve().parent
PLUGINS = EMULATION.parents[2] / "plugins"
OBJECTS = EMULATION.parents[2] / ".pytest_cache" / "objects"
_KEPT_S = 14 * 86400
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
# With these, EmulatedOperator.accesses tells each access to dynamic shared memory. A pack of 16 bytes stays one access.
RECORDING = [
    *("-fsanitize=kernel-address", "--param=asan-instrumentation-with-call-threshold=0", "--param=asan-stack=0"),
    "-fno-tree-sra",
]


@dataclass(frozen=True)
class Operator:
    """A launcher in plugins/kernels: `launch<name>(const <name>Params&, void* workspace, cudaStream_t)`.

    `folder` lies below plugins/kernels, and holds `header` and `sources`. `pointers`, `integers` (enums too) and
    `floats` are the fields of <name>Params, elements of arrays as `mean[0]`; the compiler checks their names.
    `workspace` is the function that gives the bytes of workspace, empty for a launcher that needs none, and `served`
    the one that says which parameters the device in use takes, if there is one. `overlaps` is whether its launches may
    overlap, so that this can be switched off.
    """

    name: str
    folder: str
    header: str
    sources: tuple[str, ...]
    pointers: tuple[str, ...]
    integers: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    workspace: str = ""
    served: str = ""
    overlaps: bool = False


def compiler() -> str | None:
    """Return the host compiler, if there is one."""
    return shutil.which("g++")


@functools.cache
def objects_folder() -> Path:
    """Return the folder of what the tests compile, without what none of the last weeks asked for."""
    OBJECTS.mkdir(parents=True, exist_ok=True)
    for path in OBJECTS.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process clears it too
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink()
    return OBJECTS


@functools.cache
def version_of(program: str) -> str:
    """Return what a compiler says of itself."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[Path | None]:
    """Yield where to make a file that is to appear whole at `path`, or None where it is; one process at a time."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_file():
            path.touch()  # asked for last
            yield None
            return
        partial = path.with_suffix(".partial")
        yield partial
        partial.replace(path)


def compile_once(source: Path, flags: Sequence[str | Path], objects: Path, root: Path = PLUGINS) -> Path:
    """Return the object file of a source, compiling it if no source below any `root` has the same text and flags."""
    command = [*flags, "-x", "c++", source]
    text = _run([*command, "-E"]) + " ".join(map(str, flags)) + version_of(compiler() or "g++")
    for folder in (root, source.parent):
        text = text.replace(str(folder), "")
    result = objects / f"{source.stem}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.o"
    with made_once(result) as partial:
        if partial is not None:
            _run([*command, "-c", "-o", partial])
    return result


@functools.cache
def build_emulator(objects: Path) -> tuple[Path, ...]:
    """Compile the emulator itself; gives its object files."""
    flags: list[str | Path] = [*FLAGS, "-I", EMULATION / "include"]
    return tuple(compile_once(source, flags, objects) for source in sorted(EMULATION.glob("*.cpp")))


def build_kernels(
    sources: Sequence[Path], objects: Path, plugins: Path = PLUGINS, more_flags: Sequence[str] = ()
) -> list[Path]:
    """Compile kernels and their launchers as they are; gives their object files."""
    flags: list[str | Path] = [*FLAGS, *KERNEL_FLAGS, *more_flags, "-I", EMULATION / "include", "-I", plugins]
    flags += ["-I", plugins / "kernels"]
    return [compile_once(source, flags, objects, plugins) for source in sources]


def build_operator(
    operator: Operator, objects: Path, folder: Path, plugins: Path = PLUGINS, more_flags: Sequence[str] = ()
) -> Path:
    """Compile an operator's sources, and link them with the emulator; gives the library."""
    folder.mkdir(parents=True, exist_ok=True)
    binding = folder / "binding.cpp"
    binding.write_text(_binding(operator))
    sources = [plugins / "kernels" / operator.folder / source for source in operator.sources]
    return link(
        [*build_kernels([*sources, binding], objects, plugins, more_flags), *build_emulator(objects)],
        folder / operator.name,
    )


def build_launchers(objects: Path, folder: Path) -> Path:
    """Compile all kernels under the C names of plugins/bindings for the host; gives the library."""
    kernels = PLUGINS / "kernels"
    sources = [*sorted(kernels.glob("*/*.cu")), *sorted(kernels.glob("*/*.cpp")), PLUGINS / "bindings" / "bindings.cpp"]
    return link([*build_kernels(sources, objects), *build_emulator(objects)], folder / "kernels")


def link(inputs: Sequence[Path], stem: Path) -> Path:
    """Link object files into the shared library `stem`.so."""
    library = stem.with_suffix(".so")
    _run(["-shared", "-Wl,-Bsymbolic", *inputs, "-o", library])
    return library


_OVERLAP_SWITCH = """#include "kernels/overlapping_launches.h"
extern "C" void operatorAllowOverlap(int allowed) { edgefsa::overlapping_launches_allowed = allowed != 0; }
"""


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
    served = f"edgefsa::{operator.served}(params)" if operator.served else "true"
    overlap = _OVERLAP_SWITCH if operator.overlaps else ""
    return f"""#include <type_traits>
#include "kernels/{operator.folder}/{operator.header}"
{overlap}static edgefsa::{operator.name}Params make({arguments}) {{
    edgefsa::{operator.name}Params params = {{}};
{sets}    return params;
}}
extern "C" std::size_t operatorWorkspaceBytes({arguments}) {{
    [[maybe_unused]] const edgefsa::{operator.name}Params params = {made};
    return {workspace};
}}
extern "C" int operatorIsServed({arguments}) {{
    [[maybe_unused]] const edgefsa::{operator.name}Params params = {made};
    return {served};
}}
extern "C" int operatorLaunch(void* workspace, {arguments}) {{
    return static_cast<int>(edgefsa::launch{operator.name}({made}, workspace, nullptr));
}}
"""


def _run(arguments: Sequence[str | Path]) -> str:
    command = [compiler() or "g++", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout
