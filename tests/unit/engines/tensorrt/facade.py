"""A module `tensorrt` of a given version for machines without one.

It has the names that this version's list has, and no others. Parsing is real: TensorRT for RTX does it, which has the
same parser and network. What needs a GPU or a plugin layer is played: the compiled plan is a text, the inspector
tells of the network's layers in the fields of a real report, and an opened engine is run by a function of NumPy.
"""

from __future__ import annotations

import ctypes
import json
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx

from edgefsa.engines.tensorrt.plugins.library import NAMESPACE, PLUGINS

PLAN = b"ptrt: a plan"
# Types as reports of both kinds of kernels spell them.
WORDS = {"FLOAT": "Row major linear FP32", "HALF": "Channel major FP16 format where channel % 8 == 0"}
# A product in INT8 is a layer of the graph compiler, of which the kernel's name tells what it multiplies.
INTEGER_PRODUCT = {
    "LayerType": "fusion",
    "TacticName": "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize32x64x64_stage6_warpsize2x2x1_by_fusion_tactic",
}


@dataclass
class Played:
    """What a test says of the machine, and what happened to it, in order."""

    version: str
    listing: dict[str, list[str]]
    run: Callable[[Any], Any] | None = None
    report: Callable[[list[dict[str, Any]]], object] = lambda rows: {"Layers": rows, "Bindings": []}
    registered: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)
    creation: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=lambda: {"TF32"})
    timing: list[bytes] = field(default_factory=list)
    pools: dict[str, int] = field(default_factory=dict)
    level: int = 3
    gpu: Any = None
    parsed: onnx.ModelProto | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    profile: tuple[tuple[int, ...], ...] | None = None
    config: Any = None
    dla_cores: int = 0
    dla_takes: Callable[[Any], bool] = lambda layer: layer.type.name == "CONVOLUTION"
    refuses_weights: str = ""
    while_building: Callable[[], object] = lambda: None


class Named:
    """A member of an enumeration that TensorRT for RTX lacks."""

    def __init__(self, name: str, value: int) -> None:
        self.name, self.value = name, value

    def __int__(self) -> int:
        return self.value


class Guarded:
    """Answers for the listed names of a class, and raises AttributeError for all others, also when they are set."""

    def __init__(self, played: Played, kind: str, real: Any = None) -> None:
        object.__setattr__(self, "_state", (played, frozenset(played.listing[kind]), kind, real))

    def __getattribute__(self, name: str) -> Any:
        state = object.__getattribute__(self, "_state")
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        if name not in state[1]:
            raise AttributeError(f"{state[2]} of TensorRT {state[0].version} has no {name}")
        try:
            return object.__getattribute__(self, name)
        except AttributeError:
            return getattr(state[3], name)

    def __setattr__(self, name: str, value: Any) -> None:
        state = object.__getattribute__(self, "_state")
        if name not in state[1]:
            raise AttributeError(f"{state[2]} of TensorRT {state[0].version} has no {name}")
        object.__setattr__(self, name, value)


class Layer(Guarded):
    """A layer of the real network."""

    @property
    def metadata(self) -> str:
        return str(self._state[3].metadata)


class PluginLayer:
    """What the parser makes of a plugin node."""

    num_outputs, num_inputs = 1, 0

    def __init__(self, kind: Any, node: onnx.NodeProto) -> None:
        self.type, self.name, self.op_type = kind, node.name, node.op_type
        self.metadata = f"[ONNX Layer: {node.name}]"

    def get_output(self, index: int) -> Any:
        return SimpleNamespace(dtype=SimpleNamespace(name="FLOAT"), name=f"{self.name}_out")


class Network(Guarded):
    """The real network of a graph, in which plugin nodes are layers of their own."""

    _layers: tuple[Any, ...] = ()

    def __init__(self, played: Played, real: Any) -> None:
        super().__init__(played, "INetworkDefinition", real)

    def _fill(self, plugins: list[PluginLayer]) -> None:
        """List the layers once a graph is parsed."""
        played, real = self._state[0], self._state[3]
        layers = [Layer(played, "ILayer", real.get_layer(index)) for index in range(real.num_layers)]
        object.__setattr__(self, "_layers", (*layers, *plugins))

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> Any:
        return self._layers[index]


