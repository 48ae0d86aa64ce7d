"""The command line of NVIDIA's own tools that makes the same plan, to be run in the engine's directory."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgefsa.engines.names import TIMING_CACHE_NAME
from edgefsa.engines.tensorrt.builder import ENGINE_NAME
from edgefsa.engines.tensorrt.options import HARDWARE_LEVELS, PlanOptions, TensorRtOptions
from edgefsa.metadata import FRAMES, batches_of


def trtexec_line(
    graph: str,
    metadata: Mapping[str, Any],
    options: TensorRtOptions,
    *,
    workspace_mb: int,
    level: int | None,
    library: str | None = None,
) -> str:
    """Return the line of trtexec for the ONNX file `graph`, with the plugin library that the build took.

    What tactics may take of a Jetson's memory has no option of trtexec, and kernels in the plan come from Python.
    """
    words = _shared("trtexec", graph, metadata, options, workspace_mb, level)
    words += ["--stronglyTyped", "--noTF32", "--profilingVerbosity=detailed", f"--timingCacheFile={TIMING_CACHE_NAME}"]
    if library is not None:
        words.append(f"--dynamicPlugins={library}")
    if library is not None and options.serialize_plugins:
        words.append(f"--setPluginsToSerialize={library}")
    if options.version_compatible:
        words.append("--versionCompatible")
    if options.hardware_compatible is not None:
        words.append(f"--hardwareCompatibilityLevel={HARDWARE_LEVELS[options.hardware_compatible][1]}")
    if options.dla is not None:
        words.append(f"--useDLACore={options.dla}")
    if options.gpu_fallback:
        words.append("--allowGPUFallback")
    return shlex.join([*words, "--skipInference"])


def tensorrt_rtx_line(
    graph: str, metadata: Mapping[str, Any], options: PlanOptions, capabilities: Sequence[str]
) -> str:
    """Return the line of tensorrt_rtx, the tool of TensorRT for RTX, for the ONNX file `graph`."""
    words = _shared("tensorrt_rtx", graph, metadata, options, options.workspace_mb, options.optimization_level)
    numbers = ",".join(capability.replace(".", "") for capability in capabilities)
    return shlex.join([*words, "--noTF32", f"--computeCapabilities={numbers}", "--skipInference"])


def _shared(
    tool: str,
    graph: str,
    metadata: Mapping[str, Any],
    options: PlanOptions,
    workspace_mb: int | None,
    level: int | None,
) -> list[str]:
    words = [tool, f"--onnx={graph}", f"--saveEngine={ENGINE_NAME}"]
    batches = batches_of(metadata)
    if not batches.fixed:
        height, width = metadata["size_hw"]
        shapes: Iterable[tuple[str, int]] = zip(("min", "opt", "max"), batches, strict=True)
        words += [f"--{end}Shapes={FRAMES}:{count}x{height}x{width}x3" for end, count in shapes]
    words += [] if workspace_mb is None else [f"--memPoolSize=workspace:{workspace_mb}M"]
    words += [] if level is None else [f"--builderOptimizationLevel={level}"]
    return [*words, *(["--stripWeights"] if options.strip_weights else [])]
