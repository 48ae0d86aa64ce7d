"""Which Jetson this is, from the files that Jetson Linux puts there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgefsa.machine.gpu_state import Ask, output_of
from edgefsa.machine.jetpack import jetpack_of
from edgefsa.machine.modules import CAPABILITY_OF_SOC, MODULES, module_id, soc_name
from edgefsa.machine.nvpmodel import current_power_mode, power_modes

_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_CORE_PACKAGE = "nvidia-l4t-core"


def jetson(root: Path = Path("/"), ask: Ask = output_of) -> dict[str, Any] | None:
    """Return what Jetson this is, each value None where it is unknown; None elsewhere.

    Keys: "model" (as the device tree names the board), "module_id" ("p3767-0005"), "module" (its name), "soc"
    ("tegra234"), "compute_capability" ("8.7"), "dla_cores", "l4t" ("36.4.3"), "jetpack" ("6.2"), "power_mode" (its
    name), "power_modes" {name: number for nvpmodel}. `root` is where the file system begins, `ask` runs a program and
    returns its standard output.
    """
    board = _text(root / "proc/device-tree/model").replace("\0", "").strip()
    compatible = _text(root / "proc/device-tree/compatible")
    l4t = _l4t(root, ask)
    if l4t is None and not re.search("jetson", board, re.IGNORECASE):
        return None
    identity, soc, mode = module_id(compatible), soc_name(compatible), current_power_mode(ask)
    module = MODULES.get(identity or "")
    return {
        "model": board or None,
        "module_id": identity,
        "module": module.name if module else None,
        "soc": soc,
        "compute_capability": CAPABILITY_OF_SOC.get(soc or ""),
        "dla_cores": module.dla_cores if module else None,
        "l4t": l4t,
        "jetpack": jetpack_of(l4t) if l4t else None,
        "power_mode": mode.name if mode else None,
        "power_modes": {item.name: item.number for item in power_modes(root, ask)},
    }


def _l4t(root: Path, ask: Ask) -> str | None:
    """Return the release of Jetson Linux from its own file, else (as in a container) from its core package."""
    release = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    if release is not None:
        return f"{release[1]}.{release[2]}"
    package = ask(["dpkg-query", "--show", "--showformat=${Version}", _CORE_PACKAGE])
    return package.partition("-")[0] or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