class Parser(Guarded):
    """The real parser. Nodes whose plugin is registered become identities for it, as it cannot make the layer."""

    def __init__(self, played: Played, network: Network, logger: Any, module: Any) -> None:
        super().__init__(played, "OnnxParser")
        object.__setattr__(self, "_made", (network, module))
        object.__setattr__(self, "_real", module._real.OnnxParser(network._state[3], logger))

    def parse(self, data: bytes) -> bool:
        played, (network, module) = self._state[0], self._made
        model = played.parsed = onnx.ModelProto.FromString(data)
        bare = onnx.ModelProto.FromString(data)
        plugins = [node for node in bare.graph.node if node.domain == "edgefsa" and node.op_type in played.registered]
        for node in plugins:
            _stand_in(bare, node)
        parsed = self._real.parse(bare.SerializeToString())
        network._fill([PluginLayer(module.LayerType.PLUGIN_V3, node) for node in plugins])
        for tensor in [*model.graph.input, *model.graph.output]:
            dims = tensor.type.tensor_type.shape.dim
            played.shapes[tensor.name] = tuple(-1 if item.dim_param else item.dim_value for item in dims)
        return bool(parsed)

    @property
    def num_errors(self) -> int:
        return int(self._real.num_errors)

    def get_error(self, index: int) -> Any:
        return self._real.get_error(index)


def _stand_in(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Put standard nodes of the same shapes and types in a plugin node's place."""
    if node.op_type == "UpsampleArgmax":
        sizes = {item.name: item.i for item in node.attribute}
        shape = np.array([1, 1, sizes["height"], sizes["width"]], np.int64)
        model.graph.initializer.append(onnx.numpy_helper.from_array(shape, f"{node.name}.sizes"))
        made = [
            onnx.helper.make_node("ArgMax", [node.input[0]], [f"{node.name}.low"], axis=1, keepdims=1),
            onnx.helper.make_node("Cast", [f"{node.name}.low"], [f"{node.name}.float"], to=1),
            onnx.helper.make_node("Resize", [f"{node.name}.float", "", "", f"{node.name}.sizes"], [f"{node.name}.up"]),
            onnx.helper.make_node(
                "Cast", [f"{node.name}.up"], [f"{node.name}.int"], to=10 if sizes["half_indices"] else 6
            ),
            onnx.helper.make_node("Squeeze", [f"{node.name}.int", f"{node.name}.axis"], list(node.output)),
        ]
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), f"{node.name}.axis"))
    else:
        made = [onnx.helper.make_node("Identity", [node.input[0]], list(node.output), f"{node.name}.played")]
    nodes = [item for other in model.graph.node for item in (made if other == node else [other])]
    kept = [onnx.NodeProto.FromString(item.SerializeToString()) for item in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


class Config(Guarded):
    """Notes what a build asks for."""

    def __init__(self, played: Played) -> None:
        super().__init__(played, "IBuilderConfig")

    def set_flag(self, flag: Named) -> None:
        self._state[0].flags.add(flag.name)

    def clear_flag(self, flag: Named) -> None:
        self._state[0].flags.discard(flag.name)

    def add_optimization_profile(self, profile: Profile) -> int:
        self._state[0].profile = profile._shapes
        return 0

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert pool.name in ("WORKSPACE", "TACTIC_DRAM")
        self._state[0].pools[pool.name] = size

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802
        return self._state[0].dla_takes(layer)

    def create_timing_cache(self, data: bytes) -> Any:
        if data and not data.startswith(b"timing"):
            return None
        self._state[0].timing.append(bytes(data))
        return SimpleNamespace(serialize=lambda: (data or b"timing") + b"+")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        return cache is not None and not ignore_mismatch


class Profile(Guarded):
    """The shapes that an engine is built for."""

    def __init__(self, played: Played) -> None:
        super().__init__(played, "IOptimizationProfile")

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert input == "frames" and all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True))
        object.__setattr__(self, "_shapes", (tuple(min), tuple(opt), tuple(max)))


