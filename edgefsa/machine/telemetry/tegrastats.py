"""Readings of NVIDIA's tegrastats, which every Jetson has: it prints a line about the board at each interval."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading

from edgefsa.machine.telemetry.sample import Reading

_RAM = re.compile(r"\bRAM (\d+)/\d+MB")
_CORES = re.compile(r"\bCPU \[(.*?)\]")
_CORE_CLOCK = re.compile(r"%@(\d+)")
# "61%", "0%@114", "12%@[1300,1300]" with a clock for each cluster, and on Thor "@[1000,1000,1000]" without the load.
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?([\d,]+))?")
_DLA = re.compile(r"\bNVDLA\d+(?:_FREQ)? (?:off\b|(\d+)%)", re.IGNORECASE)
_TEMPERATURE = re.compile(r"\b([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C")
# "VDD_IN 5336/4970" of JetPack 4, "VDD_IN 3582mW/3522mW" of 5 and 6, and three values in 7: the first is that of now.
_RAIL = re.compile(r"\b((?:VDD|VIN|POM)\w*) (-?\d+)(?:mW)?/")
# A sensor that is off says -256, and the PMIC has none of its own.
_LOWEST_C = -100.0
_NO_SENSOR = "PMIC"


def reading_of_line(line: str) -> Reading:
    """Read one line of tegrastats, of JetPack 4 to 7; what it does not say stays None."""
    memory, cores, gpu = _RAM.search(line), _CORES.search(line), _GPU.search(line)
    clocks = [int(clock) for clock in _CORE_CLOCK.findall(cores[1])] if cores else []
    gpu_clocks = [int(clock) for clock in gpu[2].split(",") if clock] if gpu and gpu[2] else []
    temperatures = [float(value) for name, value in _TEMPERATURE.findall(line) if name != _NO_SENSOR]
    loads = [int(load or 0) / 100 for load in _DLA.findall(line)]
    return Reading(
        rails_w={name: int(milliwatts) / 1000 for name, milliwatts in _RAIL.findall(line)},
        temperature_c=max((value for value in temperatures if value > _LOWEST_C), default=None),
        cpu_clock_mhz=sum(clocks) / len(clocks) if clocks else None,
        gpu_clock_mhz=float(max(gpu_clocks)) if gpu_clocks else None,
        memory_used_mb=float(memory[1]) if memory else None,
        gpu_load=int(gpu[1]) / 100 if gpu and gpu[1] else None,
        dla_load=max(loads, default=None),
    )


class TegrastatsReader:
    """Runs tegrastats until it is closed, and reads its newest line."""

    name = "tegrastats"
    measures_power = True

    def __init__(self, interval_s: float) -> None:
        command = ["tegrastats", "--interval", str(max(1, round(1000 * interval_s)))]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._line = ""
        self._follower = threading.Thread(target=self._follow, name="edgefsa-tegrastats", daemon=True)
        self._follower.start()

    def read(self) -> Reading:
        """Return what the newest line says; nothing before the first line, and once the program has ended."""
        return reading_of_line(self._line)

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        self._process.wait()
        self._follower.join()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._line = line
        self._line = ""


def open_tegrastats(interval_s: float) -> TegrastatsReader | None:
    """Start tegrastats; None where it is not here or cannot be started."""
    if shutil.which("tegrastats") is None:
        return None
    try:
        return TegrastatsReader(interval_s)
    except OSError:
        return None
