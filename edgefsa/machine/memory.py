"""The memory of this machine, and what of it programs may still take."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

LARGE_PAGES = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
_COMPRESSED_SWAP = "/dev/zram"


@dataclass(frozen=True)
class Memory:
    """Megabytes (of 2**20) as Linux says them; a Jetson's CPU and GPU share this memory.

    `available_mb` is what programs may still take without swapping, in a container no more than its limit leaves.
    `zram_mb` is the part of the swap that is memory itself, compressed.
    """

    total_mb: float
    available_mb: float
    swap_mb: float
    swap_free_mb: float
    zram_mb: float


def memory(root: Path = Path("/")) -> Memory | None:
    """Read the memory of now; None where the system does not say it."""
    values = meminfo_mb(root)
    if "MemTotal" not in values or "MemAvailable" not in values:
        return None
    limit_mb, left_mb = _container_mb(root / "sys/fs/cgroup")
    return Memory(
        total_mb=min(values["MemTotal"], limit_mb),
        available_mb=min(values["MemAvailable"], left_mb),
        swap_mb=values.get("SwapTotal", 0.0),
        swap_free_mb=values.get("SwapFree", 0.0),
        zram_mb=_zram_mb(root),
    )


def meminfo_mb(root: Path = Path("/")) -> dict[str, float]:
    """Read /proc/meminfo: megabytes (of 2**20) by name, empty where there is none."""
    values = {}
    for line in _lines(root / "proc/meminfo"):
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            values[name] = int(rest.split()[0]) / 1024
    return values


def peak_rss_mib(root: Path = Path("/")) -> float | None:
    """Return the most memory that this process has held so far, in MiB; None where the system does not say it."""
    # Of this program alone; what getrusage reports begins with the process that started it.
    peaks = (line for line in _lines(root / "proc/self/status") if line.startswith("VmHWM:"))
    return next((int(line.split()[1]) / 1024 for line in peaks), None)


def unused_large_pages(root: Path = Path("/")) -> str | None:
    """Return the environment's setting that gives a program's arrays large pages, where it helps and is not made.

    The C library (glibc 2.35 and later) asks for them only then, and a kernel that gives them on demand does not else.
    """
    library, version = platform.libc_ver()
    numbers = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    given = "".join(_lines(root / "sys/kernel/mm/transparent_hugepage/enabled"))
    if library != "glibc" or numbers < [2, 35] or "[madvise]" not in given:
        return None
    return None if "glibc.malloc.hugetlb" in os.environ.get("GLIBC_TUNABLES", "") else LARGE_PAGES


def _zram_mb(root: Path) -> float:
    rows = [line.split() for line in _lines(root / "proc/swaps")[1:]]
    return sum(int(row[2]) / 1024 for row in rows if len(row) > 2 and row[0].startswith(_COMPRESSED_SWAP))


def _container_mb(folder: Path) -> tuple[float, float]:
    """Return the memory that this container may take (MB), and what is left of it; infinite without a limit."""
    limit, used = ("".join(_lines(folder / name)).strip() for name in ("memory.max", "memory.current"))
    if not (limit.isdecimal() and used.isdecimal()):  # "max" is none
        return math.inf, math.inf
    cached = [line.split()[1] for line in _lines(folder / "memory.stat") if line.startswith("inactive_file ")]
    left = int(limit) - int(used) + sum(map(int, cached))  # files in the cache make way
    return int(limit) / 2**20, max(0, left) / 2**20


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
