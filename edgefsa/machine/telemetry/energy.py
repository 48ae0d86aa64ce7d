"""What a frame costs in energy, above what the machine draws when it is idle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgefsa.errors import InputError
from edgefsa.machine.telemetry.sample import Window


@dataclass(frozen=True)
class Energy:
    """The energy of a frame (J): that of a window, less what the idle machine would have drawn, over its frames.

    `power_w` is the mean power over `window_s` seconds, `idle_power_w` the baseline, measured over `idle_s` seconds;
    `power_of` names what was measured. `throttled` says whether heat or a power limit held clocks down meanwhile, None
    where that is not known.
    """

    joules_per_frame: float
    frames: int
    window_s: float
    power_w: float
    idle_s: float
    idle_power_w: float
    power_of: str
    throttled: bool | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)

    def in_words(self) -> str:
        """Say it in one line, with the window, the baseline and throttling."""
        busy = f"{self.power_w:.2f} W over {self.window_s:.1f} s and {self.frames} frames"
        idle = f"idle {self.idle_power_w:.2f} W over {self.idle_s:.1f} s"
        text = f"{1000 * self.joules_per_frame:.1f} mJ a frame above idle: {busy}, {idle} ({self.power_of})"
        return text + (", THROTTLED by heat or a power limit" if self.throttled else "")


def energy_per_frame(busy: Window, idle: Window, frames: int) -> Energy | None:
    """Return the energy of each of the `frames` that were made in the window `busy`; None where no power was measured.

    `idle` is a window of the same machine with the same things loaded, in which nothing ran. Noise can make the result
    negative where a frame costs next to nothing. InputError where there are no frames.
    """
    if frames < 1:
        raise InputError(f"the energy of {frames} frames cannot be shared out; measure at least one frame")
    if busy.power_w is None or idle.power_w is None or busy.energy_j is None:
        return None
    return Energy(
        joules_per_frame=(busy.energy_j - idle.power_w * busy.length_s) / frames,
        frames=frames,
        window_s=busy.length_s,
        power_w=busy.power_w,
        idle_s=idle.length_s,
        idle_power_w=idle.power_w,
        power_of=busy.power_of,
        throttled=busy.throttled,
    )
