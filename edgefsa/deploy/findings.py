"""What works on a machine, what does not, and the command that mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefsa.deploy.facts import Facts
from edgefsa.deploy.finding import OK, PROBLEM, WARNING, Finding, uninstall
from edgefsa.deploy.jetson_findings import jetson_findings
from edgefsa.machine.installed import OPENCV_PACKAGES, TENSORRT_PACKAGES

Targets = Mapping[str, Mapping[str, Any]]

# Boards of 8 GB and less, whose memory CPU, GPU and a desktop share.
SMALL_MEMORY_MB = 9000
SWAP_FILE = (
    "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile"
)


def findings(facts: Facts, targets: Targets, plugins: Mapping[str, Any]) -> list[Finding]:
    """Judge a machine; `targets` and `plugins` are the doctor's. On a Jetson what JetPack brings is judged too."""
    own = jetson_findings(facts) if facts.jetson else [*_graphics_card(facts, targets), *_open_cv(facts)]
    return [*own, *_memory(facts), *_cameras(facts), *_targets(facts, targets), *_plugins(targets, plugins)]


def _graphics_card(facts: Facts, targets: Targets) -> list[Finding]:
    if not facts.nvidia_cards:
        return []
    why_not = targets["tensorrt"]["why_not"]
    if why_not is None:
        return [Finding(OK, "an NVIDIA GPU, and TensorRT for it")]
    if not facts.gpus:
        what = f"{facts.nvidia_cards} NVIDIA card(s) on the PCI bus, and no driver shows a GPU"
        return [Finding(PROBLEM, what, "sudo ubuntu-drivers install && sudo reboot")]
    newer = [item for item in facts.by_pip(TENSORRT_PACKAGES) if item.name.endswith("cu13")]
    if newer and facts.driver_cuda is not None and facts.driver_cuda < (13, 0):
        what = f"{newer[0].name} {newer[0].version} is for CUDA 13, and the driver for {facts.driver_cuda[0]}"
        return [
            Finding(PROBLEM, what, f"{uninstall(['tensorrt', newer[0].name])} && python -m pip install tensorrt-cu12")
        ]
    what = f"{', '.join(facts.gpus)} without a usable TensorRT: {why_not}"
    return [Finding(WARNING, what, "python -m pip install 'edgefsa[tensorrt]'")]


def _open_cv(facts: Facts) -> list[Finding]:
    found, several = facts.opencv, {item.name for item in facts.by_pip(OPENCV_PACKAGES)}
    headless = "python -m pip install --force-reinstall opencv-python-headless"
    if found.error is not None:
        return [Finding(PROBLEM, f"cv2 cannot be imported: {found.error}", headless)]
    if len(several) > 1:
        what = f"{' and '.join(sorted(several))} are all installed, and write over each other's files"
        return [Finding(WARNING, what, f"{uninstall(several)} && {headless}")]
    return [Finding(OK, f"OpenCV {found.version} {'with' if found.gstreamer else 'without'} GStreamer ({found.path})")]


def _memory(facts: Facts) -> list[Finding]:
    here = facts.memory
    if here is None:
        return [Finding(WARNING, "how much memory there is cannot be read; builds cannot be fitted to it")]
    swap = f"{here.swap_mb:.0f} MB of swap" if here.swap_mb else "no swap"
    swap += f", {here.zram_mb:.0f} MB of it compressed in the memory itself (zram)" if here.zram_mb else ""
    what = f"{here.available_mb:.0f} MB of {here.total_mb:.0f} MB of memory are free, {swap}"
    if here.total_mb < SMALL_MEMORY_MB and here.swap_mb - here.zram_mb < 1:
        return [Finding(WARNING, f"{what}: a build may run out of memory", SWAP_FILE)]
    return [Finding(OK, what)]


def _cameras(facts: Facts) -> list[Finding]:
    found = []
    for camera in facts.cameras:
        what = f"camera {camera.device} ({camera.name or 'nameless'}, {camera.kind})"
        if camera.readable:
            found.append(Finding(OK, what))
        else:
            mend = "sudo usermod --append --groups video $USER, and log in again"
            found.append(Finding(PROBLEM, f"{what} may not be opened by this user", mend))
    return found or [Finding(OK, "no camera is attached (V4L2 shows none)")]


def _targets(facts: Facts, targets: Targets) -> list[Finding]:
    running = [name for name, target in targets.items() if target["runs"]]
    if running:
        return [Finding(OK, f"engines run here by {', '.join(running)}")]
    extra = "jetson" if facts.jetson else "cpu"
    return [Finding(PROBLEM, "no target can run an engine here", f"python -m pip install 'edgefsa[{extra}]'")]


def _plugins(targets: Targets, plugins: Mapping[str, Any]) -> list[Finding]:
    if not targets["tensorrt"]["runs"]:
        return []
    if plugins["why_not"] is None:
        return [Finding(OK, f"TensorRT plugins: {plugins['path']}")]
    return [Finding(WARNING, f"no TensorRT plugins: {plugins['why_not']}", "edgefsa plugins --build")]
