"""Facts of this machine that decide whether an engine runs here: CPU features and NVIDIA GPUs.

Read from /proc/cpuinfo and from the CUDA driver library itself, so nothing has to be installed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
# Any of these sums products of 8-bit integers in 32 bits. Without one, x86 adds two of them in 16 bits, which saturate.
_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
# The variables that limit oneDNN, the first that is set counts, and the features that are left by their value.
_ONEDNN_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_WITHOUT_AMX = tuple(feature for feature in CPU_FEATURES if not feature.startswith("amx"))
_ONEDNN_FEATURES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sse41", "avx"), ()),
    "avx2": ("avx2",),
    **dict.fromkeys(("avx2_vnni", "avx2_vnni_2"), ("avx2", "avx_vnni")),
    "avx512_core": ("avx2", "avx512f"),
    "avx512_core_vnni": ("avx2", "avx512f", "avx512_vnni"),
    "avx512_core_bf16": ("avx2", "avx512f", "avx512_vnni", "avx512_bf16"),
    **dict.fromkeys(("avx512_core_fp16", "avx10_1_512", "avx10_2", "avx10_2_512"), _WITHOUT_AMX),
    **dict.fromkeys(("avx512_core_amx", "avx10_1_512_amx"), (*_WITHOUT_AMX, "amx_tile", "amx_int8", "amx_bf16")),
}


@dataclass(frozen=True)
class Cpu:
    """A CPU as its operating system describes it; `features` is the part of CPU_FEATURES that it has."""

    name: str
    architecture: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU; `compute_capability` as in "8.9", `pci_bus_id` as in "0000:01:00.0", empty where it is unknown.

    An `integrated` one, as a Jetson's, has no memory of its own: it shares the machine's.
    """

    name: str
    compute_capability: str
    memory_mb: int
    pci_bus_id: str = ""
    integrated: bool = False


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


def cpu_of_onednn(here: Cpu, environment: Mapping[str, str] = os.environ) -> Cpu:
    """Return `here` with the features that oneDNN, and OpenVINO with it, uses under ONEDNN_MAX_CPU_ISA.

    Where that leaves features out, the variable stands behind the name. A value that oneDNN does not know changes
    nothing, as for oneDNN itself.
    """
    variable = next((name for name in _ONEDNN_VARIABLES if environment.get(name)), None)
    if variable is None:
        return here
    value = environment[variable]
    allowed = _ONEDNN_FEATURES.get(value.lower(), CPU_FEATURES)
    features = tuple(feature for feature in here.features if feature in allowed)
    if features == here.features:
        return here
    return replace(here, name=f"{here.name}, {variable}={value}", features=features)


def sums_in_32_bits(here: Cpu) -> bool:
    """Return whether a CPU adds products of 8-bit integers without saturation, as INT8 kernels need for 8-bit weights.

    False as well where its features are not known.
    """
    return any(feature in here.features for feature in _DOT_PRODUCTS)


def features_relied_on(types: Iterable[str], kernels: Iterable[str], here: Cpu) -> list[str]:
    """Return the CPU features that an engine's proof of precision and speed rests on.

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
    """Return the CUDA release that the driver belongs to, as (12, 6); None where there is no driver."""
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
    driver.cuDeviceGetAttribute(ctypes.byref(value), 18, device)  # CU_DEVICE_ATTRIBUTE_INTEGRATED
    integrated = value.value == 1
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    bus = ctypes.create_string_buffer(32)
    driver.cuDeviceGetPCIBusId(bus, len(bus), device)
    return Gpu(
        name.value.decode(errors="replace"),
        ".".join(capability),
        memory.value >> 20,
        bus.value.decode(errors="replace"),
        integrated,
    )
