"""The log of a run: one row an epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from edgefsa.artifacts import atomic_file

# epoch, step, loss (mean over the epoch), learning_rate, and "miou NAME", "pixel_accuracy NAME" (0 to 1) of each
# val set where it was evaluated.
Row = dict[str, float]


def write_log(path: Path, history: list[Row]) -> None:
    """Write the rows as CSV, whole or not at all; what an epoch did not measure stays empty."""
    names = list(dict.fromkeys(name for row in history for name in row))
    with atomic_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: f"{value:.9g}" for name, value in row.items()} for row in history)
