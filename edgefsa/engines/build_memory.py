"""How much memory a build or a calibration needs, said before it starts. Used at build time only; needs onnx.

An estimate is a sum of parts, and each says whether it was measured, assumed or chosen. The measured ones bound the
peak resident memory of whole processes from above, as benchmarks/build_memory.py measures it
(benchmarks/results/build-memory.json): the largest of the graphs and targets there decided each factor.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefsa.machine.memory import Memory, memory

if TYPE_CHECKING:
    import onnx

MEASURED, ASSUMED, CHOSEN = "measured", "assumed", "chosen"

# Megabytes for Python with NumPy, onnx and the runtimes, then copies of the weights, then copies of the activations:
# of all that the nodes make for a batch, and for a calibration of those that it looks at. Without ONNX Runtime a build
# is proved by NumPy, which keeps more of them.
BUILD_FACTORS = (330.0, 4.6, 1.0)
BUILD_FACTORS_BY_NUMPY = (330.0, 4.6, 1.8)
CALIBRATION_FACTORS = (220.0, 1.6, 3.5)


@dataclass(frozen=True)
class MemoryPart:
    """One part of an estimate: what takes the memory, how much (MB of 2**20), and how that is known."""

    what: str
    mb: float
    known: str


@dataclass(frozen=True)
class MemoryNeed:
    """An estimate of the memory that some work takes at its peak, as the sum of its parts; `work` names it."""

    work: str
    parts: tuple[MemoryPart, ...]

    @property
    def total_mb(self) -> float:
        """The sum in MB."""
        return sum(part.mb for part in self.parts)

    def in_words(self) -> str:
        """Say the sum and its parts in one line."""
        parts = " + ".join(f"{part.mb:.0f} for {part.what} ({part.known})" for part in self.parts)
        return f"{self.work} needs about {self.total_mb:.0f} MB: {parts}"

    def warning(self, here: Memory | None = None) -> str | None:
        """Return why it may not fit into the memory that is free (this machine's, or `here`), or None where it does.

        Swap on a disk counts as room; swap in the memory itself (zram) does not.
        """
        here = here or memory()
        if here is None:
            return None
        swap = max(0.0, here.swap_free_mb - here.zram_mb)
        if self.total_mb <= here.available_mb + swap:
            return None
        free = f"free are {here.available_mb:.0f} MB and {swap:.0f} MB of swap on a disk"
        return (
            f"{self.in_words()}; {free}. The system may end it half-way: end other programs (on a Jetson: sudo "
            "systemctl isolate multi-user.target), or add swap (`edgefsa doctor` says how)"
        )


def build_need(
    model: onnx.ModelProto, further: Sequence[MemoryPart] = (), *, by_numpy: bool | None = None
) -> MemoryNeed:
    """Estimate a build from an exported graph, its quantisation and proof included; `further` is the target's own.

    `by_numpy` says that NumPy proves it; None finds out whether ONNX Runtime is here.
    """
    from edgefsa.graph.sizes import activations_mb, weights_mb

    if by_numpy is None:
        by_numpy = importlib.util.find_spec("onnxruntime") is None
    base, weight_copies, copies = BUILD_FACTORS_BY_NUMPY if by_numpy else BUILD_FACTORS
    return MemoryNeed(
        "this build",
        (
            MemoryPart("Python and the runtimes", base, MEASURED),
            MemoryPart(f"{weight_copies:g} copies of the weights", weight_copies * weights_mb(model), MEASURED),
            MemoryPart(f"{copies:g} times the activations", copies * sum(activations_mb(model).values()), MEASURED),
            *further,
        ),
    )


def calibration_need(model: onnx.ModelProto, tensors: Sequence[str]) -> MemoryNeed:
    """Estimate a calibration that looks at `tensors` of an exported graph: it holds all of them for one batch."""
    from edgefsa.graph.sizes import activations_mb, weights_mb

    base, weight_copies, copies = CALIBRATION_FACTORS
    sizes = activations_mb(model)
    seen = sum(sizes.get(name, 0.0) for name in tensors)
    return MemoryNeed(
        "this calibration",
        (
            MemoryPart("Python and the runtimes", base, MEASURED),
            MemoryPart(f"{weight_copies:g} copies of the weights", weight_copies * weights_mb(model), MEASURED),
            MemoryPart(f"{copies:g} times the tensors that it looks at", copies * seen, MEASURED),
        ),
    )
