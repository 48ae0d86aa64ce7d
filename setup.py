"""Builds the TensorRT plugin library into the wheel where CUDA and TensorRT are present; pyproject.toml says the rest.

`pip install .` builds it when nvcc, cmake and TensorRT's headers are found, and says what it missed where they are not
(pip shows that with -v). EDGEFSA_PLUGINS=0 leaves it out, EDGEFSA_PLUGINS=1 fails where something is missing, and JOBS
says how many compilers run at once where it is not to be as many as the free memory takes. An editable install never
builds it: `make plugins` does.
"""

from __future__ import annotations

import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = Path(__file__).resolve().parent
LIBRARY = "libedgefsa_plugins.so"


def missing_tools() -> list[str]:
    """Name what a build of the plugins needs and this machine lacks."""
    missing = [] if (ROOT / "plugins" / "CMakeLists.txt").is_file() else ["the folder plugins"]
    cuda = [Path(os.environ[name]) / "bin" for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    folders = os.pathsep.join(map(str, [*cuda, os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
    missing += [name for name in ("nvcc", "cmake") if shutil.which(name, path=folders) is None]
    return missing if tensorrt_headers() else [*missing, "TensorRT's headers (TENSORRT_INCLUDE_DIR)"]


def tensorrt_headers() -> bool:
    """Return whether CMake will find TensorRT's headers."""
    own = os.environ.get("TENSORRT_INCLUDE_DIR")
    places = [Path(own)] if own else [Path("/usr/include"), Path(f"/usr/include/{platform.machine()}-linux-gnu")]
    return any((place / "NvInferRuntime.h").is_file() for place in places)


def wants_plugins() -> bool:
    """Decide whether this build includes the library; leaves with one line where it must and cannot."""
    wish = os.environ.get("EDGEFSA_PLUGINS", "")
    if wish == "0" or sys.platform != "linux":
        return False
    missing = missing_tools()
    if missing and wish == "1":
        raise SystemExit(f"EDGEFSA_PLUGINS=1, and the plugins cannot be built: {', '.join(missing)} not found")
    return not missing


def cmake_commands(build: str) -> list[list[str]]:
    """Return the commands that build the library, as edgefsa itself calls CMake; it is not installed yet."""
    calls = runpy.run_path(str(ROOT / "edgefsa" / "engines" / "tensorrt" / "plugins" / "cmake.py"))
    try:
        return [calls["configure_command"](ROOT / "plugins", build), calls["build_command"](build, "edgefsa_plugins")]
    except ValueError as error:
        raise SystemExit(str(error)) from None


class BuildWithPlugins(build_py):
    """Copies the Python files, then builds the plugin library beside edgefsa/engines/tensorrt/plugins."""

    def run(self) -> None:
        """Run setuptools' own step, then ours."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        if wants_plugins():
            self.build_plugins(Path(self.build_lib) / "edgefsa" / "engines" / "tensorrt" / "plugins" / LIBRARY)
        else:
            missing = missing_tools()
            reason = f"{', '.join(missing)} not found" if missing else "not asked for"
            print(f"without the TensorRT plugins ({reason}); `edgefsa plugins --build` builds them later", flush=True)

    def build_plugins(self, target: Path) -> None:
        """Build the library with CMake for this machine's GPU and copy it to `target`."""
        with tempfile.TemporaryDirectory() as build:
            for command in cmake_commands(build):
                if subprocess.run(command, check=False).returncode != 0:
                    raise SystemExit(
                        "the TensorRT plugins cannot be built (pip install -v shows why); EDGEFSA_PLUGINS=0 leaves "
                        "them out"
                    )
            shutil.copy2(Path(build) / LIBRARY, target)


class PluginDistribution(Distribution):
    """A wheel with the library in it belongs to one platform; without it, to all."""

    def has_ext_modules(self) -> bool:
        """Return setuptools whether the wheel holds compiled code."""
        return wants_plugins()


setup(cmdclass={"build_py": BuildWithPlugins}, distclass=PluginDistribution)
