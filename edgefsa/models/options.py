"""Checks of the options of models and layers; each raises InputError with the option and its value."""

from __future__ import annotations

from edgefsa.errors import InputError


def check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise InputError where an option has none of its values."""
    if value not in choices:
        raise InputError(f"{option}={value!r} is unknown; choose {' or '.join(repr(item) for item in choices)}")


def check_whole(option: str, value: object, low: int, high: int | None = None) -> None:
    """Raise InputError where an option is no int of `low` to `high`, both included; True and 8.0 are none."""
    if type(value) is not int or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{option}={value!r} cannot be used; give a whole number {bounds}")


def check_flag(option: str, value: object) -> None:
    """Raise InputError where an option is neither True nor False."""
    if not isinstance(value, bool):
        raise InputError(f"{option}={value!r} is neither True nor False; give one of them")
