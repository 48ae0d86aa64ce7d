"""A Jetson's power modes, by NVIDIA's nvpmodel and its configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgefsa.machine.gpu_state import Ask, output_of

CONFIGURATION = "etc/nvpmodel.conf"
_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", re.MULTILINE)
_CURRENT = re.compile(r"NV Power Mode: *(\S+)\s+(\d+)")
# "MODE_30W" of AGX Orin is called 30W by people, and "MAXN_SUPER" of Orin Nano and NX MAXN.
_PREFIX, _UNLIMITED = "MODE_", "MAXN"


@dataclass(frozen=True)
class PowerMode:
    """One power mode: its number for nvpmodel, and its name."""

    number: int
    name: str


def power_modes(root: Path = Path("/")) -> list[PowerMode]:
    """List the modes of nvpmodel's configuration; empty where there is none."""
    try:
        text = (root / CONFIGURATION).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [PowerMode(int(number), name) for number, name in _MODE.findall(text)]


def current_power_mode(ask: Ask = output_of) -> PowerMode | None:
    """Ask nvpmodel which mode is on; None where it does not say."""
    found = _CURRENT.search(ask(["nvpmodel", "-q"]))
    return PowerMode(int(found[2]), found[1]) if found else None


def find_power_mode(asked: str, modes: list[PowerMode]) -> PowerMode | None:
    """Return the mode that `asked` means: a name as configured, "30W" for MODE_30W, or MAXN for MAXN_SUPER; or None."""
    wanted = asked.upper()
    for mode in modes:
        if wanted in (mode.name.upper(), mode.name.upper().removeprefix(_PREFIX)):
            return mode
    unlimited = [mode for mode in modes if mode.name.upper().startswith(_UNLIMITED)]
    return unlimited[0] if wanted == _UNLIMITED and len(unlimited) == 1 else None


def unlimited_mode(modes: list[PowerMode]) -> PowerMode | None:
    """Return the mode without a power budget (MAXN or MAXN_SUPER), or None where the board has none."""
    return next((mode for mode in modes if mode.name.upper().startswith(_UNLIMITED)), None)
