"""Sample the machine in a thread of its own while something else runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol

from edgefsa.errors import InputError
from edgefsa.machine.telemetry.jetson_stats import open_jetson_stats
from edgefsa.machine.telemetry.nvml import open_nvml
from edgefsa.machine.telemetry.sample import Reading, Sample, Window, merged
from edgefsa.machine.telemetry.sysfs import SystemReader, open_rails, open_rapl
from edgefsa.machine.telemetry.tegrastats import open_tegrastats

SHORTEST_INTERVAL_S = 0.05
# Of the newest samples; at one a second these are over five hours.
KEPT_SAMPLES = 20_000


class Reader(Protocol):
    """What can say something about the machine at any moment; None or an empty Reading is no error."""

    name: str
    measures_power: bool

    def read(self) -> Reading:
        """Return what it can say now."""

    def close(self) -> None:
        """Let go of what it holds."""


class Telemetry:
    """Samples the machine every `interval_s` seconds between entering and leaving; every method is thread-safe.

    `open_readers` is called on entering. A field that no reader says is None in each sample; a machine of which nothing
    can be read gives such samples, and no error.
    """

    def __init__(self, open_readers: Callable[[], Iterable[Reader]], interval_s: float = 1.0) -> None:
        self._open_readers, self.interval_s = open_readers, interval_s
        self._readers: list[Reader] = []
        self._failed: set[str] = set()
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._stopping, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="edgefsa-telemetry", daemon=True)

    @property
    def measures_power(self) -> bool:
        """Whether some reader can say the power; false before entering."""
        return any(reader.measures_power for reader in self._readers)

    def latest(self) -> Sample | None:
        """Return the newest sample, None before the first."""
        with self._lock:
            return self._samples[-1] if self._samples else None

    def window(self, start_s: float, end_s: float | None = None) -> Window:
        """Summarise the samples between two times of time.monotonic, up to now where `end_s` is None.

        KEPT_SAMPLES are kept; what is older is not in a window.
        """
        with self._lock:
            samples = list(self._samples)
        return Window.of(samples, start_s, time.monotonic() if end_s is None else end_s)

    def __enter__(self) -> Telemetry:
        self._readers = list(self._open_readers())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for reader in self._readers:
            with contextlib.suppress(Exception):  # one that has failed may not be able to close
                reader.close()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            sample = merged(self._read(), time.monotonic())
            with self._lock:
                self._samples.append(sample)
            # A reader that was slow is not made up for by samples that lie closer.
            due = max(due + self.interval_s, time.monotonic())

    def _read(self) -> dict[str, Reading]:
        """Ask all readers; one that fails is left out from then on, since telemetry must not end what it watches."""
        readings = {}
        for reader in self._readers:
            if reader.name in self._failed:
                continue
            try:
                readings[reader.name] = reader.read()
            except Exception:  # a driver or a service that went away says so in its own kind of error
                self._failed.add(reader.name)
        return readings


def open_telemetry(interval_s: float = 1.0) -> Telemetry:
    """Return a context manager that samples this machine every `interval_s` seconds, 0.05 or more.

    On a Jetson it asks jetson-stats where that is installed and runs, else tegrastats, else the power monitors in
    /sys; elsewhere the CPU's energy counters (RAPL) where this user may read them. NVML (by the package nvidia-ml-py)
    says the state of the GPU, and its power unless the board's own monitors do. Temperatures, clocks, memory and
    signs of throttling come from /sys and /proc too.
    InputError for an interval that is too short.
    """
    if not interval_s >= SHORTEST_INTERVAL_S:
        raise InputError(f"telemetry every {interval_s} s is too often; give {SHORTEST_INTERVAL_S} s or more")
    return Telemetry(lambda: _readers_of_this_machine(interval_s), interval_s)


def _readers_of_this_machine(interval_s: float) -> list[Reader]:
    board = open_jetson_stats(interval_s) or open_tegrastats(interval_s) or open_rails()
    readers: list[Reader | None] = [board or open_rapl(), open_nvml(with_power=board is None), SystemReader()]
    return [reader for reader in readers if reader is not None]
