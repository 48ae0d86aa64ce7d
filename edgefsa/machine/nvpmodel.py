"""A Jetson's power modes, by NVIDIA's nvpmodel and its configuration."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgefsa.errors import InputError
from edgefsa.machine.gpu_state import Ask, output_of

CONFIGURATION = "etc/nvpmodel.conf"
# "< POWER_MODEL ID=0 NAME=15W >" in the file, "NVPM VERB: POWER_MODEL: ID=0 NAME=15W" as it is printed.
_MODE = re.compile(r"^(?!\s*#).*\bPOWER_MODEL:?\s+ID=(\d+)\s+NAME=(\S+)", re.MULTILINE)
_CURRENT = re.compile(r"NV Power Mode: *(\S+)\s+(\d+)")
_SWITCH_TIMEOUT_S = 60
# "MODE_30W" of AGX Orin is called 30W by people, and "MAXN_SUPER" of Orin Nano and NX MAXN.
_PREFIX, _UNLIMITED = "MODE_", "MAXN"


@dataclass(frozen=True)
class PowerMode:
    """One power mode: its number for nvpmodel, and its name."""

    number: int
    name: str


def power_modes(root: Path = Path("/"), ask: Ask = output_of) -> list[PowerMode]:
    """List the modes of nvpmodel's configuration, else those that it prints itself; empty where there are none."""
    try:
        text = (root / CONFIGURATION).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ask(["nvpmodel", "-p", "--verbose"])
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


def check_may_switch() -> None:
    """Let sudo ask for the password where this user is not root; InputError where it may not switch modes."""
    if os.geteuid() == 0:
        return
    try:
        allowed = subprocess.run(["sudo", "--validate"], check=False).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        raise InputError("switching power modes needs root, and sudo does not give it; run this as root")


def set_power_mode(mode: PowerMode) -> None:
    """Switch to a mode, by sudo where this user is not root; InputError where the board is then not in it.

    Some modes of some boards need a restart, for which nvpmodel asks: it is told no.
    """
    command = ["nvpmodel", "-m", str(mode.number)]
    try:
        done = subprocess.run(
            command if os.geteuid() == 0 else ["sudo", "--non-interactive", *command],
            input="no\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SWITCH_TIMEOUT_S,
            check=False,
            preexec_fn=os.setpgrp,  # a terminal's Ctrl-C goes to our group, and must not end a switch half-way
        )
        said = " ".join(done.stdout.split())
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if current_power_mode() != mode:
        by_hand = f"some modes need a restart; by hand: sudo nvpmodel -m {mode.number}"
        raise InputError(f"nvpmodel did not switch to {mode.name} ({said or 'it said nothing'}); {by_hand}")
