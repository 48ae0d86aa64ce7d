"""The steps of `on_gpu.sh`: what each of their parts runs, for how long, and what it needs. Standard library alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _gpu_files import AOT, DRIVER, KERNELS, PLUGINS

BENCHMARKS = Path(__file__).resolve().parent
GPU_TESTS = ("attention_kernels", "map_kernels", "frame_preparation_kernel", "torch_operators")
SMALL_TESTS = ("truncated_dct", "truncated_dct_attention", "spectral_mask", "upsample_argmax", "frame_preparation")
SANITIZER_ERROR = "86"


@dataclass(frozen=True)
class Part:
    """A command; `figures` is the JSON or the JUnit XML that it writes, `needs` the files that it cannot do without.

    Of the exit statuses other than 0, those in `notes` mean that it passed, with a remark, and those in `unusable` that
    the machine lacks something; any other is a failure.
    """

    name: str
    seconds: int
    command: Sequence[str]
    figures: Path
    needs: Sequence[Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)
    unusable: Sequence[int] = ()


@dataclass(frozen=True)
class Steps:
    """Makes the parts from the carried `files`; what they write goes to `scratch`."""

    files: Path
    scratch: Path

    @property
    def kernels(self) -> Path:
        """The library for the GPU itself."""
        return self.files / KERNELS["90"]

    def listed(self) -> dict[str, list[Part]]:
        """List the steps in their order; their seconds add up to those of the session."""
        return {
            "tests": [self.kernel_tests("sm_90", 50, self.kernels)],
            "jit": [self.kernel_tests(name, 55, self.files / KERNELS[name]) for name in ("75-virtual", "87-virtual")],
            "aot": [self.program("aot", 20, [self.files / AOT], "aot_on_gpu.py", str(self.files / AOT))],
            "plugins": [self.plugin_tests("library", 25)],
            "sanitizer": [self.sanitized(tool, 25) for tool in ("memcheck", "racecheck", "initcheck")],
            "benchmark": [self.benchmark("kernels", 80), self.dram("dram", 20)],
            "networks": [self.networks("networks", 100)],
        }

    def tests(self, name: str, seconds: int, paths: Sequence[str], variables: Mapping[str, Path]) -> Part:
        """Return a run of tests; the files that its variables name are what it needs."""
        figures = self.scratch / f"{name}.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={figures}", *paths]
        named = {variable: str(path) for variable, path in variables.items()}
        return Part(name, seconds, command, figures, list(variables.values()), named)

    def kernel_tests(self, name: str, seconds: int, library: Path) -> Part:
        """Return the tests of kernels with one library."""
        return self.tests(
            name, seconds, [f"tests/gpu/test_{item}.py" for item in GPU_TESTS], {"EDGEFSA_KERNELS": library}
        )

    def plugin_tests(self, name: str, seconds: int) -> Part:
        """Return the tests of the plugin library, with the driver that plays TensorRT's part."""
        named = {"EDGEFSA_PLUGIN_LIBRARY": self.files / PLUGINS, "EDGEFSA_PLUGIN_DRIVER": self.files / DRIVER}
        return self.tests(name, seconds, ["tests/gpu/test_plugin_library.py"], named)

    def sanitized(self, tool: str, seconds: int) -> Part:
        """Return the emulation's tests on the GPU, in a process where no kernel but ours runs."""
        paths = [f"tests/kernels/test_{item}.py" for item in SMALL_TESTS]
        part = self.tests(tool, seconds, paths, {"EDGEFSA_DEVICE_KERNELS": self.kernels})
        sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
        command = [sanitizer, "--tool", tool, "--error-exitcode", SANITIZER_ERROR, *part.command]
        return Part(tool, seconds, command, part.figures, part.needs, part.environment)

    def program(self, name: str, seconds: int, needs: Sequence[Path], *arguments: str) -> Part:
        """Return a program of this folder that writes its figures to --output."""
        figures = self.scratch / f"{name}.json"
        command = [sys.executable, str(BENCHMARKS / arguments[0]), *arguments[1:], "--output", str(figures)]
        return Part(name, seconds, command, figures, needs)

    def benchmark(self, name: str, seconds: int) -> Part:
        """Return the kernels' benchmark; a missed aim is no failure of the session."""
        part = self.program(name, seconds, [self.kernels], "kernels.py", "--library", str(self.kernels), "--check")
        return Part(name, seconds, part.command, part.figures, part.needs, notes={1: "some aims are missed"})

    def dram(self, name: str, seconds: int) -> Part:
        """Return the count of the memory's bytes, which not every machine allows."""
        part = self.program(name, seconds, [self.kernels], "dram_on_gpu.py", "--library", str(self.kernels))
        return Part(name, seconds, part.command, part.figures, part.needs, unusable=(2,))

    def networks(self, name: str, seconds: int) -> Part:
        """Return whole networks in PyTorch, with the kernels and without."""
        part = self.program(name, seconds, [self.kernels], "networks_on_gpu.py")
        return Part(name, seconds, part.command, part.figures, part.needs, {"EDGEFSA_KERNELS": str(self.kernels)})
