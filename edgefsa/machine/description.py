"""The one description of this machine, as plain values and in words: what a measured figure belongs to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgefsa.machine import cpu, gpus
from edgefsa.machine.gpu_state import gpu_states, jetson_gpu_state, short_bus
from edgefsa.machine.jetson import jetson

PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "av", "openvino", "onnxruntime", "onnxruntime-gpu"),
    *("tensorrt", "tensorrt-rtx", "cuda-bindings", "pycuda", "torch", "onnx"),
)
# Of the instructions that multiply 8-bit integers, the first that a CPU has says what INT8 can gain.
_INT8_BY = {
    "amx_int8": "INT8 by AMX",
    "avx512_vnni": "INT8 by AVX-512 VNNI, no AMX",
    "avx_vnni": "INT8 by AVX-VNNI, no AMX",
    "i8mm": "INT8 by I8MM",
    "asimddp": "INT8 by dot products, no I8MM",
    "avx2": "no VNNI and no AMX: INT8 by 16-bit sums",
}


def machine_description() -> dict[str, Any]:
    """Describe this machine as plain values; no runtime is imported.

    Keys: "cpu" (its name), "architecture", "cpu_features" (of CPU_FEATURES), "cores", "cores_usable" (those this
    process may run on), "memory_gib", "board" (None but where it is named, as on a Jetson), "gpus" [{"name",
    "compute_capability", "memory_mb", "pci_bus_id"} and, where it can be read, the driver, clocks (MHz) and power
    limits (W) of this moment], "jetson" ({model, l4t, jetpack, power_mode} or None), "os", "python", "packages"
    {name: version}.
    """
    processor = cpu()
    return {
        "cpu": processor.name,
        "architecture": processor.architecture,
        "cpu_features": list(processor.features),
        "cores": os.cpu_count(),
        "cores_usable": usable_cores(),
        "memory_gib": _memory_gib(),
        "board": _text("/proc/device-tree/model").strip("\x00 \n") or None,
        "gpus": gpu_descriptions(),
        "jetson": jetson(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name, version in package_versions().items() if version},
    }


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_descriptions() -> list[dict[str, Any]]:
    """Describe the GPUs that the driver shows, with their clocks and power limits where these can be read."""
    if not gpus():
        return []
    states, onboard = gpu_states(), jetson_gpu_state() or {}
    return [{**asdict(gpu), **states.get(short_bus(gpu.pci_bus_id), {}), **onboard} for gpu in gpus()]


def package_versions() -> dict[str, str | None]:
    """Return the installed version of each of PACKAGES, None where it is missing."""
    return {name: _version_of(name) for name in PACKAGES}


def cpu_in_words(description: Mapping[str, Any]) -> str:
    """Say which CPU a description is of, how many cores were used, and what multiplies 8-bit integers on it."""
    words = [str(description["cpu"]), f"{description['cores_usable']} cores"]
    return ", ".join([*words, *filter(None, [int8_in_words(description.get("cpu_features", ()))])])


def int8_in_words(features: Collection[str]) -> str:
    """Say by which instructions a CPU with `features` multiplies 8-bit integers; empty where none is known."""
    return next((words for feature, words in _INT8_BY.items() if feature in features), "")


def gpu_in_words(gpu: Mapping[str, Any], board: Mapping[str, Any] | None = None) -> str:
    """Say which GPU it is and with which clocks and power it ran; `board` is the Jetson that it belongs to."""
    words = [str(gpu["name"]), f"compute capability {gpu['compute_capability']}", f"{gpu['memory_mb']} MB"]
    if gpu.get("driver"):
        words.append(f"driver {gpu['driver']}")
    for label, name, unit in (
        ("clock", "clock{}_mhz", "MHz"),
        ("memory clock", "memory_clock{}_mhz", "MHz"),
        ("power limit", "power_limit{}_w", "W"),
    ):
        now, highest = gpu.get(name.format("")), gpu.get(name.format("_max"))
        if now is not None:
            words.append(f"{label} {now:g}" + (f" of {highest:g}" if highest is not None else "") + f" {unit}")
    if board is not None:
        words.append(f"power mode {board.get('power_mode') or 'unknown'}")
    return ", ".join(words)


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory_gib() -> float | None:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20, 1)
    return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
