"""The releases of JetPack, and what each of them brings."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Jetson Linux (L4T) release -> JetPack, as both are named together in NVIDIA's JetPack archive and on boards. Of a
# release that is not listed only the generation is known.
_JETPACK_OF_L4T = {
    "39.2.2": "7.2.2",
    "39.2.1": "7.2.1",
    "39.2": "7.2",
    "38.4": "7.1",
    "38.2.2": "7.0",
    "38.2.1": "7.0",
    "38.2": "7.0",
    "36.5.2": "6.2.3",
    "36.5": "6.2.2",
    "36.4.7": "6.2.1",
    "36.4.4": "6.2.1",
    "36.4.3": "6.2",
    "36.4.2": "6.1",
    "36.4": "6.1",
    "36.3": "6.0",
    "35.6": "5.1.4",
    "35.4.1": "5.1.2",
    "35.3.1": "5.1.1",
    "32.7.3": "4.6.3",
    "32.7.2": "4.6.2",
    "32.7.1": "4.6.1",
    "32.5.1": "4.5.1",
    "32.4.3": "4.4",
}
_GENERATIONS = {"39": "7", "38": "7", "36": "6", "35": "5", "32": "4"}


@dataclass(frozen=True)
class Brought:
    """What a JetPack brings: versions as "10.3", NumPy's being that of its Ubuntu, which JetPack's modules are for."""

    tensorrt: str
    cuda: str
    python: str
    numpy: str


_BROUGHT = {
    "6.0": Brought(tensorrt="8.6", cuda="12.2", python="3.10", numpy="1.21"),
    "6.1": Brought(tensorrt="10.3", cuda="12.6", python="3.10", numpy="1.21"),
    "6.2": Brought(tensorrt="10.3", cuda="12.6", python="3.10", numpy="1.21"),
    "7.0": Brought(tensorrt="10.13", cuda="13.0", python="3.12", numpy="1.26"),
    "7.1": Brought(tensorrt="10.13", cuda="13.0", python="3.12", numpy="1.26"),
    "7.2": Brought(tensorrt="10.16", cuda="13.2", python="3.12", numpy="1.26"),
}
# The oldest and the newest that this table, and edgefsa, know of.
OLDEST, NEWEST = "6.0", "7.2.2"
# A newer TensorRT that NVIDIA offers for a JetPack, and the modules that it names for it.
ADDED_TENSORRT = {"7.2.2": ("11.4.1", ("AGX Orin", "Thor"))}


def jetpack_of(l4t: str) -> str | None:
    """Return the JetPack version of a Jetson Linux release ("36.4.3" -> "6.2"), else its generation ("6"), or None."""
    return _JETPACK_OF_L4T.get(l4t.removesuffix(".0")) or _GENERATIONS.get(l4t.partition(".")[0])


def brought_by(jetpack: str) -> Brought | None:
    """Return what a JetPack ("6.2.1") brings; None for one that is not known."""
    return _BROUGHT.get(".".join(jetpack.split(".")[:2]))


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, "10.16.2.10-1+cuda13.2" as (10, 16, 2, 10); empty where there are none.

    An epoch ("1:") of a Debian version is left out.
    """
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found[1].split(".")) if found else ()
