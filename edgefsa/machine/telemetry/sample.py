"""One sample of a machine's state, and what the samples of a span of time say together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

# Each is the power that comes in at the board, of which the other rails are parts: on Thor's carrier board, on Orin
# Nano and NX, on boards before them.
_INPUT_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
# The memory's rail hangs on VIN_SYS_5V0, which is measured too.
_PART_OF_OTHERS = "VDDQ"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Reading:
    """What one reader can say at one moment; the fields are those of Sample, and `rails_w` are watts by rail."""

    rails_w: Mapping[str, float] = field(default_factory=dict)
    temperature_c: float | None = None
    cpu_clock_mhz: float | None = None
    gpu_clock_mhz: float | None = None
    memory_used_mb: float | None = None
    gpu_load: float | None = None
    dla_load: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True)
class Sample:
    """The state of the machine at `time_s` (of time.monotonic); a field is None where it cannot be read.

    `power_w` is the draw of what `power_of` names: the board's input, or the sum of the rails, GPUs and CPU packages
    that are measured. `temperature_c` is that of the hottest sensor, `cpu_clock_mhz` the mean of the cores that are on,
    `memory_used_mb` what is in use of the machine's memory, which a Jetson's GPU shares. Loads are 0 to 1.
    `throttled` says whether heat or a power limit held clocks down since the sample before. `source` names the readers.
    """

    time_s: float
    power_w: float | None = None
    temperature_c: float | None = None
    cpu_clock_mhz: float | None = None
    gpu_clock_mhz: float | None = None
    memory_used_mb: float | None = None
    gpu_load: float | None = None
    dla_load: float | None = None
    throttled: bool | None = None
    power_of: str = ""
    source: str = ""


@dataclass(frozen=True)
class Window:
    """What the samples of a span of `length_s` seconds say; a field is None where none of them says it.

    `power_w` is the mean over time, and `energy_j` that power over the whole window; both need two samples. Of the
    temperature and the memory in use it is the highest, of clocks and loads the mean; `throttled` is true where it was
    seen once.
    """

    length_s: float
    samples: int
    power_w: float | None
    energy_j: float | None
    temperature_c: float | None
    cpu_clock_mhz: float | None
    gpu_clock_mhz: float | None
    memory_used_mb: float | None
    gpu_load: float | None
    dla_load: float | None
    throttled: bool | None
    power_of: str
    source: str

    def as_dict(self) -> dict[str, Any]:
        """Return the window as plain values for JSON; `Window(**values)` is the window again."""
        return asdict(self)

    def in_words(self) -> str:
        """Say in one line what was measured; empty where nothing was."""
        values = [
            _words(self.power_w, f"{{:.2f}} W ({self.power_of})"),
            _words(self.temperature_c, "at most {:.0f} °C"),
            _words(self.cpu_clock_mhz, "CPU at {:.0f} MHz"),
            _words(self.gpu_clock_mhz, "GPU at {:.0f} MHz"),
            _words(self.gpu_load, "GPU load {:.0%}"),
            _words(self.dla_load, "DLA load {:.0%}"),
            _words(self.memory_used_mb, "{:.0f} MB of memory in use"),
            "THROTTLED by heat or a power limit" if self.throttled else None,
        ]
        return ", ".join(filter(None, values))

    @classmethod
    def of(cls, samples: Sequence[Sample], start_s: float, end_s: float) -> Window:
        """Summarise the samples that lie between two times of time.monotonic."""
        inside = [sample for sample in samples if start_s <= sample.time_s <= end_s]
        power = _mean_power(inside)
        throttled = _known(sample.throttled for sample in inside)
        return cls(
            length_s=end_s - start_s,
            samples=len(inside),
            power_w=power,
            energy_j=None if power is None else power * (end_s - start_s),
            temperature_c=_of(max, (sample.temperature_c for sample in inside)),
            cpu_clock_mhz=_of(_mean, (sample.cpu_clock_mhz for sample in inside)),
            gpu_clock_mhz=_of(_mean, (sample.gpu_clock_mhz for sample in inside)),
            memory_used_mb=_of(max, (sample.memory_used_mb for sample in inside)),
            gpu_load=_of(_mean, (sample.gpu_load for sample in inside)),
            dla_load=_of(_mean, (sample.dla_load for sample in inside)),
            throttled=any(throttled) if throttled else None,
            power_of=next((sample.power_of for sample in inside if sample.power_of), ""),
            source=inside[-1].source if inside else "",
        )


def merged(readings: Mapping[str, Reading], time_s: float) -> Sample:
    """Join what several readers (by name) said at one moment: of each field the first that says it, and all rails."""
    rails: dict[str, float] = {}
    for reading in readings.values():
        rails.update(reading.rails_w)
    power_w, names = total_power(rails)
    throttled = _known(reading.throttled for reading in readings.values())
    return Sample(
        time_s=time_s,
        power_w=power_w,
        temperature_c=_of(max, (reading.temperature_c for reading in readings.values())),
        cpu_clock_mhz=_first(reading.cpu_clock_mhz for reading in readings.values()),
        gpu_clock_mhz=_first(reading.gpu_clock_mhz for reading in readings.values()),
        memory_used_mb=_first(reading.memory_used_mb for reading in readings.values()),
        gpu_load=_first(reading.gpu_load for reading in readings.values()),
        dla_load=_first(reading.dla_load for reading in readings.values()),
        throttled=any(throttled) if throttled else None,
        power_of=names,
        source=", ".join(readings),
    )


def total_power(rails_w: Mapping[str, float]) -> tuple[float | None, str]:
    """Return the power of the whole from its rails (W), and which rails it is of; None where there are none."""
    for name in _INPUT_RAILS:
        if name in rails_w:
            return rails_w[name], name
    counted = {name: value for name, value in rails_w.items() if not name.startswith(_PART_OF_OTHERS)}
    return (sum(counted.values()), " + ".join(counted)) if counted else (None, "")


def _mean_power(samples: Sequence[Sample]) -> float | None:
    """Return the mean over time of the power (W), which is taken as linear between samples; None for fewer than two."""
    points = [(sample.time_s, sample.power_w) for sample in samples if sample.power_w is not None]
    span = points[-1][0] - points[0][0] if points else 0.0
    if span <= 0:
        return None
    pairs = itertools.pairwise(points)
    return sum((later - time) * (power + following) / 2 for (time, power), (later, following) in pairs) / span


def _known(values: Iterable[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def _of(summary: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return summary(known) if known else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _words(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)
