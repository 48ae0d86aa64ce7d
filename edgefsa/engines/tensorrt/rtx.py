"""TensorRT for RTX: engines built ahead of time, on any machine, for GPUs of given compute capabilities.

The network is strongly typed: the types in the ONNX file (float16 tensors, Q/DQ pairs) are the types it runs in.
Function bodies go in as they are. Without a GPU TensorRT refuses to load an engine, also for its inspector, so
the account of the layers is the typed network that the engine was compiled from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.build_memory import MEASURED, MemoryPart
from edgefsa.engines.convert import half_graph, int8_graph, write_graph
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME
from edgefsa.engines.precision import convolutions, half_products, int8_products
from edgefsa.engines.session import LayerPrecision, Session
from edgefsa.engines.target import COMPUTE_TYPES, BuildJob, Target, TargetBuild, TargetOptions
from edgefsa.engines.tensorrt.builder import ENGINE_NAME, PlanBuild, layers_of, onnx_nodes
from edgefsa.engines.tensorrt.memory import memory_fault
from edgefsa.engines.tensorrt.plan_check import check_plan_form, check_plan_weights
from edgefsa.engines.tensorrt.session import PlanSession, logits_refused
from edgefsa.errors import InputError
from edgefsa.machine import gpus

if TYPE_CHECKING:
    import onnx

DEFAULT_COMPUTE_CAPABILITIES = ("8.6", "8.9")
# It took up to 900 MB beyond a build for another target, by the operators (benchmarks/results/build-memory.json).
BUILDER_MB = 1000.0
_WORDS = {"FLOAT": "f32", "HALF": "f16"}


@dataclass(frozen=True)
class RtxOptions(TargetOptions):
    """`compute_capabilities` ("8.9") are those of the GPUs to build for."""

    compute_capabilities: tuple[str, ...] = DEFAULT_COMPUTE_CAPABILITIES


class TensorRtRtxTarget(Target):
    """Builds plans for RTX GPUs; runs them where there is one."""

    name = "tensorrt-rtx"
    package = "tensorrt_rtx"
    extra = "rtx"
    version_parts = 2
    options_type = RtxOptions

    def unbuildable(self) -> str | None:
        """Return why it cannot build here; it needs its package, and no GPU."""
        return self.package_fault()

    def unusable(self) -> str | None:
        """Return why engines of this target cannot run on this machine, or None where they can."""
        fault = self.package_fault()
        if fault is not None:
            return fault
        if not gpus():
            return "the driver shows no NVIDIA GPU (an engine can be built here, and run on a machine with an RTX GPU)"
        known = known_capabilities()
        if not any(gpu.compute_capability in known for gpu in gpus()):
            found = ", ".join(f"{gpu.name} ({gpu.compute_capability})" for gpu in gpus())
            return f"it runs on GPUs of compute capability {', '.join(known)}, and here is {found}"
        return memory_fault()

    def memory_parts(self, rest: Sequence[MemoryPart], options: TargetOptions) -> list[MemoryPart]:
        """Return what the builder takes of the machine's memory."""
        return [MemoryPart("TensorRT for RTX's builder", BUILDER_MB, MEASURED)]

    def build(self, job: BuildJob) -> TargetBuild:
        """Compile engine.plan for the asked-for compute capabilities; runs here only where an RTX GPU is."""
        from edgefsa.graph.files import inline_functions

        quantization, graph, kept = None, job.source, dict[str, Any]()
        if job.precision == "int8":
            graph, quantization = int8_graph(job, "int8", rest="f16")
            write_graph(graph, job.directory / QUANTISED_NAME)
        elif job.precision == "fp16":
            graph, kept = half_graph(job)
            write_graph(graph, job.directory / HALF_NAME)
        inlined = inline_functions(graph)
        converted_nodes = {"int8": int8_products, "fp16": half_products}.get(job.precision, convolutions)
        expected = converted_nodes(inlined.graph)
        assert isinstance(job.options, RtxOptions)
        capabilities = job.options.compute_capabilities
        layers, plan = _build_plan(job, graph, capabilities)
        held = check_plan_weights(plan, inlined, expected)
        rest = "f32" if job.precision == "fp32" else "f16"
        return TargetBuild(
            detail={
                "compute": COMPUTE_TYPES[job.precision],
                "float": rest,
                "compute_capabilities": list(capabilities),
                **kept,
            },
            converted=None if job.precision == "fp32" else graph,
            expected=expected,
            layers=layers,
            quantization=quantization,
            account=f"TensorRT-RTX's strongly typed network; the plan holds the weights of {held} of {len(expected)}",
            evidence="network",
            runs_here=self.unusable() is None,
            uses_cpu=False,
            device={"compute_capabilities": list(capabilities)},
        )

    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Return the session, not loaded yet."""
        return PlanSession(directory, manifest, module=self.package, threads=threads)

    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Refuse: a plan has no other outputs than it was built with."""
        raise logits_refused(directory)


def known_capabilities() -> list[str]:
    """List the compute capabilities that this TensorRT-RTX builds for, as in "8.9"."""
    import tensorrt_rtx

    names = [name for name in dir(tensorrt_rtx.ComputeCapability) if name.startswith("SM") and name[2:].isdigit()]
    return [f"{int(name[2:-1])}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:]))]


def _build_plan(
    job: BuildJob, graph: onnx.ModelProto, capabilities: Sequence[str]
) -> tuple[list[LayerPrecision], bytes]:
    """Write engine.plan; return the layers of the network that it was compiled from, and the plan."""
    import tensorrt_rtx

    known = known_capabilities()
    for capability in capabilities:
        if capability not in known:
            raise InputError(
                f"compute capability {capability} is unknown to TensorRT-RTX {tensorrt_rtx.__version__}; "
                f"use some of {', '.join(known)}"
            )
    build = PlanBuild(tensorrt_rtx, "TensorRT-RTX", ["STRONGLY_TYPED"])
    build.parse(graph.SerializeToString())
    build.take_batches(job.metadata)
    config = build.config
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        value = getattr(tensorrt_rtx.ComputeCapability, f"SM{capability.replace('.', '')}")
        config.set_compute_capability(value, index)
    plan = build.serialize()
    check_plan_form(build, plan)
    (job.directory / ENGINE_NAME).write_bytes(plan)
    return _network_layers(build.network), plan


def _network_layers(network: Any) -> list[LayerPrecision]:
    layers = layers_of(network)
    makers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    found = []
    for layer in layers:
        if layer.type.name == "CONSTANT":
            continue
        factors = [layer.get_input(index) for index in range(min(layer.num_inputs, 2))]
        multiplies = layer.type.name in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
        integer = multiplies and len(factors) == 2 and all(_is_dequantised(tensor, makers) for tensor in factors)
        kind = layer.get_output(0).dtype.name
        precision = "int8" if integer else _WORDS.get(kind, kind.lower())
        found.append(LayerPrecision(layer.name, layer.type.name.lower(), precision, "", _nodes(layer), multiplies))
    return found


def _is_dequantised(tensor: Any, makers: dict[str, Any]) -> bool:
    """Return whether a factor comes from a dequantisation, seen through layers that only move its elements.

    The parser itself puts a shuffle behind the weight of a matrix product whose activations have more dimensions.
    """
    maker = makers.get(tensor.name) if tensor is not None else None
    while maker is not None and maker.type.name == "SHUFFLE":
        maker = makers.get(maker.get_input(0).name)
    return maker is not None and bool(maker.type.name == "DEQUANTIZE")


def _nodes(layer: Any) -> tuple[str, ...]:
    return tuple(onnx_nodes(str(layer.metadata))) or (layer.name,)
