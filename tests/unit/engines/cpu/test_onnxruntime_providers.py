"""Which provider runs a node: the CPU's for real; those of GPUs by profiles and packages that are played.

What is played of ONNX Runtime is held against the installed package.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgefsa.artifacts import Manifest
from edgefsa.engines import inspect_engine
from edgefsa.engines.cpu import onnxruntime_providers as providers
from edgefsa.engines.cpu.onnxruntime_layers import typed_layers
from edgefsa.engines.cpu.onnxruntime_providers import PROVIDERS, node_runs, prove_provider, provider_fault
from edgefsa.engines.precision import prove_precision
from edgefsa.errors import BuildError, EngineError, InputError, PrecisionError
from edgefsa.graph.files import inline_functions
from edgefsa.machine import Gpu
from tests.unit.engines import tiny
from tests.unit.engines.conftest import Build

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
CPU, CUDA, RTX = (PROVIDERS[name] for name in ("cpu", "cuda", "tensorrt-rtx"))
CPU_NAME = CPU.runtime_name


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "gpus", lambda: (Gpu("NVIDIA RTX 4090", "8.9", 24_000),))


def test_the_proof_says_which_provider_ran_the_nodes(build: Build) -> None:
    report = build("fp32", "onnxruntime", options={"provider": "cpu"})
    detail = Manifest.read(report.engine).precision_detail
    assert detail["device"] == CPU_NAME and detail["providers"]["on_cpu"] == []
    ran = detail["providers"]["nodes"][CPU_NAME]
    assert ran >= len(tiny.CONVOLUTIONS) and detail["providers"]["nodes"] == {CPU_NAME: ran}
    assert f"{CPU_NAME} ran {ran} of {ran} nodes by its profile" in inspect_engine(report.engine)["summary"]["proved"]


@pytest.mark.parametrize(
    ("provider", "precision", "words"),
    [
        (
            "cuda",
            "fp32",
            r"the provider cuda cannot be used: onnxruntime \S+ has no CUDAExecutionProvider;",
        ),
        (
            "tensorrt-rtx",
            "int8",
            "the provider tensorrt-rtx cannot be used: the package onnxruntime_ep_nv",
        ),
    ],
)
def test_a_provider_that_is_not_here_is_not_taken_for_another(
    build: Build, monkeypatch: pytest.MonkeyPatch, provider: str, precision: str, words: str
) -> None:
    monkeypatch.setattr(providers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU_NAME])
    with pytest.raises(PrecisionError, match=words):
        build(precision, "onnxruntime", options={"provider": provider})


def test_an_unknown_provider_is_refused(build: Build) -> None:
    with pytest.raises(InputError, match="provider npu is unknown; use one of cpu, cuda, tensorrt-rtx"):
        build("fp32", "onnxruntime", options={"provider": "npu"})


def test_cuda_runs_no_int8(build: Build, gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA.runtime_name, CPU_NAME])
    with pytest.raises(PrecisionError, match="the provider cuda runs fp32 and fp16"):
        build("int8", "onnxruntime", options={"provider": "cuda"})


def test_cuda_that_onnxruntime_silently_leaves_out_is_an_error(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed package has no CUDA, and opens the graph on the CPU when it is asked for it."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA.runtime_name, CPU_NAME])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(EngineError, match=f"opened the engine on {CPU_NAME}, not on {CUDA.runtime_name}"):
        providers.inference_session(tiny.tiny_graph().SerializeToString(), options, CUDA)


def test_a_run_that_fails_is_not_repeated_elsewhere() -> None:
    session = providers.inference_session(tiny.tiny_graph().SerializeToString(), onnxruntime.SessionOptions(), CPU)
    assert session._enable_fallback is False


def rows(*runs: tuple[str, str, str, int]) -> list[dict[str, Any]]:
    """A profile as ONNX Runtime writes it."""
    session = [{"cat": "Session", "name": "model_loading_array", "dur": 9, "args": {}}]
    return session + [
        {"cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "args": {"op_name": kind, "provider": provider}}
        for name, kind, provider, dur in runs
    ]


def test_what_stayed_on_the_cpu_is_named_with_its_share_of_the_time() -> None:
    conv, argmax = ("conv1", "Conv", CUDA.runtime_name, 30), ("masks", "ArgMax", CPU_NAME, 10)
    proof = prove_provider(CUDA, node_runs(rows(conv, argmax, conv, argmax)))
    assert proof.as_dict() == {
        "nodes": {CUDA.runtime_name: 1, CPU_NAME: 1},
        "cpu_share": 0.25,
        "on_cpu": ["masks (ArgMax)"],
    }
    assert proof.in_words().endswith("and the CPU masks (ArgMax) (25.0 % of the time)")


@pytest.mark.parametrize("ran", [[("conv1", "Conv", CPU_NAME, 30)], []])
def test_a_provider_that_ran_nothing_fails_the_build(ran: list[tuple[str, str, str, int]]) -> None:
    with pytest.raises(BuildError, match=r"the provider cuda \(CUDAExecutionProvider\) ran no node of this graph"):
        prove_provider(CUDA, node_runs(rows(*ran)))


def test_a_real_profile_has_what_is_read_of_it() -> None:
    runs = providers.profiled_runs(tiny.tiny_graph().SerializeToString(), CPU, (1, *tiny.SIZE_HW, 3))
    assert {"Conv", "ArgMax"} <= {run.operator for run in runs} and {run.provider for run in runs} == {CPU_NAME}
    assert all(run.time_us >= 0 and not run.name.endswith("_kernel_time") for run in runs)


def test_onnxruntime_says_which_nodes_a_provider_got() -> None:
    nodes = providers.assigned_nodes(tiny.tiny_graph().SerializeToString(), CPU)
    assert set(tiny.CONVOLUTIONS) <= nodes


@pytest.mark.parametrize("taken", [{"stem", "body"}, {"stem"}])
def test_layers_of_a_compiler_are_those_that_it_took(taken: set[str]) -> None:
    model, _ = tiny.tiny_int8(tiny.tiny_graph(), tiny.tiny_ranges(), activations="int8", rest="f32")
    graph = inline_functions(model).graph
    layers = typed_layers(graph, taken)
    if taken == set(tiny.QUANTISED):
        assert prove_precision("int8", tiny.QUANTISED, layers, "", "network")["proved"] == 2
    else:
        with pytest.raises(PrecisionError, match=r"body \(f32\)"):
            prove_precision("int8", tiny.QUANTISED, layers, "", "network")


class PlayedPlugin(ModuleType):
    """The package of the TensorRT-RTX provider, 0.5.0."""

    def __init__(self) -> None:
        super().__init__("onnxruntime_ep_nv_tensorrt_rtx")
        self.__spec__ = SimpleNamespace(name=self.__name__)  # type: ignore[assignment]

    def get_library_path(self) -> str:
        return "/package/libonnxruntime_providers_nv_tensorrt_rtx.so"


@pytest.fixture
def plugin(gpu: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install the package; what it registers is remembered, and serves the devices in `devices`."""
    played = SimpleNamespace(registered=[], devices=[SimpleNamespace(ep_name=RTX.runtime_name)], error="")

    def register(name: str, path: str) -> None:
        if played.error:
            raise RuntimeError(played.error)
        played.registered.append((name, path))

    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", PlayedPlugin())
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", register)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: [SimpleNamespace(ep_name=CPU_NAME), *played.devices])
    providers._plugin_devices.cache_clear()
    yield played
    providers._plugin_devices.cache_clear()


