"""What a version of TensorRT, a GPU or a board cannot do of what a build asks for, said before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgefsa.engines.tensorrt.builder import PlanBuild, layers_of, quiet_logger
from edgefsa.engines.tensorrt.options import HARDWARE_LEVELS, TensorRtOptions
from edgefsa.engines.tensorrt.plugins.choice import KERNELS, LIBRARY, PluginChoice
from edgefsa.errors import BuildError, InputError, TargetError
from edgefsa.machine import Gpu
from edgefsa.metadata import batches_of


def check_options(
    tensorrt: Any, options: TensorRtOptions, gpu: Gpu, precision: str, metadata: Mapping[str, Any]
) -> None:
    """Raise TargetError for what this version and GPU cannot do, InputError for what cannot be had together."""
    if options.hardware_compatible is not None:
        _check_level(tensorrt, options.hardware_compatible, gpu)
    if options.dla is None:
        return
    if precision == "fp32":
        raise InputError("a DLA computes in fp16 and int8 only; build one of them, or leave dla out")
    if not batches_of(metadata).fixed:
        raise InputError(
            f"a DLA takes one number of frames, not {batches_of(metadata)}; export with one, or leave dla out"
        )
    if options.strip_weights:
        raise InputError("what a DLA runs keeps its weights; leave strip_weights or dla out")
    core, cores = options.dla, tensorrt.Builder(quiet_logger(tensorrt)).num_DLA_cores
    if core >= cores:
        raise TargetError(
            f"TensorRT {tensorrt.__version__} sees {cores} DLA cores on this machine, so there is no dla {core}; leave "
            "it out (an Orin Nano has none, nor has TensorRT 11 up to 11.3)"
        )


def _check_level(tensorrt: Any, level: str, gpu: Gpu) -> None:
    name, _, (major, minor) = HARDWARE_LEVELS[level]
    if not hasattr(tensorrt.HardwareCompatibilityLevel, name):
        others = ", ".join(
            key for key, row in HARDWARE_LEVELS.items() if hasattr(tensorrt.HardwareCompatibilityLevel, row[0])
        )
        raise TargetError(f"TensorRT {tensorrt.__version__} has no hardware compatibility {level}, only {others}")
    if gpu.integrated:
        raise TargetError(f"{gpu.name} is a board's, whose engines run on no other GPU; leave hardware_compatible out")
    if tuple(map(int, gpu.compute_capability.split("."))) < (major, minor):
        raise TargetError(
            f"hardware compatibility {level} needs a GPU of compute capability {major}.{minor} or later to build on, "
            f"and {gpu.name} has {gpu.compute_capability}; leave hardware_compatible out"
        )


def check_plugins(options: TensorRtOptions, plugins: PluginChoice) -> None:
    """Raise InputError where the chosen plugins do not go together with the rest."""
    if options.serialize_plugins and plugins.kind != LIBRARY:
        raise InputError(f"there is no plugin library to serialize ({plugins.why}); leave serialize_plugins out")
    if options.hardware_compatible is not None and plugins.kind == KERNELS:
        raise InputError("kernels inside the engine are for one kind of GPU; leave hardware_compatible or kernels out")


def apply_options(build: PlanBuild, options: TensorRtOptions, plugins: PluginChoice) -> dict[str, int]:
    """Set the builder's configuration; return how many layers the DLA takes and of how many, where one is asked for."""
    tensorrt, config = build.tensorrt, build.config
    if options.strip_weights:
        build.strip_weights()
    if options.version_compatible:
        config.set_flag(tensorrt.BuilderFlag.VERSION_COMPATIBLE)
    if options.serialize_plugins and plugins.library is not None:
        config.plugins_to_serialize = [str(plugins.library.path)]
    if options.hardware_compatible is not None:
        name = HARDWARE_LEVELS[options.hardware_compatible][0]
        config.hardware_compatibility_level = getattr(tensorrt.HardwareCompatibilityLevel, name)
    return {} if options.dla is None else _use_dla(build, options.dla, options.gpu_fallback)


def _use_dla(build: PlanBuild, core: int, gpu_fallback: bool) -> dict[str, int]:
    tensorrt, config = build.tensorrt, build.config
    config.default_device_type = tensorrt.DeviceType.DLA
    config.DLA_core = core
    if gpu_fallback:
        config.set_flag(tensorrt.BuilderFlag.GPU_FALLBACK)
    layers = layers_of(build.network)
    taken = [layer for layer in layers if config.can_run_on_DLA(layer)]
    if not taken or (len(taken) < len(layers) and not gpu_fallback):
        remedy = "leave dla out" if not taken else "give gpu_fallback too"
        raise BuildError(f"the DLA takes {len(taken)} of the {len(layers)} layers of this network; {remedy}")
    return {"taken": len(taken), "of": len(layers)}
