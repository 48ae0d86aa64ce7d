"""Readings of files that Linux keeps under /sys and /proc: temperatures, clocks, memory, throttling and power."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from edgefsa.machine.memory import memory
from edgefsa.machine.telemetry.sample import Reading

# Sensors that are off or broken say less or more than any chip that runs.
_TEMPERATURES_C = (-40.0, 150.0)
# Counts of events, of which each new one is throttling: over-current on a Jetson, heat on x86.
_EVENT_COUNTS = (
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
    "sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count",
)
# Beside the packages of a CPU, the memory's: it is not part of them, unlike the other parts.
_MEMORY_DOMAIN = "dram"
_WHOLE_PLATFORM = "psys"


class SystemReader:
    """Reads the temperatures, the CPU's clocks, the memory in use and signs of throttling."""

    name = "sysfs"
    measures_power = False

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._events = self._event_count()

    def read(self) -> Reading:
        """Return the state of now; throttling is seen by alerts that are on, and by events since the last reading."""
        here = memory(self._root)
        clocks = _numbers(self._root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
        return Reading(
            temperature_c=self._hottest(),
            cpu_clock_mhz=sum(clocks) / len(clocks) / 1000 if clocks else None,
            memory_used_mb=here.total_mb - here.available_mb if here else None,
            throttled=self._throttled(),
        )

    def close(self) -> None:
        """Nothing is open."""

    def _hottest(self) -> float | None:
        paths = [*self._root.glob("sys/class/thermal/thermal_zone*/temp")]
        paths += self._root.glob("sys/class/hwmon/hwmon*/temp*_input")
        low, high = _TEMPERATURES_C
        return max((value / 1000 for value in _numbers(paths) if low < value / 1000 < high), default=None)

    def _throttled(self) -> bool | None:
        alerts = [device for device in self._root.glob("sys/class/thermal/cooling_device*") if _is_alert(device)]
        states = _numbers(device / "cur_state" for device in alerts)
        before, self._events = self._events, self._event_count()
        if not states and self._events is None:
            return None
        return any(states) or (before is not None and self._events is not None and self._events > before)

    def _event_count(self) -> int | None:
        counts = _numbers(path for pattern in _EVENT_COUNTS for path in self._root.glob(pattern))
        return sum(counts) if counts else None


class RaplReader:
    """Reads the energy counters of CPU packages (RAPL): the power since the reading before."""

    name = "RAPL"
    measures_power = True

    def __init__(self, counters: dict[str, Path]) -> None:
        self._counters = counters
        self._before: dict[str, tuple[float, int]] = {}
        self.read()

    def read(self) -> Reading:
        """Return the mean power since the last reading; none for a counter that cannot be read any more."""
        rails = {}
        for name, folder in self._counters.items():
            now, energy_uj = time.monotonic(), _number(folder / "energy_uj")
            if energy_uj is None:
                continue
            then, before_uj = self._before.get(name, (now, energy_uj))
            self._before[name] = (now, energy_uj)
            if energy_uj < before_uj:  # the counter began again at 0
                before_uj -= _number(folder / "max_energy_range_uj") or before_uj - energy_uj
            if now > then:
                rails[name] = (energy_uj - before_uj) / 1e6 / (now - then)
        return Reading(rails_w=rails)

    def close(self) -> None:
        """Nothing is open."""


class RailReader:
    """Reads a Jetson's power monitors (INA3221, INA238) from hwmon, where no program of NVIDIA's can be asked."""

    name = "hwmon"
    measures_power = True

    def __init__(self, rails: dict[str, tuple[Path, ...]]) -> None:
        self._rails = rails

    def read(self) -> Reading:
        """Return the power of each rail: its monitor says it in µW, or the voltage in mV and the current in mA."""
        found = {}
        for name, paths in self._rails.items():
            values = _numbers(paths)
            if len(values) == len(paths):
                found[name] = values[0] * values[1] / 1e6 if len(values) == 2 else values[0] / 1e6
        return Reading(rails_w=found)

    def close(self) -> None:
        """Nothing is open."""


def open_rapl(root: Path = Path("/")) -> RaplReader | None:
    """Find the energy counters of CPU packages and of memory; None where there are none that this user may read."""
    counters = {}
    for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")):
        name = _text(folder / "name")
        whole = folder.name.count(":") == 1 and not name.startswith(_WHOLE_PLATFORM)
        if (whole or name == _MEMORY_DOMAIN) and _number(folder / "energy_uj") is not None:
            package = folder.name.split(":")[1]
            counters[f"CPU {name}" if whole else f"memory of package-{package}"] = folder
    return RaplReader(counters) if counters else None


def open_rails(root: Path = Path("/")) -> RailReader | None:
    """Find a Jetson's power monitors; None where there are none."""
    rails: dict[str, tuple[Path, ...]] = {}
    for folder in sorted(root.glob("sys/class/hwmon/hwmon*")):
        kind = _text(folder / "name")
        if kind == "ina238":
            rails["VIN"] = (folder / "power1_input",)
        if kind != "ina3221":
            continue
        for label in sorted(folder.glob("in*_label")):
            channel, name = label.name.removeprefix("in").removesuffix("_label"), _text(label)
            # Channel 7 is the sum of the shunts, and NC is not connected.
            if channel in ("1", "2", "3") and name != "NC":
                rails[name] = (folder / f"in{channel}_input", folder / f"curr{channel}_input")
    return RailReader(rails) if rails else None


def _is_alert(device: Path) -> bool:
    return _text(device / "type").endswith("throttle-alert")


def _numbers(paths: Iterable[Path]) -> list[int]:
    return [value for value in map(_number, paths) if value is not None]


def _number(path: Path) -> int | None:
    with contextlib.suppress(ValueError):
        return int(_text(path))
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # also a sensor that is off: it answers with an error
        return ""
