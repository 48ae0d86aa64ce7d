"""What all drawings share: their style, and a figure as SVG that lies inside a page. Needs matplotlib."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Seen on white and on black, and told apart with any colour vision (Okabe and Ito's palette, its yellow darkened).
COLOURS = ("#2f7fc1", "#d9762b", "#009e73", "#b87aa6", "#56a6d9", "#a8901f", "#c14b55", "#7a8794")
# Text and axes are drawn in this colour, which an SVG then takes from the page around it.
_INK = "#010203"
_STYLE: dict[str, Any] = {
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.alpha": 0.2,
    "grid.color": _INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "edgefsa",
    "text.color": _INK,
    # A name is no formula, whatever dollars it holds.
    "text.parse_math": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
# Nothing that changes from run to run, and no addresses.
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in our style inside this context; letters that matplotlib's font lacks are left to the viewer's fonts."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def colour(index: int) -> str:
    """Return the colour of the line, point or bar with this number, as "#rrggbb"."""
    return COLOURS[index % len(COLOURS)]


def axes_of_size(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a new figure of so many inches, and its only axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def svg_of(figure: Figure, name: str, label: str) -> str:
    """Return a figure as one `<svg>` element, without script and without anything from elsewhere.

    `name` begins the ids inside, so that several drawings can stand in one page; `label` describes the drawing to
    those who cannot see it.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    drawn = file.getvalue()
    drawn = _REFERENCE.sub(rf"\g<1>{name}-", drawn[drawn.index("<svg") :]).replace(_INK, "currentColor")
    _, view, rest = re.split(r'viewBox="([^"]*)"', drawn, maxsplit=1)
    inside = rest[rest.index(">") + 1 :]
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} viewBox="{view}" role="img" aria-label="{escape(label)}">{inside}'
