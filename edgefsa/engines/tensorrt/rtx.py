"""TensorRT for RTX: engines built ahead of time, on any machine, for GPUs of given compute capabilities.

The network is strongly typed: the types in the ONNX file (float16 tensors, Q/DQ pairs) are the types it runs in.
Function bodies go in as they are. Without a GPU TensorRT refuses to load an engine, also for its inspector, so
the account of the layers is the typed network that the engine was compiled from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.build_memory import MEASURED, MemoryPart
from edgefsa.engines.convert import half_graph, int8_graph, write_graph
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME, SOURCE_NAME
from edgefsa.engines.precision import convolutions, half_products, int8_products
from edgefsa.engines.session import LayerPrecision, Session
from edgefsa.engines.target import COMPUTE_TYPES, BuildJob, Target, TargetBuild, TargetOptions
from edgefsa.engines.tensorrt.builder import ENGINE_NAME, PlanBuild
from edgefsa.engines.tensorrt.memory import memory_fault
from edgefsa.engines.tensorrt.options import PlanOptions
from edgefsa.engines.tensorrt.plan_check import check_plan_form, check_plan_weights
from edgefsa.engines.tensorrt.session import PlanSession, logits_refused
from edgefsa.engines.tensorrt.trtexec import tensorrt_rtx_line
from edgefsa.engines.tensorrt.typed_network import network_layers
from edgefsa.errors import InputError, TargetError
from edgefsa.machine import gpus

if TYPE_CHECKING:
    import onnx

DEFAULT_COMPUTE_CAPABILITIES = ("8.6", "8.9")
# It took up to 900 MB beyond a build for another target, by the operators (benchmarks/results/build-memory.json).
BUILDER_MB = 1000.0


@dataclass(frozen=True)
class RtxOptions(PlanOptions):
    """`compute_capabilities` ("8.9") are those of the GPUs to build for; `strip_weights` needs a GPU here."""

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

    def check_request(self, options: TargetOptions, precision: str, metadata: Mapping[str, Any]) -> None:
        """Raise InputError for a compute capability that it does not know, TargetError for what needs a GPU here."""
        assert isinstance(options, RtxOptions)
        known = known_capabilities()
        for capability in options.compute_capabilities:
            if capability not in known:
                raise InputError(
                    f"compute capability {capability} is unknown to TensorRT-RTX {self.version()}; use some of "
                    f"{', '.join(known)}"
                )
        if options.strip_weights and not gpus():
            raise TargetError(
                "TensorRT-RTX makes plans without weights on a machine with a GPU only, and the driver shows none; "
                "leave strip_weights out"
            )

    def memory_parts(self, rest: Sequence[MemoryPart], options: TargetOptions) -> list[MemoryPart]:
        """Return what the builder takes of the machine's memory."""
        return [MemoryPart("TensorRT for RTX's builder", BUILDER_MB, MEASURED)]

    def build(self, job: BuildJob) -> TargetBuild:
        """Compile engine.plan for the asked-for compute capabilities; runs here only where an RTX GPU is."""
        from edgefsa.graph.files import inline_functions

        quantization, graph, kept, name = None, job.source, dict[str, Any](), SOURCE_NAME
        if job.precision == "int8":
            graph, quantization = int8_graph(job, "int8", rest="f16")
            name = QUANTISED_NAME
        elif job.precision == "fp16":
            graph, kept = half_graph(job)
            name = HALF_NAME
        if name != SOURCE_NAME:
            write_graph(graph, job.directory / name)
        inlined = inline_functions(graph)
        converted_nodes = {"int8": int8_products, "fp16": half_products}.get(job.precision, convolutions)
        expected = converted_nodes(inlined.graph)
        options = job.options
        assert isinstance(options, RtxOptions)
        capabilities = options.compute_capabilities
        layers, plan = _build_plan(job, graph, options)
        held = "it has no weights of its own"
        if not options.strip_weights:
            held = f"the plan holds the weights of {check_plan_weights(plan, inlined, expected)} of {len(expected)}"
        rest = "f32" if job.precision == "fp32" else "f16"
        return TargetBuild(
            detail={
                "compute": COMPUTE_TYPES[job.precision],
                "float": rest,
                "compute_capabilities": list(capabilities),
                "builder": _builder_record(options, name),
                "trtexec": tensorrt_rtx_line(name, job.metadata, options, capabilities),
                **kept,
            },
            converted=None if job.precision == "fp32" else graph,
            expected=expected,
            layers=layers,
            quantization=quantization,
            account=f"TensorRT-RTX's strongly typed network; {held}",
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


def _build_plan(job: BuildJob, graph: onnx.ModelProto, options: RtxOptions) -> tuple[list[LayerPrecision], bytes]:
    """Write engine.plan; return the layers of the network that it was compiled from, and the plan."""
    import tensorrt_rtx

    capabilities = options.compute_capabilities
    build = PlanBuild(tensorrt_rtx, "TensorRT-RTX", ["STRONGLY_TYPED"])
    build.parse(graph.SerializeToString())
    build.take_batches(job.metadata)
    config = build.config
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(tensorrt_rtx.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.strip_weights:
        build.strip_weights()
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        value = getattr(tensorrt_rtx.ComputeCapability, f"SM{capability.replace('.', '')}")
        config.set_compute_capability(value, index)
    plan = build.serialize(job.compiling)
    check_plan_form(build, plan)
    (job.directory / ENGINE_NAME).write_bytes(plan)
    return network_layers(build.network), plan


def _builder_record(options: RtxOptions, graph: str) -> dict[str, Any]:
    record = {"workspace_mb": options.workspace_mb, "optimization_level": options.optimization_level}
    return {**record, "strip_weights": True, "graph": graph} if options.strip_weights else record
