"""The cameras that Linux shows (V4L2)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# What Jetson Linux calls the sensors on its CSI ports; their raw Bayer frames need NVIDIA's own GStreamer element.
_CSI_NAME = "vi-output"


@dataclass(frozen=True)
class Camera:
    """A camera's device file, the name its driver gives it, and its kind: "csi", "usb" or "other".

    `readable` says whether this user may open it.
    """

    device: str
    name: str
    kind: str
    readable: bool


def cameras(root: Path = Path("/")) -> list[Camera]:
    """List the video devices that give frames, in the order of their numbers."""
    found = []
    for folder in sorted((root / "sys/class/video4linux").glob("video*"), key=_number):
        # The further nodes of a device give metadata, or are for output.
        if _text(folder / "index") not in ("", "0"):
            continue
        device, name = f"/dev/{folder.name}", _text(folder / "name")
        readable = os.access(root / device.lstrip("/"), os.R_OK | os.W_OK)
        found.append(Camera(device, name, _kind(folder, name), readable))
    return found


def _kind(folder: Path, name: str) -> str:
    if name.startswith(_CSI_NAME):
        return "csi"
    return "usb" if _text(folder / "device/modalias").startswith("usb:") else "other"


def _number(folder: Path) -> int:
    return int(re.sub(r"\D", "", folder.name) or 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
