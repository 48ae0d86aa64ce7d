# SPDX-License-Identifier: Apache-2.0
"""Read the registers, shared memory and spills of every kernel in a build log, and fail where one spills.

Run: python3 plugins/check_spills.py build/plugins/build.log
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ENTRY = re.compile(r"Compiling entry function '(?P<name>[^']+)' for '(?P<arch>sm_\w+)'")
_SPILLS = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill"
)
_USED = re.compile(r"Used (?P<registers>\d+) registers(?:.*?(?P<shared>\d+) bytes smem)?")
# A return type, the project's namespace, the types of enums in template arguments, the list of parameters.
_NOISE = re.compile(r"^void |\([^()]*\)$|\(edgefsa::[\w:]+\)|edgefsa::")


@dataclass(frozen=True)
class Kernel:
    """One kernel on one architecture, as ptxas tells it; sizes in bytes."""

    name: str
    architecture: str
    registers: int
    shared: int
    stack: int
    spills: int


def kernels_in(log: str) -> list[Kernel]:
    """List the kernels of a log of `nvcc -Xptxas -v`; of one that was compiled twice, the last."""
    found: dict[tuple[str, str], Kernel] = {}
    entry, stack, spills = None, 0, 0
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            entry, stack, spills = (match["name"], match["arch"]), 0, 0
        elif match := _SPILLS.search(line):
            stack, spills = int(match["stack"]), int(match["stores"]) + int(match["loads"])
        elif (match := _USED.search(line)) and entry is not None:
            found[entry] = Kernel(*entry, int(match["registers"]), int(match["shared"] or 0), stack, spills)
            entry = None
    return list(found.values())


def plain_names(mangled: list[str]) -> dict[str, str]:
    """Return the kernels' C++ names without their parameters, where c++filt is installed."""
    if shutil.which("c++filt") is None:
        return {name: name for name in mangled}
    done = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True)
    names = [_NOISE.sub("", line) for line in done.stdout.splitlines()]
    return dict(zip(mangled, names, strict=True))


def main(paths: list[str]) -> int:
    """Print a table of the kernels in the logs; 1 where one of them spills or none is found."""
    kernels = kernels_in("\n".join(Path(path).read_text(encoding="utf-8", errors="replace") for path in paths))
    if not kernels:
        print(f"no kernel is in {' '.join(paths) or 'the logs, of which none was given'}; build from scratch first")
        return 1
    names = plain_names([kernel.name for kernel in kernels])
    for kernel in sorted(kernels, key=lambda item: (names[item.name], item.architecture)):
        spilled = f"  SPILLS {kernel.spills} bytes" if kernel.spills else ""
        print(
            f"{kernel.architecture.ljust(7)} {kernel.registers:4d} registers {kernel.shared:6d} bytes shared "
            f"{kernel.stack:5d} bytes stack  {names[kernel.name]}{spilled}"
        )
    spilling = [kernel for kernel in kernels if kernel.spills]
    print(f"{len(kernels)} kernels, {len(spilling)} of them spill")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
