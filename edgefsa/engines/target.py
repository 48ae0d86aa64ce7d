"""What every target offers: may it be used here, build, open."""

from __future__ import annotations

import importlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.build_memory import MemoryPart
from edgefsa.engines.session import Frames, LayerPrecision, Outputs, Session
from edgefsa.engines.weights import WeightBits
from edgefsa.errors import InputError, TargetError
from edgefsa.machine import Cpu, cpu

if TYPE_CHECKING:
    import onnx

    from edgefsa.quantize import HalfScan, Ranges, Recipe

# What convolutions and products compute in, by the precision that was asked for.
COMPUTE_TYPES = {"fp32": "f32", "fp16": "f16", "int8": "int8"}


@dataclass(frozen=True)
class TargetOptions:
    """Settings that one target alone has, checked when they are made; a target that has some derives its own class."""


@dataclass(frozen=True)
class BuildJob:
    """What a target builds from: `source` is the float32 graph with its function bodies, `directory` gets the files.

    `skip` are name patterns of nodes that INT8 leaves in float, those of `recipe` among them.
    `weights` says how many bits INT8 weights get, `options` are of the target's own `options_type`.
    `scan` measures, once and only where it is called, what float16 would meet on the build's frames. `compiling` is
    called with (done, total) while a compiler that says so is at work, from any thread.
    """

    directory: Path
    source: onnx.ModelProto
    metadata: dict[str, Any]
    precision: str
    ranges: Ranges | None = None
    skip: Collection[str] = ()
    weights: WeightBits = field(default_factory=WeightBits)
    options: TargetOptions = field(default_factory=TargetOptions)
    scan: Callable[[], HalfScan | None] = lambda: None
    compiling: Callable[[int, int], None] = lambda done, total: None
    recipe: Recipe | None = None


@dataclass
class TargetBuild:
    """What a target made of a job.

    `converted` is the graph in the asked-for precision, which the engine has to compute as ONNX defines it; None where
    that is the job's own. `expected` names the ONNX nodes that have to run in the precision, `layers` is the account
    of what they run in (where empty, the opened session is asked), `account` names it, and `evidence` is a key of
    `precision.EVIDENCE`. `runs_here` is false where this machine can build but not run. `device` is the manifest's
    where the engine does not run on the CPU, and `plugins` are its entries of the manifest, which `plugins_in_words`
    sums up.
    """

    detail: dict[str, Any]
    converted: onnx.ModelProto | None = None
    expected: list[str] = field(default_factory=list)
    layers: list[LayerPrecision] = field(default_factory=list)
    quantization: dict[str, Any] | None = None
    account: str = ""
    evidence: str = "engine"
    runs_here: bool = True
    uses_cpu: bool = True
    device: dict[str, Any] = field(default_factory=dict)
    plugins: list[dict[str, Any]] = field(default_factory=list)
    plugins_in_words: str = ""


class Target(ABC):
    """One runtime. Its package is imported only inside the methods, when they are called."""

    name: str
    # As it is imported; pip knows it by the same name.
    package: str
    extra: str
    # How many parts of the runtime's version an engine is tied to.
    version_parts = 1
    options_type: type[TargetOptions] = TargetOptions
    # Whether `open_logits` can return logits of an engine that was built for masks.
    gives_logits = False
    # The form that `int8_onnx` gives the activations of INT8 engines.
    activations = "int8"
    # Whether INT8 engines run on the CPU, whose features then decide how many bits weights may have.
    int8_on_cpu = False

    @abstractmethod
    def unusable(self) -> str | None:
        """Return why engines of this target cannot run on this machine, or None where they can."""

    def cpu(self) -> Cpu:
        """Return this machine's CPU with the features that the runtime uses of it."""
        return cpu()

    def unbuildable(self) -> str | None:
        """Return why engines of this target cannot be built on this machine, or None where they can."""
        return self.unusable()

    def unsuited(self, precision: str) -> str | None:
        """Return why `auto` should not pick this target for `precision` on this machine, or None."""
        return None

    def refused(self, precision: str, options: TargetOptions) -> str | None:
        """Return why a build of `precision` with these options cannot be on this machine, or None."""
        return self.unsuited(precision)

    def memory_parts(self, rest: Sequence[MemoryPart], options: TargetOptions) -> list[MemoryPart]:
        """Return what a build takes of the machine's memory beside `rest`, which every target's build takes."""
        return []

    def check_request(self, options: TargetOptions, precision: str, metadata: Mapping[str, Any]) -> None:  # noqa: B027
        """Raise TargetError or InputError, before a build begins, for what this machine cannot do of what is asked."""

    @abstractmethod
    def build(self, job: BuildJob) -> TargetBuild:
        """Write the target's files into `job.directory`; BuildError or TargetError where that fails."""

    @abstractmethod
    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Return the session of an engine directory, not loaded yet."""

    @abstractmethod
    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Return a session of the same engine whose run returns float32 logits [N, K, h, w]; may import onnx."""

    def open_tapped(
        self, directory: Path, manifest: Manifest, tensors: Collection[str]
    ) -> Callable[[Frames], dict[str, Outputs]]:
        """Return a function from frames to the engine's own outputs and inner tensors, by their names in the ONNX file.

        Tensors that the engine no longer has are left out. What is tapped cannot be fused away, so that the engine may
        compute otherwise than without: hold its outputs against those of a session. For comparing stages; may import
        onnx. Raises TargetError where an engine shows nothing but its outputs.
        """
        raise TargetError(f"an engine of {self.name} shows nothing but its outputs")

    def options_from(self, given: Mapping[str, Any]) -> TargetOptions:
        """Return this target's options from their names and values; InputError for one that it does not have."""
        known = [item.name for item in fields(self.options_type)]
        for name, value in given.items():
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise InputError(f"the target {self.name} has no option {name} ({has}); leave {name}={value} out")
        return self.options_type(**given)

    def version(self) -> str:
        """Return the runtime's version, or "" where it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return ""

    def package_fault(self) -> str | None:
        """Return why the runtime's package cannot be imported, with the remedy, or None where it can."""
        if not self.version():
            return f"the package {self.package} is not installed; pip install 'edgefsa[{self.extra}]'"
        try:
            importlib.import_module(self.package)
        except Exception as error:  # a shared library that is missing or too old shows as any of several kinds
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            return f"the package {self.package} is installed and broken ({reason}); reinstall it"
        return None
