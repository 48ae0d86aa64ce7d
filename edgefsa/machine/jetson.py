"""Which Jetson this is, from the files that Jetson Linux puts there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgefsa.machine.gpu_state import Ask, output_of

# Jetson Linux (L4T) release -> JetPack, as both are named together in NVIDIA's JetPack archive. Of a release that is
# not listed only the generation is known.
_JETPACK_OF_L4T = {
    "38.4": "7.1",
    "38.2.1": "7.0",
    "38.2": "7.0",
    "36.4.4": "6.2.1",
    "36.4.3": "6.2",
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
_GENERATIONS = {"38": "7", "36": "6", "35": "5", "32": "4"}
_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_POWER_MODE = re.compile(r"NV Power Mode: *(\S+)")


def jetson(root: Path = Path("/"), ask: Ask = output_of) -> dict[str, Any] | None:
    """Return a Jetson's {"model", "l4t", "jetpack", "power_mode"}, each None where it is unknown; None elsewhere.

    `root` is where the file system begins, `ask` runs a program and returns its standard output.
    """
    board = _text(root / "proc/device-tree/model").replace("\0", "").strip()
    release = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    if release is None and not re.search("jetson", board, re.IGNORECASE):
        return None
    l4t = f"{release[1]}.{release[2]}" if release else None
    mode = _POWER_MODE.search(ask(["nvpmodel", "-q"]))
    return {
        "model": board or None,
        "l4t": l4t,
        "jetpack": jetpack_of(l4t) if l4t else None,
        "power_mode": mode[1] if mode else None,
    }


def jetpack_of(l4t: str) -> str | None:
    """Return the JetPack version of a Jetson Linux release ("36.4.3" -> "6.2"), else its generation ("6"), or None."""
    listed = _JETPACK_OF_L4T.get(l4t.removesuffix(".0"))
    return listed or _GENERATIONS.get(l4t.partition(".")[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
