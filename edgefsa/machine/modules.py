"""The Jetson modules by their ids, and what a system on chip can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODULE_ID = re.compile(r"\bp(\d{4})-(\d{4})")
_SOC = re.compile(r"\bnvidia,(tegra\d+)")


@dataclass(frozen=True)
class Module:
    """A module: its name, and how many DLA cores it has."""

    name: str
    dla_cores: int


# As NVIDIA's quick start and the modules' data sheets name them.
MODULES = {
    "p3701-0000": Module("Jetson AGX Orin developer kit", 2),
    "p3701-0004": Module("Jetson AGX Orin 32GB", 2),
    "p3701-0005": Module("Jetson AGX Orin 64GB", 2),
    "p3701-0008": Module("Jetson AGX Orin Industrial", 2),
    "p3767-0000": Module("Jetson Orin NX 16GB", 2),
    "p3767-0001": Module("Jetson Orin NX 8GB", 1),
    "p3767-0003": Module("Jetson Orin Nano 8GB", 0),
    "p3767-0004": Module("Jetson Orin Nano 4GB", 0),
    "p3767-0005": Module("Jetson Orin Nano 8GB developer kit", 0),
    "p3834-0008": Module("Jetson AGX Thor developer kit (T5000)", 0),
}
CAPABILITY_OF_SOC = {"tegra234": "8.7", "tegra264": "11.0"}


def module_id(compatible: str) -> str | None:
    """Return the module's id ("p3767-0005") from the device tree's `compatible`; None where it names none.

    `compatible` is "nvidia,CARRIER+MODULE", "nvidia,MODULE", "nvidia,SOC", each with a NUL behind it; some have no
    entry of the module alone.
    """
    ids = ["p{}-{}".format(*found) for found in _MODULE_ID.findall(compatible.split("\0")[0])]
    return ids[-1] if ids else None


def soc_name(compatible: str) -> str | None:
    """Return the system on chip ("tegra234") from the device tree's `compatible`; None where it names none."""
    found = _SOC.search(compatible)
    return found[1] if found else None
