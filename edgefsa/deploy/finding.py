"""One finding of the doctor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """One finding: its level (ok, warning or problem), what it is, and the command that mends it, None where none does.

    A warning costs speed, a feature or certainty; a problem keeps something from working.
    """

    level: str
    what: str
    mend: str | None = None


def uninstall(packages: Iterable[str]) -> str:
    """Return the command that removes packages which pip installed."""
    return f"python -m pip uninstall --yes {' '.join(sorted(set(packages)))}"
