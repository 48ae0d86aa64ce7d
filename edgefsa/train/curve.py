"""The picture of a run: its loss and its val mIoU over the epochs, drawn by matplotlib where that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgefsa.artifacts import atomic_file
from edgefsa.train.log import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = list[tuple[float, float]]
_SIZE_INCHES = (11.6, 4.6)
_FEW_POINTS = 30


def can_draw() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curve(path: Path, history: Sequence[Row], title: str, epochs: int) -> Path:
    """Draw the loss on the left and each val set's mIoU on the right, over `epochs` epochs, as a PNG.

    Written whole or not at all; an epoch without evaluation has no point on the right.
    """
    from matplotlib.figure import Figure

    from edgefsa.verify.figures import style

    losses = {"training loss": [(row["epoch"], row["loss"]) for row in history]}
    scores = {
        name.removeprefix("miou "): [(row["epoch"], 100 * row[name]) for row in history if name in row]
        for name in dict.fromkeys(name for row in history for name in row if name.startswith("miou "))
    }
    with style(), atomic_file(path) as partial:
        figure = Figure(figsize=_SIZE_INCHES, dpi=100, layout="constrained")
        figure.suptitle(title)
        left, right = figure.subplots(1, 2)
        _draw_panel(left, "training loss", losses, epochs, digits=3)
        _draw_panel(right, "val mIoU, %", scores, epochs, digits=1)
        figure.savefig(partial, format="png")
    return path


def _draw_panel(axes: Axes, label: str, lines: dict[str, Points], epochs: int, *, digits: int) -> None:
    """Draw lines over the epochs of the whole run; the legend has each one's last value."""
    from matplotlib.ticker import MaxNLocator

    from edgefsa.verify.figures import colour

    for index, (name, points) in enumerate(lines.items()):
        x, y = zip(*points, strict=True) if points else ((), ())
        last = f" {y[-1]:.{digits}f}" if points else ""
        mark = "o" if len(points) <= _FEW_POINTS else None
        axes.plot(x, y, color=colour(index), marker=mark, markersize=4, label=name + last)
    axes.set(xlim=(0, max(epochs, 1)), xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if lines:
        axes.legend(loc="best")
