"""TensorRT, 10.3 (JetPack 6) to 11.x: engines for the GPU of the machine that builds them.

The network is strongly typed: the ONNX file's types are the engine's (docs/decisions/0030). What the layers run in is
read from the built engine itself.

Written against the published API and tested with a real ONNX parser and a builder that is played: it has not run on
a GPU yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.build_memory import MemoryPart, build_need
from edgefsa.engines.convert import half_graph, int8_graph, write_graph
from edgefsa.engines.names import HALF_NAME, NETWORK_NAME, QUANTISED_NAME
from edgefsa.engines.precision import half_products, int8_products
from edgefsa.engines.session import LayerPrecision, Session
from edgefsa.engines.target import COMPUTE_TYPES, BuildJob, Target, TargetBuild, TargetOptions
from edgefsa.engines.tensorrt.builder import ENGINE_NAME, PlanBuild, layers_of
from edgefsa.engines.tensorrt.builder_memory import BuilderMemory, builder_memory
from edgefsa.engines.tensorrt.layers import PLUGIN_KIND, layers_from_inspector
from edgefsa.engines.tensorrt.limits import apply_options, check_options, check_plugins
from edgefsa.engines.tensorrt.memory import memory_fault
from edgefsa.engines.tensorrt.options import FIRST_OF_AMPERE, TensorRtOptions
from edgefsa.engines.tensorrt.plugins.choice import KERNELS, LIBRARY, PLAN, PluginChoice, choose_plugins, load_plugins
from edgefsa.engines.tensorrt.plugins.library import major_minor, tensorrt_version
from edgefsa.engines.tensorrt.plugins.nodes import plugin_graph, plugin_operators
from edgefsa.engines.tensorrt.runtime import load_engine
from edgefsa.engines.tensorrt.session import PlanSession, logits_refused
from edgefsa.engines.tensorrt.timing_cache import store_timing_cache, timing_cache_path, use_timing_cache
from edgefsa.engines.tensorrt.trtexec import trtexec_line
from edgefsa.engines.tensorrt.typed_network import network_layers
from edgefsa.errors import BuildError, EngineError
from edgefsa.machine import Gpu, driver_cuda, gpus
from edgefsa.machine.memory import memory

if TYPE_CHECKING:
    import onnx

TITLE = "TensorRT"
OLDEST = (10, 3)
_JETSON = "a Jetson has it from JetPack: apt install python3-libnvinfer, and a venv with --system-site-packages"


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

    def check_request(self, options: TargetOptions, precision: str, metadata: Mapping[str, Any]) -> None:
        """Raise TargetError for what this version, GPU or board cannot do, InputError for what does not go together."""
        import tensorrt

        assert isinstance(options, TensorRtOptions)
        check_options(tensorrt, options, gpus()[0], precision, metadata)

    def memory_parts(self, rest: Sequence[MemoryPart], options: TargetOptions) -> list[MemoryPart]:
        """Return what TensorRT takes of the machine's memory."""
        return _builder_memory(rest, options).parts()

    def build(self, job: BuildJob) -> TargetBuild:
        """Compile engine.plan for this machine's GPU, and read back what its layers run in."""
        import tensorrt

        gpu, options = gpus()[0], job.options
        assert isinstance(options, TensorRtOptions)
        operators = plugin_operators(job.source)
        plugins = choose_plugins(options.plugins, operators, tensorrt.__version__, gpu.compute_capability)
        plugins = plugins.serialized() if options.serialize_plugins else plugins
        check_plugins(options, plugins)
        plugins.register(tensorrt, gpu.compute_capability)
        graph = _typed_graph(job, plugins)
        write_graph(graph.model, job.directory / NETWORK_NAME)
        given = _builder_memory(build_need(job.source).parts, options)
        build = _parsed(tensorrt, graph, plugins)
        build.take_batches(job.metadata)
        given.apply(tensorrt, build.config)
        settings = {**given.as_dict(), **options.as_dict(), "graph": NETWORK_NAME}
        settings |= {"dla_layers": taken} if (taken := apply_options(build, options, plugins)) else {}
        layers = _build_plan(build, job, gpu, settings)
        _check_plugins_are_in(graph.plugin_nodes, layers)
        return TargetBuild(
            detail={
                "compute": COMPUTE_TYPES[job.precision],
                "float": "f32" if job.precision == "fp32" else "f16",
                "plugins": {"asked": options.plugins, "used": plugins.kind, "why": plugins.why},
                "builder": settings,
                "trtexec": _trtexec(job, options, given, plugins),
                **graph.kept,
            },
            converted=graph.converted,
            expected=graph.expected,
            layers=layers,
            quantization=graph.quantization,
            account="TensorRT's typed network" if options.dla is not None else "TensorRT's engine inspector",
            evidence="network" if options.dla is not None else "engine",
            uses_cpu=False,
            device=_device(gpu, options),
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
    """The graph for the parser, whose bodies are inlined; `kept` says for the manifest what stays in float32."""

    model: onnx.ModelProto
    converted: onnx.ModelProto | None
    expected: list[str]
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
    return _TypedGraph(model, converted, expected, nodes, quantization, kept)


def _parsed(tensorrt: Any, graph: _TypedGraph, plugins: PluginChoice) -> PlanBuild:
    """Parse a graph into a strongly typed network, with a layer for each plugin node."""
    creation = ["STRONGLY_TYPED", *(["PREFER_AOT_PYTHON_PLUGINS"] if plugins.kind == KERNELS else [])]
    build = PlanBuild(tensorrt, TITLE, creation)
    build.parse(graph.model.SerializeToString())
    made = [layer.name for layer in layers_of(build.network) if layer.type == tensorrt.LayerType.PLUGIN_V3]
    if len(made) != len(graph.plugin_nodes):
        raise BuildError(
            f"{TITLE} {tensorrt.__version__} made {len(made)} plugin layers of the {len(graph.plugin_nodes)} plugin "
            f"nodes {', '.join(graph.plugin_nodes)}; build with --plugins none"
        )
    return build


def _build_plan(build: PlanBuild, job: BuildJob, gpu: Gpu, settings: Mapping[str, Any]) -> list[LayerPrecision]:
    """Write engine.plan, which is TensorRT's own file and nothing else, and ask it what its layers run in.

    What runs on a DLA the inspector shows as one piece; there the typed network that was built from answers.
    """
    tensorrt, path = build.tensorrt, job.directory / ENGINE_NAME
    stored = timing_cache_path(tensorrt.__version__, gpu.name, gpu.compute_capability)
    cache = use_timing_cache(build.config, stored)
    path.write_bytes(build.serialize(job.compiling))
    store_timing_cache(cache, stored, job.directory)
    try:
        engine = load_engine(tensorrt, build.logger, path, settings, host_code=True)
    except EngineError as error:
        raise BuildError(str(error)) from error
    if engine is None:
        raise BuildError(f"{TITLE} cannot load the engine it has built: {build.logger.last_error()}")
    if "dla" in settings:
        return network_layers(build.network)
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


def _device(gpu: Gpu, options: TensorRtOptions) -> dict[str, Any]:
    driver = driver_cuda()
    device: dict[str, Any] = {
        "gpu": gpu.name,
        "compute_capabilities": [gpu.compute_capability],
        "driver_cuda": f"{driver[0]}.{driver[1]}" if driver else "",
    }
    if options.hardware_compatible == "ampere+":
        device["compute_capability_from"] = FIRST_OF_AMPERE
    if options.version_compatible:
        device["version_compatible"] = True
    return device


def _trtexec(job: BuildJob, options: TensorRtOptions, given: BuilderMemory, plugins: PluginChoice) -> str:
    if plugins.kind == KERNELS:
        return "none: its kernels come from Python while the plan is built"
    library = None if plugins.library is None else str(plugins.library.path)
    level = given.optimization_level
    return trtexec_line(
        NETWORK_NAME, job.metadata, options, workspace_mb=given.workspace_mb, level=level, library=library
    )


def _in_words(plugins: PluginChoice) -> str:
    names = ", ".join(plugins.operators)
    if plugins.kind == LIBRARY:
        inside = ", inside the plan" if plugins.entries[0]["where"] == PLAN else ""
        return f"{names} of {plugins.library.path if plugins.library else ''}{inside}"
    return f"{names} as kernels inside the engine" if plugins.kind == KERNELS else f"none: {plugins.why}"
