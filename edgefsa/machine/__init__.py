"""Facts of this machine that decide whether an engine runs here: CPU features and NVIDIA GPUs.

Read from /proc/cpuinfo and from the CUDA driver library itself, so nothing has to be installed.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# What decides how fast, and in which types, a CPU multiplies matrices; in Linux's spelling.
CPU_FEATURES = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
# Compute type -> groups of features; of each group the first that a CPU has is the one its kernels are built on.
_FEATURES_OF_TYPE = {
    "int8": (("avx512_vnni", "avx_vnni", "asimddp"), ("i8mm",)),
    "bf16": (("avx512_bf16", "bf16"),),
    "f16": (("avx512_fp16", "asimdhp"),),
}
_AMX_OF_TYPE = {"int8": "amx_int8", "bf16": "amx_bf16", "f16": "amx_fp16"}


@dataclass(frozen=True)
class Cpu:
    """A CPU as its operating system describes it; `features` is the part of CPU_FEATURES that it has."""

    name: str
    architecture: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU; `compute_capability` as in "8.9", `pci_bus_id` as in "0000:01:00.0", empty where it is unknown."""

    name: str
    compute_capability: str
    memory_mb: int
    pci_bus_id: str = ""


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Read what this machine's CPU is and can do; without /proc/cpuinfo the features stay empty."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip().lower(), value.strip())
    flags = set((values.get("flags") or values.get("features") or "").split())
    name = values.get("model name") or values.get("model") or platform.processor() or "unknown"
    return Cpu(name, platform.machine(), tuple(item for item in CPU_FEATURES if item in flags))


def features_relied_on(types: Iterable[str], kernels: Iterable[str], here: Cpu) -> list[str]:
    """Give the CPU features that an engine's proof of precision and speed rests on.

    `types` are the compute types of its layers ("int8", "bf16", "f16"; others rely on nothing) and `kernels`
    the runtime's names of what it ran, which tell whether AMX was used.
    """
    uses_amx = any("amx" in kernel for kernel in kernels)
    found = []
    for kind in sorted(set(types)):
        for group in _FEATURES_OF_TYPE.get(kind, ()):
            found += [feature for feature in group if feature in here.features][:1]
        if uses_amx and _AMX_OF_TYPE.get(kind) in here.features:
            found.append(_AMX_OF_TYPE[kind])
    return found


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """List the NVIDIA GPUs that the driver shows to this process; empty where there is no driver."""
    driver = _cuda_driver()
    if driver is None or driver.cuInit(0) != 0:
        return ()
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def driver_cuda() -> tuple[int, int] | None:
    """Give the CUDA release that the driver belongs to, as (12, 6); None where there is no driver."""
    driver, version = _cuda_driver(), ctypes.c_int()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _cuda_driver() -> ctypes.CDLL | None:
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    device, value = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(name, len(name), device)
    capability = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(str(value.value))
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    bus = ctypes.create_string_buffer(32)
    driver.cuDeviceGetPCIBusId(bus, len(bus), device)
    return Gpu(
        name.value.decode(errors="replace"),
        ".".join(capability),
        memory.value >> 20,
        bus.value.decode(errors="replace"),
    )
