"""Measure in several power modes of a Jetson, and put back the one that was."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeVar

from edgefsa.errors import InputError
from edgefsa.machine.nvpmodel import PowerMode, current_power_mode, find_power_mode, power_modes, set_power_mode

# After a switch clocks, cores and the fan's control find their new state.
SETTLE_S = 5.0
# What ends a program that people started, also by the end of their connection to the board.
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

Result = TypeVar("Result")


def modes_from_text(text: str, root: Path = Path("/")) -> list[PowerMode]:
    """Return the power modes that "15W,25W,MAXN" names; InputError where nvpmodel is missing or a mode is unknown."""
    if current_power_mode() is None:
        raise InputError("nvpmodel is not here or does not say the power mode; --power-modes is for a Jetson")
    known = power_modes(root)
    found = []
    for name in (part.strip() for part in text.split(",")):
        mode = find_power_mode(name, known)
        if mode is None:
            names = ", ".join(item.name for item in known) or "none that can be read"
            raise InputError(f"power mode {name or '(empty)'} is not one of this board's, which are {names}")
        found.append(mode)
    return found


def measured_in(modes: Sequence[PowerMode], measure: Callable[[PowerMode], Result]) -> list[tuple[PowerMode, Result]]:
    """Switch to each mode, wait for SETTLE_S seconds, and measure; the mode that was is put back in any case.

    That is after an error, Ctrl-C, SIGTERM and the end of the terminal too. To be called in the main thread.
    """
    results = []
    with _mode_put_back():
        for mode in modes:
            with _undisturbed():
                set_power_mode(mode)
            time.sleep(SETTLE_S)
            results.append((mode, measure(mode)))
    return results


@contextlib.contextmanager
def _mode_put_back() -> Iterator[None]:
    before = current_power_mode()
    if before is None:
        raise InputError("nvpmodel does not say the power mode, so it could not be put back; --power-modes is off")
    hang_up = signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    try:
        yield
    finally:
        with _undisturbed():
            set_power_mode(before)
        signal.signal(signal.SIGHUP, hang_up)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold what would end this program back until the block is through."""
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {number: signal.signal(number, hold) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)