def test_a_plugin_is_registered_once_and_gets_its_devices(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_fault(RTX) is None and provider_fault(RTX) is None
    assert plugin.registered == [(RTX.runtime_name, "/package/libonnxruntime_providers_nv_tensorrt_rtx.so")]
    given: list[Any] = []
    session = SimpleNamespace(get_providers=lambda: [RTX.runtime_name, CPU_NAME], disable_fallback=lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda model, options: session)
    options = SimpleNamespace(add_provider_for_devices=lambda *arguments: given.append(arguments))
    assert providers.inference_session(b"graph", options, RTX) is session
    assert given == [(plugin.devices, {})]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"error": "libcuda.so.1: cannot open shared object file"}, r"cannot be loaded \(libcuda.so.1: cannot open"),
        ({"devices": []}, "serves no device here: it takes RTX GPUs"),
    ],
)
def test_a_plugin_that_cannot_be_used_says_why(plugin: Any, changes: dict[str, Any], words: str) -> None:
    vars(plugin).update(changes)
    with pytest.raises(EngineError, match=f"the provider tensorrt-rtx cannot be used: .*{words}"):
        providers.inference_session(b"graph", SimpleNamespace(), RTX)


def test_the_plugin_interface_is_that_of_the_installed_onnxruntime() -> None:
    if not hasattr(onnxruntime, "get_ep_devices"):
        pytest.skip("onnxruntime before 1.24 has no plugins")
    (cpu,) = [device for device in onnxruntime.get_ep_devices() if device.ep_name == CPU_NAME]
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices([cpu], {})
    session = onnxruntime.InferenceSession(tiny.tiny_graph().SerializeToString(), options)
    assert session.get_providers() == [CPU_NAME]
    assert "get_provider_graph_assignment_info" in dir(session)
    with pytest.raises(Exception, match="no-such-library"):
        onnxruntime.register_execution_provider_library(RTX.runtime_name, "/no-such-library.so")
