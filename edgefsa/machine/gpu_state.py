"""What clocks and power limits the GPUs run with, as nvidia-smi says it, or the device tree's clocks on a Jetson."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# What nvidia-smi is asked for -> the name here; numbers are MHz and watts.
_FIELDS = {
    "clocks.sm": "clock_mhz",
    "clocks.max.sm": "clock_max_mhz",
    "clocks.mem": "memory_clock_mhz",
    "clocks.max.mem": "memory_clock_max_mhz",
    "power.limit": "power_limit_w",
    "power.max_limit": "power_limit_max_w",
}
_JETSON_GPUS = ("*.gpu", "*.ga10b", "gpu-gpc-0", "*.gv11b", "*.gp10b")

Ask = Callable[[Sequence[str]], str]


def output_of(command: Sequence[str]) -> str:
    """Return the standard output of a program; empty where it is missing, fails to start or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def gpu_states(ask: Ask = output_of) -> dict[str, dict[str, Any]]:
    """Read the state of each GPU by its PCI bus number ("01:00.0"), empty without nvidia-smi.

    The values are "driver" (its version) and those of _FIELDS as they are now; None where the GPU does not say.
    """
    fields = ["pci.bus_id", "driver_version", *_FIELDS]
    text = ask(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
    states = {}
    for line in text.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == len(fields):
            numbers = {name: _number(value) for name, value in zip(_FIELDS.values(), values[2:], strict=True)}
            states[short_bus(values[0])] = {"driver": values[1], **numbers}
    return states


def short_bus(bus_id: str) -> str:
    """Return a PCI bus number without its domain, which nvidia-smi and CUDA write in different lengths."""
    return bus_id.partition(":")[2].lower()


def jetson_gpu_state(root: Path = Path("/")) -> dict[str, Any] | None:
    """Read the GPU's clock, and between which it may go, from where Jetson Linux keeps them; None elsewhere."""
    for pattern in _JETSON_GPUS:
        for folder in sorted((root / "sys/class/devfreq").glob(pattern)):
            files = {"clock_mhz": "cur_freq", "clock_min_mhz": "min_freq", "clock_max_mhz": "max_freq"}
            return {name: _megahertz(folder / file) for name, file in files.items()}
    return None


def _megahertz(path: Path) -> float | None:
    try:
        return round(int(path.read_text()) / 1e6, 1)
    except (OSError, ValueError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None
