"""What the doctor judges a machine by, read once; every reader can be pointed at a recorded machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefsa.machine import driver_cuda, gpus
from edgefsa.machine.cameras import Camera, cameras
from edgefsa.machine.gpu_state import Ask, jetson_gpu_state, output_of
from edgefsa.machine.installed import (
    OPENCV_PACKAGES,
    TENSORRT_PACKAGES,
    Environment,
    Installed,
    OpenCv,
    debian_packages,
    environment,
    open_cv,
    python_packages,
)
from edgefsa.machine.jetson import jetson
from edgefsa.machine.memory import Memory, memory

_OTHER_PACKAGES = ("numpy", "cuda-bindings", "pycuda")
_NVIDIA, _DISPLAY = "0x10de", "0x03"


@dataclass(frozen=True)
class Facts:
    """A machine's facts: `jetson` as of machine.jetson, `gpu_clock` as of machine.gpu_state (None but on a Jetson).

    `python` lists TensorRT's, OpenCV's, NumPy's and CUDA's packages in the order in which Python would import them,
    `debian` what JetPack brings by dpkg. `gpus` are the names of the GPUs that the driver shows, `driver_cuda` is the
    CUDA release that it is for; `nvidia_cards` counts NVIDIA's cards on the PCI bus, with a driver or without.
    """

    jetson: dict[str, Any] | None
    environment: Environment
    debian: dict[str, str]
    python: list[Installed]
    opencv: OpenCv
    memory: Memory | None
    cameras: list[Camera]
    gpu_clock: dict[str, Any] | None
    gpus: tuple[str, ...]
    driver_cuda: tuple[int, int] | None
    nvidia_cards: int

    def first(self, name: str) -> Installed | None:
        """Return the package of this name that Python imports; None where there is none."""
        return next((item for item in self.python if item.name.lower() == name), None)

    def by_pip(self, names: Sequence[str]) -> list[Installed]:
        """List the packages of these names that pip put there."""
        return [item for item in self.python if item.by == "pip" and item.name.lower().replace("_", "-") in names]


def facts_of_machine(
    root: Path = Path("/"),
    ask: Ask = output_of,
    *,
    python: Environment | None = None,
    folders: Sequence[str] = sys.path,
    cv2_answer: str | None = None,
) -> Facts:
    """Read the facts of this machine, or of one recorded under `root` whose programs `ask` answers for.

    `python` and `folders` are the Python that would run there and where it looks for packages, `cv2_answer` what it
    prints about cv2 (see machine.installed.open_cv).
    """
    return Facts(
        jetson=jetson(root, ask),
        environment=python or environment(),
        debian=debian_packages(ask),
        python=python_packages([*TENSORRT_PACKAGES, *OPENCV_PACKAGES, *_OTHER_PACKAGES], folders),
        opencv=open_cv(cv2_answer, ask),
        memory=memory(root),
        cameras=cameras(root),
        gpu_clock=jetson_gpu_state(root),
        gpus=tuple(gpu.name for gpu in gpus()),
        driver_cuda=driver_cuda(),
        nvidia_cards=_nvidia_cards(root),
    )


def _nvidia_cards(root: Path) -> int:
    devices = (root / "sys/bus/pci/devices").glob("*")
    return sum(_text(item / "vendor") == _NVIDIA and _text(item / "class").startswith(_DISPLAY) for item in devices)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
