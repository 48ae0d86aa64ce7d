"""Which packages lie where: Debian's by dpkg, Python's by their metadata, and what `import cv2` comes to."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefsa.machine.gpu_state import Ask, output_of

# Patterns of dpkg-query for what JetPack brings, and what is measured against it.
DEBIAN_PACKAGES = (
    *("nvidia-l4t-core", "nvidia-jetpack", "libnvinfer8", "libnvinfer1[0-9]", "python3-libnvinfer"),
    *("cuda-toolkit-[0-9]*", "libopencv-python", "python3-opencv", "python3-numpy"),
)
# What pip knows the packages by that JetPack brings too.
TENSORRT_PACKAGES = (
    *("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    *("tensorrt-cu12-bindings", "tensorrt-cu13-bindings", "tensorrt-cu12-libs", "tensorrt-cu13-libs"),
)
OPENCV_PACKAGES = (
    *("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
)
# Debian and Ubuntu, and JetPack with them, put their own here; pip puts nothing there.
_SYSTEM_FOLDER = re.compile(r"/usr/lib/python3[^/]*/dist-packages/?$")
# Runs in a process of its own: a cv2 that was built for another NumPy may write pages, or end the process.
_PROBE = """
import json, sys
try:
    import cv2
    lines = cv2.getBuildInformation().splitlines()
    gstreamer = any(line.split()[:2] == ["GStreamer:", "YES"] for line in lines)
    answer = {"version": cv2.__version__, "path": cv2.__file__, "gstreamer": gstreamer, "error": None}
except BaseException as error:
    answer = {"version": None, "path": None, "gstreamer": None, "error": f"{type(error).__name__}: {error}"}
sys.stdout.write("\\nedgefsa-probe:" + json.dumps(answer))
"""


@dataclass(frozen=True)
class Installed:
    """A Python package: its name, its version, its folder, and who put it there, "apt" or "pip"."""

    name: str
    version: str
    folder: str
    by: str


@dataclass(frozen=True)
class Environment:
    """The Python that runs: its version, whether it is a virtual environment, and whether that sees the system's."""

    version: str
    virtual: bool
    sees_system: bool


@dataclass(frozen=True)
class OpenCv:
    """What `import cv2` comes to: a version and a file, or the `error` (one line).

    `by` is "jetpack" (libopencv-python), "apt" (Ubuntu's), "pip", or "unknown", as for one that was built by hand.
    """

    version: str | None
    path: str | None
    gstreamer: bool | None
    error: str | None
    by: str


def debian_packages(ask: Ask = output_of) -> dict[str, str]:
    """Return the versions of DEBIAN_PACKAGES that are installed, by name; empty without dpkg."""
    text = ask(["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *DEBIAN_PACKAGES])
    pairs = [line.split() for line in text.splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}  # one that is known and not installed has none


def python_packages(names: Iterable[str], folders: Sequence[str] = sys.path) -> list[Installed]:
    """List the packages of these names in the order in which Python would import them."""
    found = []
    for folder in dict.fromkeys(folders):
        by = "apt" if _SYSTEM_FOLDER.search(Path(folder).as_posix()) else "pip"
        for name in names:
            for item in importlib.metadata.Distribution.discover(name=name, path=[folder]):
                found.append(Installed(item.metadata["Name"] or name, item.version, folder, by))
    return found


def environment(prefix: str = sys.prefix, base_prefix: str = sys.base_prefix) -> Environment:
    """Describe the Python that runs this."""
    version = ".".join(map(str, sys.version_info[:2]))
    if prefix == base_prefix:
        return Environment(version, virtual=False, sees_system=True)
    try:
        settings = (Path(prefix) / "pyvenv.cfg").read_text(encoding="utf-8").lower()
    except OSError:
        settings = ""
    sees = re.search(r"^include-system-site-packages\s*=\s*true", settings, re.MULTILINE) is not None
    return Environment(version, virtual=True, sees_system=sees)


def open_cv(answer: str | None = None, ask: Ask = output_of) -> OpenCv:
    """Import cv2 in a process of its own and return what came of it; `answer` is what such a process printed."""
    answer = _probe_answer() if answer is None else answer
    _, marker, text = answer.rpartition("edgefsa-probe:")
    found: dict[str, Any] = json.loads(text) if marker else {}
    error = found.get("error", "the process that imported it ended without an answer")
    path = found.get("path")
    return OpenCv(
        version=found.get("version"),
        path=path,
        gstreamer=found.get("gstreamer"),
        error=None if error is None else " ".join(error.split()),
        by=_origin(path, ask) if path else "unknown",
    )


@functools.cache
def _probe_answer() -> str:
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _origin(path: str, ask: Ask) -> str:
    folder = next((str(parent) for parent in Path(path).parents if parent.name.endswith("-packages")), "")
    if not _SYSTEM_FOLDER.search(folder):
        return "pip" if python_packages(OPENCV_PACKAGES, [folder]) else "unknown"
    owner = ask(["dpkg", "--search", path]).partition(":")[0]
    return {"libopencv-python": "jetpack", "python3-opencv": "apt"}.get(owner, "unknown")
