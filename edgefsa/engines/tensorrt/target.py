"""TensorRT, 10.3 (JetPack 6) to 11.x: engines for the GPU of the machine that builds them.

From 10.12 on the network is strongly typed; before that it gets its types by builder flags and by holding layers to
what the ONNX file says (docs/decisions/0009). What the layers run in is read from the built engine itself.

Written against the published API and tested with a real ONNX parser and a builder that is played: it has not run on
a GPU yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.build_memory import MemoryPart, build_need
from edgefsa.engines.convert import half_graph, int8_graph, write_graph
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME
from edgefsa.engines.precision import half_products, int8_products
from edgefsa.engines.session import LayerPrecision, Session
from edgefsa.engines.target import COMPUTE_TYPES, BuildJob, Target, TargetBuild, TargetOptions
from edgefsa.engines.tensorrt.builder import ENGINE_NAME, PlanBuild, layers_of
from edgefsa.engines.tensorrt.builder_memory import LEVELS, BuilderMemory, builder_memory
from edgefsa.engines.tensorrt.layers import PLUGIN_KIND, layers_from_inspector
from edgefsa.engines.tensorrt.memory import memory_fault
from edgefsa.engines.tensorrt.plugins.choice import KERNELS, LIBRARY, PluginChoice, choose_plugins, load_plugins
from edgefsa.engines.tensorrt.plugins.library import major_minor, tensorrt_version
from edgefsa.engines.tensorrt.plugins.nodes import plugin_graph, plugin_operators
from edgefsa.engines.tensorrt.session import PlanSession, logits_refused
from edgefsa.engines.tensorrt.timing_cache import store_timing_cache, timing_cache_path, use_timing_cache
from edgefsa.engines.tensorrt.types import hold_types, types_by_node
from edgefsa.errors import BuildError, InputError
from edgefsa.machine import Gpu, driver_cuda, gpus
from edgefsa.machine.memory import memory

if TYPE_CHECKING:
    import onnx

TITLE = "TensorRT"
OLDEST = (10, 3)
PLUGIN_CHOICES = ("auto", "library", "kernels", "none")
STRONGLY_TYPED_FROM = (10, 12)
_JETSON = "a Jetson has it from JetPack: apt install python3-libnvinfer, and a venv with --system-site-packages"


@dataclass(frozen=True)
class TensorRtOptions(TargetOptions):
    """`plugins` is "library", "kernels" (inside the engine), "none" (the function bodies), or "auto".

    With "auto" it is the library where one serves, else none. `workspace_mb` (MB of 2**20) and `optimization_level` (0
    to 5) are the builder's; None lets the free memory of a Jetson decide, and TensorRT elsewhere.
    """

    plugins: str = "auto"
    workspace_mb: int | None = None
    optimization_level: int | None = None

    def __post_init__(self) -> None:
        if self.plugins not in PLUGIN_CHOICES:
            raise InputError(f"plugins {self.plugins} is unknown; use one of {', '.join(PLUGIN_CHOICES)}")
        if self.workspace_mb is not None and not (type(self.workspace_mb) is int and self.workspace_mb >= 1):
            raise InputError(f"workspace_mb {self.workspace_mb} is no number of megabytes above 0; give one")
        if self.optimization_level is not None and self.optimization_level not in LEVELS:
            raise InputError(f"optimization_level {self.optimization_level} is not one of 0 to {LEVELS[-1]}; give one")


class TensorRtTarget(Target):
    """Builds plans for the GPU of this machine, with the CUDA plugins where they can be had, and runs them."""

    name = "tensorrt"
    package = "tensorrt"
    extra = "tensorrt"
    version_parts = 4
    options_type = TensorRtOptions

    def version(self) -> str:
        """Return TensorRT's version, or "" where it is not installed."""
        return tensorrt_version()

    def package_fault(self) -> str | None:
        """Return why TensorRT's package cannot be used, or None where it can."""
        fault = super().package_fault()
        if fault is not None:
            return fault if self.version() else f"{fault} ({_JETSON})"
        if major_minor(self.version()) < OLDEST:
            return f"TensorRT {self.version()} is too old; install 10.3 or newer (JetPack 6 has it)"
        return None

    def unusable(self) -> str | None:
        """Return why engines of this target can neither be built nor run here, or None where they can."""
        fault = self.package_fault()
        if fault is None and not gpus():
            return "the driver shows no NVIDIA GPU, and TensorRT builds an engine on the GPU that is to run it"
        return fault or memory_fault()

    def memory_parts(self, rest: Sequence[MemoryPart], options: TargetOptions) -> list[MemoryPart]:
        """Return what TensorRT takes of the machine's memory."""
        return _builder_memory(rest, options).parts()

    def build(self, job: BuildJob) -> TargetBuild:
        """Compile engine.plan for this machine's GPU, and read back what its layers run in."""
        import tensorrt

        gpu = gpus()[0]
        operators = plugin_operators(job.source)
        assert isinstance(job.options, TensorRtOptions)
        asked = job.options.plugins
        plugins = choose_plugins(asked, operators, tensorrt.__version__, gpu.compute_capability)
        plugins.register(tensorrt, gpu.compute_capability)
        graph = _typed_graph(job, plugins)
        given = _builder_memory(build_need(job.source).parts, job.options)
        build = _parsed(tensorrt, graph, job.precision, plugins)
        given.apply(tensorrt, build.config)
        layers = _build_plan(build, job.directory, gpu)
        _check_plugins_are_in(graph.plugin_nodes, layers)
        return TargetBuild(
            detail={
                "compute": COMPUTE_TYPES[job.precision],
                "float": "f32" if job.precision == "fp32" else "f16",
                "typing": "strong" if _is_strong(tensorrt, plugins) else "builder flags",
                "plugins": {"asked": asked, "used": plugins.kind, "why": plugins.why},
                "builder": given.as_dict(),
                **graph.kept,
            },
            converted=graph.converted,
            expected=graph.expected,
            layers=layers,
            quantization=graph.quantization,
            account="TensorRT's engine inspector",
            uses_cpu=False,
            device=_device(gpu),
            plugins=plugins.entries,
            plugins_in_words=_in_words(plugins),
        )

    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Return the session, not loaded yet; it loads the plugin library that the engine was built with."""

        def prepare(tensorrt: Any) -> None:
            load_plugins(tensorrt, manifest, gpus()[0].compute_capability)

        return PlanSession(directory, manifest, module=self.package, prepare=prepare, threads=threads)

    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Refuse: a plan has no other outputs than it was built with."""
        raise logits_refused(directory)


@dataclass(frozen=True)
class _TypedGraph:
    """The graph for the parser, whose bodies are inlined; `types` are what a network has to be held to by hand.

    `kept` says for the manifest what stays in float32.
    """

    model: onnx.ModelProto
    converted: onnx.ModelProto | None
    expected: list[str]
    types: dict[str, str]
    plugin_nodes: list[str]
    quantization: dict[str, Any] | None
    kept: dict[str, Any]


def _typed_graph(job: BuildJob, plugins: PluginChoice) -> _TypedGraph:
    from edgefsa.graph.files import inline_functions
    from edgefsa.graph.operators import DOMAIN

    graph, quantization, kept = job.source, None, dict[str, Any]()
    if job.precision == "int8":
        graph, quantization = int8_graph(job, "int8", rest="f16", int8_operators=plugins.kind == LIBRARY)
        write_graph(graph, job.directory / QUANTISED_NAME)
    elif job.precision == "fp16":
        graph, kept = half_graph(job)
        write_graph(graph, job.directory / HALF_NAME)
    # Inlined bodies, not functions: parsers before 10.8 mix up their names with those outside, and later ones take a
    # plugin instead of a body wherever one is registered.
    whole = inline_functions(graph)
    expected = {"int8": int8_products, "fp16": half_products}.get(job.precision, lambda graph: [])(whole.graph)
    model = whole
    if plugins.operators:
        model = inline_functions(plugin_graph(graph, plugins.operators, int8=plugins.take_int8))
    nodes = [node.name for node in model.graph.node if node.domain == DOMAIN]
    converted = None if job.precision == "fp32" else graph
    return _TypedGraph(model, converted, expected, types_by_node(whole), nodes, quantization, kept)


def _is_strong(tensorrt: Any, plugins: PluginChoice) -> bool:
    # Kernels inside the engine tell their types as strongly typed networks do.
    return major_minor(tensorrt.__version__) >= STRONGLY_TYPED_FROM or plugins.kind == KERNELS


def _parsed(tensorrt: Any, graph: _TypedGraph, precision: str, plugins: PluginChoice) -> PlanBuild:
    """Parse a graph and set its types and flags, by the version of TensorRT."""
    strong = _is_strong(tensorrt, plugins)
    creation = ["STRONGLY_TYPED"] if strong else []
    creation += ["PREFER_AOT_PYTHON_PLUGINS"] if plugins.kind == KERNELS else []
    build = PlanBuild(tensorrt, TITLE, creation)
    build.parse(graph.model.SerializeToString())
    flags = tensorrt.BuilderFlag
    if precision != "fp32" and not strong:
        names = ["FP16", "OBEY_PRECISION_CONSTRAINTS", *(["INT8"] if precision == "int8" else [])]
        for name in names:
            build.config.set_flag(getattr(flags, name))
        hold_types(tensorrt, build.network, graph.types)
    made = [layer.name for layer in layers_of(build.network) if layer.type == tensorrt.LayerType.PLUGIN_V3]
    if len(made) != len(graph.plugin_nodes):
        raise BuildError(
            f"{TITLE} {tensorrt.__version__} made {len(made)} plugin layers of the {len(graph.plugin_nodes)} plugin "
            f"nodes {', '.join(graph.plugin_nodes)}; build with --plugins none"
        )
    return build


def _build_plan(build: PlanBuild, directory: Path, gpu: Gpu) -> list[LayerPrecision]:
    """Write engine.plan, which is TensorRT's own file and nothing else, and ask it what its layers run in."""
    tensorrt = build.tensorrt
    stored = timing_cache_path(tensorrt.__version__, gpu.name, gpu.compute_capability)
    cache = use_timing_cache(build.config, stored)
    plan = build.serialize()
    (directory / ENGINE_NAME).write_bytes(plan)
    store_timing_cache(cache, stored, directory)
    runtime = tensorrt.Runtime(build.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BuildError(f"{TITLE} cannot load the engine it has built: {build.logger.last_error()}")
    inspector = engine.create_engine_inspector()
    return layers_from_inspector(inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON))


def _check_plugins_are_in(nodes: list[str], layers: list[LayerPrecision]) -> None:
    found = {node for row in layers if row.kind == PLUGIN_KIND for node in row.nodes}
    missing = [node for node in nodes if node not in found]
    if missing:
        raise BuildError(
            f"the engine has no plugin layer for {', '.join(missing)} by its inspector; build with --plugins none"
        )


def _builder_memory(rest: Sequence[MemoryPart], options: TargetOptions) -> BuilderMemory:
    assert isinstance(options, TensorRtOptions)
    here = memory() if gpus()[0].integrated else None
    free_mb = here.available_mb if here is not None else None
    return builder_memory(free_mb, rest, workspace_mb=options.workspace_mb, level=options.optimization_level)


def _device(gpu: Gpu) -> dict[str, Any]:
    driver = driver_cuda()
    return {
        "gpu": gpu.name,
        "compute_capabilities": [gpu.compute_capability],
        "driver_cuda": f"{driver[0]}.{driver[1]}" if driver else "",
    }


def _in_words(plugins: PluginChoice) -> str:
    names = ", ".join(plugins.operators)
    if plugins.kind == LIBRARY:
        return f"{names} of {plugins.library.path if plugins.library else ''}"
    return f"{names} as kernels inside the engine" if plugins.kind == KERNELS else f"none: {plugins.why}"