class Builder(Guarded):
    """Parses for real and compiles nothing."""

    def __init__(self, played: Played, logger: Any, module: Any) -> None:
        super().__init__(played, "Builder")
        object.__setattr__(self, "_made", (module, module._real.Builder(logger)))

    def create_network(self, flags: int) -> Network:
        module, builder = self._made
        played, kinds = self._state[0], module.NetworkDefinitionCreationFlag
        listed = [name for name in played.listing["NetworkDefinitionCreationFlag"] if name.isupper()]
        played.creation = {name for name in listed if flags >> int(getattr(kinds, name)) & 1}
        real = module._real.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network(played, builder.create_network(1 << int(real)))

    @property
    def num_DLA_cores(self) -> int:  # noqa: N802
        return self._state[0].dla_cores

    def create_builder_config(self) -> Config:
        self._state[0].config = config = Config(self._state[0])
        return config

    def create_optimization_profile(self) -> Profile:
        return Profile(self._state[0])

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        played = self._state[0]
        assert config.profiling_verbosity.name == "DETAILED"
        if played.shapes["frames"][0] == -1 and played.profile is None:
            return None
        config.progress_monitor.phase_start("Building engine", None, 2)
        for step in range(2):
            played.while_building()
            if not config.progress_monitor.step_complete("Building engine", step):
                return None
        config.progress_monitor.phase_finish("Building engine")
        played.level = getattr(config, "builder_optimization_level", played.level)
        assert "STRONGLY_TYPED" in played.creation
        rows = report_rows(network)
        return PLAN + json.dumps(played.report(rows)).encode()


def report_rows(network: Network) -> list[dict[str, Any]]:
    """Return of a network's layers as an inspector does; its Q/DQ pairs are taken into the layers that read them."""
    rows, dequantised = [], set()
    for layer in network._layers:
        if isinstance(layer, PluginLayer):
            rows.append({"Name": layer.name, "LayerType": "PluginV3", "PluginType": layer.op_type, **_ends("FLOAT")})
            continue
        real, kind = layer._state[3], layer.type.name
        output = real.get_output(0)
        if kind == "DEQUANTIZE":
            dequantised.add(output.name)
        if kind in ("CONSTANT", "QUANTIZE", "DEQUANTIZE"):
            continue
        sources = [real.get_input(index) for index in range(real.num_inputs)]
        if kind == "SHUFFLE" and sources[0].name in dequantised:
            dequantised.add(output.name)
        integer = len(sources) > 1 and all(item is not None and item.name in dequantised for item in sources[:2])
        word = output.dtype.name
        row = {"Name": real.name, "LayerType": kind.title(), "Metadata": f"{real.metadata}\x1f", **_ends(word)}
        if kind == "CONVOLUTION":
            weights = "Int8" if integer else {"FLOAT": "Float", "HALF": "Half"}[word]
            row |= {"LayerType": "CaskConvolution", "ParameterType": "Convolution", "Weights": {"Type": weights}}
        elif kind == "MATRIX_MULTIPLY":
            row |= INTEGER_PRODUCT if integer else {"LayerType": "gemm", "TacticName": "__myl_gemm_0x1234"}
        rows.append(row)
    return rows


def _ends(word: str) -> dict[str, Any]:
    tensor = {"Name": "t", "Location": "Device", "Dimensions": [1, 2], "Format/Datatype": WORDS.get(word, word)}
    return {"Inputs": [tensor], "Outputs": [tensor]}


class Runtime(Guarded):
    """Reads plans; one with code for the CPU only where that is allowed."""

    engine_host_code_allowed = False
    DLA_core = -1

    def __init__(self, played: Played) -> None:
        super().__init__(played, "Runtime")

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        played = self._state[0]
        played.events.append("deserialize")
        if "VERSION_COMPATIBLE" in played.flags and not self.engine_host_code_allowed:
            return None
        if vars(played.config).get("DLA_core", -1) != self.DLA_core:
            return None
        return Engine(played, plan) if plan.startswith(PLAN) else None


class Refitter(Guarded):
    """Puts weights into an engine that was built without them."""

    def __init__(self, played: Played, engine: Engine) -> None:
        super().__init__(played, "Refitter")
        object.__setattr__(self, "_engine", engine)
        object.__setattr__(self, "_names", set())

    def refit_cuda_engine(self) -> bool:
        played = self._state[0]
        played.events.append(f"refit {len(self._names)}")
        return not played.refuses_weights

    def get_missing_weights(self) -> list[str]:
        refused = self._state[0].refuses_weights
        return [refused] if refused else []


