"""What nvcc makes of the kernels: the build log and the instructions of each."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.kernels.emulation.build import made_once, version_of

PLUGINS = Path(__file__).parents[2] / "plugins"
SOURCES = sorted((PLUGINS / "kernels").glob("*/*.cu"))
ARCHITECTURES = (75, 80, 86, 87, 89, 90, 110, 120)
_LABEL = re.compile(r"^\.text\.(\S+):")
# An instruction behind its offset, and perhaps a predicate.
_OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(?P<opcode>[A-Z][A-Z0-9_.]*)")


def nvcc() -> str:
    """Return the compiler; the test is skipped where there is none."""
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        pytest.skip("needs nvcc, of the CUDA toolkit; it is neither on the PATH nor in /usr/local/cuda/bin")
    return found


def nvdisasm() -> str:
    """Return the disassembler, of the CUDA toolkit or the package nvidia-cuda-nvdisasm; the test is skipped without."""
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/local/cuda/bin", *packages.glob("*/bin")]
    found = shutil.which("nvdisasm", path=os.pathsep.join(map(str, folders)))
    if found is None:
        pytest.skip("needs nvdisasm: pip install nvidia-cuda-nvdisasm, or the CUDA toolkit")
    return found


def architecture_of_the_day(compiler: str) -> int:
    """Return EDGEFSA_TEST_ARCHITECTURE, or another one each day of those that the compiler knows."""
    chosen = os.environ.get("EDGEFSA_TEST_ARCHITECTURE")
    if chosen:
        return int(chosen)
    listed = subprocess.run([compiler, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    known = [item for item in ARCHITECTURES if f"compute_{item}" in listed]
    return known[datetime.date.today().timetuple().tm_yday % len(known)]


class DeviceCode:
    """The kernels compiled for one architecture into `folder`, once for all runs of the tests."""

    def __init__(self, folder: Path, architecture: int) -> None:
        self._folder = folder
        self._architecture = architecture

    def log_of(self, source: Path, plugins: Path = PLUGINS) -> str:
        """Return what ptxas tells of a source below `plugins`."""
        return self._compiled(source, plugins).with_suffix(".log").read_text()

    def opcodes_of(self, source: Path, plugins: Path = PLUGINS) -> dict[str, list[str]]:
        """Return the machine instructions of each kernel of a source, by its mangled name."""
        command = [nvdisasm(), "-c", str(self._compiled(source, plugins))]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found: dict[str, list[str]] = {}
        opcodes: list[str] = []
        for line in listing.splitlines():
            if match := _LABEL.match(line.strip()):
                opcodes = found.setdefault(match[1], [])
            elif match := _OPCODE.search(line):
                opcodes.append(match["opcode"])
        return found

    def _compiled(self, source: Path, plugins: Path) -> Path:
        headers = sorted([*plugins.rglob("*.cuh"), *plugins.rglob("*.h")])
        text = version_of(nvcc()) + "".join(path.read_text() for path in [source, *headers])
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        cubin = self._folder / f"{source.stem}-{key}.sm_{self._architecture}.cubin"
        with made_once(cubin) as partial:
            if partial is not None:
                cubin.with_suffix(".log").write_text(self._compile(source, plugins, partial))
        cubin.with_suffix(".log").touch()
        return cubin

    def _compile(self, source: Path, plugins: Path, cubin: Path) -> str:
        """Compile a source and return the log."""
        command = [nvcc(), "-std=c++17", f"-arch=sm_{self._architecture}", "-Werror=all-warnings", "-Xptxas=-v"]
        command += ["-Xcompiler=-Wall,-Wextra", f"-I{plugins}", f"-I{plugins / 'kernels'}"]
        done = subprocess.run([*command, "-cubin", str(source), "-o", str(cubin)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr
