"""Power, temperature, clocks, memory and load of this machine, sampled while something runs on it."""

from __future__ import annotations

from edgefsa.machine.telemetry.energy import Energy, energy_per_frame
from edgefsa.machine.telemetry.sample import Sample, Window
from edgefsa.machine.telemetry.sampler import Telemetry, open_telemetry

__all__ = ["Energy", "Sample", "Telemetry", "Window", "energy_per_frame", "open_telemetry"]
