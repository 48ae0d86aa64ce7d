"""Readings of a GPU through NVIDIA's management library, by the package nvidia-ml-py."""

from __future__ import annotations

from typing import Any

from edgefsa.machine import gpus
from edgefsa.machine.telemetry.sample import Reading

# Why a GPU's clocks are lower than they could be: its power limit, heat, and the board's own brakes.
_THROTTLES = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")


class NvmlReader:
    """Reads one GPU, its power only where `with_power`; `nvml` is the module pynvml, already initialised."""

    name = "NVML"

    def __init__(self, nvml: Any, handle: Any, *, with_power: bool = True) -> None:
        self._nvml, self._handle = nvml, handle
        self.measures_power = with_power and self._asked("nvmlDeviceGetPowerUsage") is not None
        self._throttles = sum(getattr(nvml, f"nvmlClocksThrottleReason{name}", 0) for name in _THROTTLES)

    def read(self) -> Reading:
        """Return the state of now; what this GPU does not say stays None."""
        milliwatts = self._asked("nvmlDeviceGetPowerUsage") if self.measures_power else None
        temperature = self._asked("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)
        clock = self._asked("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM)
        load = self._asked("nvmlDeviceGetUtilizationRates")
        reasons = self._asked("nvmlDeviceGetCurrentClocksThrottleReasons")
        return Reading(
            rails_w={} if milliwatts is None else {"GPU board": milliwatts / 1000},
            temperature_c=None if temperature is None else float(temperature),
            gpu_clock_mhz=None if clock is None else float(clock),
            gpu_load=None if load is None else load.gpu / 100,
            throttled=None if reasons is None else bool(reasons & self._throttles),
        )

    def close(self) -> None:
        """Leave the library."""
        self._nvml.nvmlShutdown()

    def _asked(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._nvml, function)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None


def open_nvml(*, with_power: bool = True) -> NvmlReader | None:
    """Open the GPU that engines run on, the first that CUDA shows; None without a GPU or the package nvidia-ml-py."""
    if not gpus():
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByPciBusId(gpus()[0].pci_bus_id.encode())
        return NvmlReader(pynvml, handle, with_power=with_power)
    except pynvml.NVMLError:
        return None