class ParserRefitter(Guarded):
    """Reads the weights of an ONNX file."""

    num_errors = 0

    def __init__(self, refitter: Refitter) -> None:
        super().__init__(refitter._state[0], "OnnxParserRefitter")
        object.__setattr__(self, "_refitter", refitter)

    def refit_from_file(self, path: str) -> bool:
        names = {item.name for item in onnx.load(path).graph.initializer}
        object.__setattr__(self._refitter, "_names", names)
        return True


class Engine(Guarded):
    """An opened plan, which a function of NumPy runs."""

    def __init__(self, played: Played, plan: bytes) -> None:
        super().__init__(played, "ICudaEngine")
        object.__setattr__(self, "_text", plan[len(PLAN) :].decode())

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: self._text if form.name == "JSON" else "")

    def create_execution_context(self) -> Any:
        return Context(self._state[0])

    @property
    def num_io_tensors(self) -> int:
        return 2

    def get_tensor_name(self, index: int) -> str:
        return ("frames", "masks")[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name="UINT8")

    def get_tensor_mode(self, name: str) -> int:
        return 1 if name == "frames" else 2


class Context(Guarded):
    """Reads and writes host memory that stands for a GPU's."""

    def __init__(self, played: Played) -> None:
        super().__init__(played, "IExecutionContext")
        object.__setattr__(self, "_addresses", {})

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames" and self._state[0].shapes[name][0] == -1
        fewest, _, most = self._state[0].profile
        object.__setattr__(self, "_count", shape[0])
        return fewest[0] <= shape[0] <= most[0] and shape[1:] == fewest[1:] == most[1:]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, *rest = self._state[0].shapes[name]
        return (self._count if batch == -1 else batch, *rest)

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        views = {}
        for name in self._state[0].shapes:
            shape = self.get_tensor_shape(name)
            size = int(np.prod(shape))
            views[name] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self._addresses[name]))
            views[name] = views[name].reshape(shape)
        played = self._state[0]
        played.gpu.work("engine", lambda: np.copyto(views["masks"], played.run(views["frames"])))
        return True


class Registry(Guarded):
    """Takes any library for one that has all plugins."""

    def __init__(self, played: Played) -> None:
        super().__init__(played, "IPluginRegistry")

    @property
    def all_creators(self) -> list[Any]:
        names = sorted(self._state[0].registered)
        return [SimpleNamespace(name=name, plugin_version=PLUGINS[name], plugin_namespace=NAMESPACE) for name in names]

    def load_library(self, path: str) -> object:
        played = self._state[0]
        played.events.append("load_library")
        played.registered |= set(PLUGINS)
        return object()


class TensorRt(types.ModuleType):
    """The module."""

    def __init__(self, played: Played) -> None:
        import tensorrt_rtx

        super().__init__("tensorrt")
        self.__version__, self._played, self._real = played.version, played, tensorrt_rtx

    def __getattr__(self, name: str) -> Any:
        played = self._played
        if name.startswith("__") or name not in played.listing:
            raise AttributeError(f"TensorRT {played.version} has no {name}")
        members = [member for member in played.listing[name] if member.isupper() and member not in ("CPP", "PYTHON")]
        made = {
            "Builder": lambda logger: Builder(played, logger, self),
            "OnnxParser": lambda network, logger: Parser(played, network, logger, self),
            "Runtime": lambda logger: Runtime(played),
            "Refitter": lambda engine, logger: Refitter(played, engine),
            "OnnxParserRefitter": lambda refitter, logger: ParserRefitter(refitter),
            "IProgressMonitor": self._real.IProgressMonitor,
            "get_plugin_registry": lambda: Registry(played),
            "ILogger": self._real.ILogger,
            "Logger": self._real.Logger,
            "TensorIOMode": SimpleNamespace(INPUT=1, OUTPUT=2),
        }
        if name in made:
            return made[name]
        real = getattr(self._real, name, None)
        values = {member: getattr(real, member, None) for member in members}
        # One object for each member, so that comparing them works as for an enumeration.
        names = SimpleNamespace(
            **{
                m: value if value is not None else Named(m, index + 8)
                for index, (m, value) in enumerate(values.items())
            }
        )
        setattr(self, name, names)
        return names
