"""How many bits the INT8 weights of an engine have.

Kernels for CPUs without dot-product instructions multiply unsigned activations with signed weights and add two
products in 16 bits, which saturate: 2 x 255 x 127 is 64770, and 32767 is the most. With weights of 7 bits, -64 to 64,
two products are 32640 at most, and every sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefsa.errors import InputError
from edgefsa.machine import sums_in_32_bits

if TYPE_CHECKING:
    from edgefsa.engines.target import Target

WEIGHT_BITS = (7, 8)


@dataclass(frozen=True)
class WeightBits:
    """The bits of INT8 weights, 7 or 8, and why."""

    bits: int = 8
    why: str = ""

    def in_words(self) -> str:
        """Return the bits and the reason for people."""
        return f"{self.bits} bits" + (f": {self.why}" if self.why else "")


def choose_weight_bits(target: Target, asked: int | None) -> WeightBits:
    """Return the bits that were asked for, or else the most that the kernels of `target` compute exactly here.

    Raises InputError for other numbers than 7 and 8, and for 8 where this CPU would saturate.
    """
    if asked is not None and asked not in WEIGHT_BITS:
        raise InputError(f"weights of {asked} bits are unknown; use {' or '.join(map(str, WEIGHT_BITS))}")
    if not target.int8_on_cpu:
        return WeightBits(asked or 8, "asked for" if asked else "")
    here = target.cpu()
    exact = sums_in_32_bits(here)
    if asked == 8 and not exact:
        raise InputError(
            f"weights of 8 bits give wrong sums here ({here.name} has no VNNI, AMX or dot products); leave "
            "--weight-bits out for 7 bits, or build on a CPU that has them"
        )
    if asked:
        return WeightBits(asked, "asked for")
    if exact:
        return WeightBits(8, "this CPU adds their products in 32 bits")
    return WeightBits(7, f"without VNNI, AMX or dot products 8 bits give wrong sums ({here.name})")
