"""Readings of jetson-stats (its Python module is jtop), where it is installed and its service runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from edgefsa.machine.telemetry.sample import Reading


class JetsonStatsReader:
    """Reads what the service of jetson-stats measured last; `source` is an open jtop."""

    name = "jetson-stats"
    measures_power = True

    def __init__(self, source: Any) -> None:
        self._source = source

    def read(self) -> Reading:
        """Return the state of now; jtop's powers are mW, its clocks kHz, its memory KB, its loads percent."""
        cores = [core["freq"]["cur"] for core in self._source.cpu["cpu"] if core.get("online") and "freq" in core]
        gpus = list(dict(self._source.gpu).values())
        gpu_clocks = [gpu["freq"]["cur"] for gpu in gpus if "cur" in gpu.get("freq", {})]
        loads = [gpu["status"]["load"] for gpu in gpus if "load" in gpu.get("status", {})]
        temperatures = [sensor["temp"] for sensor in self._source.temperature.values() if sensor.get("online", True)]
        used = dict(self._source.memory).get("RAM", {}).get("used")
        return Reading(
            rails_w=_rails(self._source.power),
            temperature_c=max(temperatures, default=None),
            cpu_clock_mhz=sum(cores) / len(cores) / 1000 if cores else None,
            gpu_clock_mhz=max(gpu_clocks) / 1000 if gpu_clocks else None,
            memory_used_mb=None if used is None else used / 1024,
            gpu_load=max(loads) / 100 if loads else None,
        )

    def close(self) -> None:
        """Leave the service."""
        self._source.close()


def _rails(power: Mapping[str, Any]) -> dict[str, float]:
    """Return watts by rail; what jtop takes out as the board's total is under that rail's own name."""
    rails = {name: rail["power"] / 1000 for name, rail in power.get("rail", {}).items() if "power" in rail}
    total = power.get("tot", {})
    return {**rails, total["name"]: total["power"] / 1000} if "name" in total else rails


def open_jetson_stats(interval_s: float) -> JetsonStatsReader | None:
    """Connect to the service of jetson-stats; None where it is not installed, does not run or does not let us in."""
    try:
        from jtop import JtopException, jtop
    except ImportError:
        return None
    with contextlib.suppress(JtopException, OSError):
        source = jtop(interval_s)
        source.start()
        return JetsonStatsReader(source)
    return None
