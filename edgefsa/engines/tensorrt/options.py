"""What the builder of a plan is asked for, beside the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgefsa.engines.target import TargetOptions
from edgefsa.engines.tensorrt.builder_memory import LEVELS
from edgefsa.errors import InputError

PLUGIN_CHOICES = ("auto", "library", "kernels", "none")
# What is asked for -> TensorRT's name of it, trtexec's, and the least compute capability of the GPU that builds.
HARDWARE_LEVELS = {
    "ampere+": ("AMPERE_PLUS", "ampere+", (8, 0)),
    "same-capability": ("SAME_COMPUTE_CAPABILITY", "sameComputeCapability", (7, 5)),
}
FIRST_OF_AMPERE = "8.0"


@dataclass(frozen=True)
class PlanOptions(TargetOptions):
    """What TensorRT and TensorRT for RTX have in common.

    `workspace_mb` is in MB of 2**20, `optimization_level` 0 to 5; None leaves both to the builder. With
    `strip_weights` the plan has no weights: they come from the ONNX graph beside it each time it is opened.
    """

    workspace_mb: int | None = None
    optimization_level: int | None = None
    strip_weights: bool = False

    def __post_init__(self) -> None:
        if self.workspace_mb is not None and not (type(self.workspace_mb) is int and self.workspace_mb >= 1):
            raise InputError(f"workspace_mb {self.workspace_mb} is no number of megabytes above 0; give one")
        if self.optimization_level is not None and self.optimization_level not in LEVELS:
            raise InputError(f"optimization_level {self.optimization_level} is not one of 0 to {LEVELS[-1]}; give one")


@dataclass(frozen=True)
class TensorRtOptions(PlanOptions):
    """`plugins` is "library", "kernels" (inside the engine), "none" (the function bodies), or "auto".

    With "auto" it is the library where one serves, else none; `serialize_plugins` puts the library's file into the
    plan. Of workspace and level None lets the free memory of a Jetson decide, and TensorRT elsewhere. A
    `version_compatible` plan runs on later versions of the same major one, a `hardware_compatible` plan on other GPUs
    (a key of HARDWARE_LEVELS). `dla` is the core of the DLA that layers run on, with `gpu_fallback` those that it
    takes.
    """

    plugins: str = "auto"
    serialize_plugins: bool = False
    version_compatible: bool = False
    hardware_compatible: str | None = None
    dla: int | None = None
    gpu_fallback: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.plugins not in PLUGIN_CHOICES:
            raise InputError(f"plugins {self.plugins} is unknown; use one of {', '.join(PLUGIN_CHOICES)}")
        if self.hardware_compatible not in (None, *HARDWARE_LEVELS):
            levels = " or ".join(HARDWARE_LEVELS)
            raise InputError(f"hardware_compatible {self.hardware_compatible} is unknown; use {levels}")
        if self.dla is not None and not (type(self.dla) is int and self.dla >= 0):
            raise InputError(f"dla {self.dla} is no core of a DLA; give 0 or 1")
        if self.gpu_fallback and self.dla is None:
            raise InputError("gpu_fallback is for layers that a DLA does not take; give the core with dla too")
        if self.serialize_plugins and not self.version_compatible:
            raise InputError(
                "serialize_plugins needs version_compatible: TensorRT puts plugins into version-compatible plans only"
            )
        if self.serialize_plugins and self.plugins in ("kernels", "none"):
            raise InputError(f"serialize_plugins is for the plugin library, not for plugins {self.plugins}; drop one")

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's record of what only some engines have; what was not asked for is left out."""
        chosen = {
            "strip_weights": self.strip_weights,
            "serialize_plugins": self.serialize_plugins,
            "version_compatible": self.version_compatible,
            "hardware_compatible": self.hardware_compatible,
            "dla": self.dla,
            "gpu_fallback": self.gpu_fallback,
        }
        return {name: value for name, value in chosen.items() if value is not None and value is not False}
