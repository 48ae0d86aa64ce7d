"""TensorRT's profiler: how long each layer of a run took."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


def profiler_of(tensorrt: Any) -> Any:
    """Return an IProfiler of the module `tensorrt` that keeps what it is told: `times_ms`, {layer: [milliseconds]}.

    A context with a profiler waits for each of its runs, and then reports the layers in their order.
    """

    class Profiler(tensorrt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProfiler.__init__(self)
            self.times_ms: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms[layer_name].append(float(ms))

    return Profiler()
