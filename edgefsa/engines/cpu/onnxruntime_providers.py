"""ONNX Runtime's execution providers: which can be had here, and which of them really ran each node.

A provider is asked for by name and never taken for another: ONNX Runtime itself goes over to the CPU without a word
where a GPU's provider cannot be loaded, or does not know a node. CUDA and TensorRT for RTX were written against the
published API, and have not run on a GPU yet.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.engines.session import telling_line
from edgefsa.errors import BuildError, EngineError, InputError
from edgefsa.machine import gpus
from edgefsa.metadata import FRAMES

CPU_PROVIDER = "CPUExecutionProvider"
_EP_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"
_NAMED = 5


@dataclass(frozen=True)
class Provider:
    """A provider by the name that a user asks for it by, and the one that ONNX Runtime has for it.

    `precisions` are those that it computes in. A `plugin` is registered from a library of its own package.
    """

    name: str
    runtime_name: str
    precisions: tuple[str, ...]
    settings: tuple[tuple[str, str], ...] = ()
    plugin: bool = False


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("cpu", CPU_PROVIDER, ("fp32", "fp16", "int8")),
        # TF32 rounds the factors of products to 10 bits.
        Provider("cuda", "CUDAExecutionProvider", ("fp32", "fp16"), (("use_tf32", "0"),)),
        Provider("tensorrt-rtx", "NvTensorRTRTXExecutionProvider", ("fp32", "fp16", "int8"), plugin=True),
    )
}


def provider_named(name: str) -> Provider:
    """Return a provider by the name that a user gives, or by ONNX Runtime's; InputError lists the known ones."""
    found = next((item for item in PROVIDERS.values() if name in (item.name, item.runtime_name)), None)
    if found is None:
        raise InputError(f"provider {name} is unknown; use one of {', '.join(PROVIDERS)}")
    return found


def provider_fault(provider: Provider) -> str | None:
    """Return why a provider cannot be used on this machine, with the remedy, or None where it can."""
    import onnxruntime

    if provider.runtime_name == CPU_PROVIDER:
        return None
    if provider.plugin and importlib.util.find_spec(_EP_PACKAGE) is None:
        return f"the package {_EP_PACKAGE} is not installed; pip install {_EP_PACKAGE.replace('_', '-')}"
    if not provider.plugin and provider.runtime_name not in onnxruntime.get_available_providers():
        return (
            f"onnxruntime {onnxruntime.__version__} has no {provider.runtime_name}; pip uninstall onnxruntime, and pip "
            "install onnxruntime-gpu"
        )
    if not gpus():
        return "the driver shows no NVIDIA GPU"
    return _plugin_devices(provider)[1] if provider.plugin else None


@functools.cache
def _plugin_devices(provider: Provider) -> tuple[list[Any], str | None]:
    """Register a plugin's library, once for a process; return the devices that it serves, or why there are none."""
    import onnxruntime

    if not hasattr(onnxruntime, "register_execution_provider_library"):
        return (
            [],
            f"onnxruntime {onnxruntime.__version__} takes no providers of other packages; update to 1.24 or newer",
        )
    try:
        package = importlib.import_module(_EP_PACKAGE)
        onnxruntime.register_execution_provider_library(provider.runtime_name, package.get_library_path())
    except Exception as error:  # a shared library that is missing or too old shows as any of several kinds
        return [], f"{_EP_PACKAGE} cannot be loaded ({telling_line(error)}); reinstall it"
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider.runtime_name]
    return devices, None if devices else f"{_EP_PACKAGE} serves no device here: it takes RTX GPUs"


def inference_session(model: str | bytes, options: Any, provider: Provider) -> Any:
    """Open an ONNX file or its bytes on a provider, with the CPU for nodes that it does not know.

    Raises EngineError where the provider cannot be used, and whatever ONNX Runtime raises for a graph that it refuses.
    """
    import onnxruntime

    fault = provider_fault(provider)
    if fault is not None:
        raise EngineError(f"the provider {provider.name} cannot be used: {fault}")
    if provider.plugin:
        options.add_provider_for_devices(_plugin_devices(provider)[0], dict(provider.settings))
        session = onnxruntime.InferenceSession(model, options)
    else:
        chosen = [(provider.runtime_name, dict(provider.settings))]
        chosen += [(CPU_PROVIDER, {})] if provider.runtime_name != CPU_PROVIDER else []
        session = onnxruntime.InferenceSession(model, options, providers=chosen)
    # Else a run that fails is repeated on the CPU.
    session.disable_fallback()
    if session.get_providers()[0] != provider.runtime_name:
        raise EngineError(
            f"ONNX Runtime opened the engine on {session.get_providers()[0]}, not on {provider.runtime_name}, whose "
            "libraries it could not load; install CUDA and cuDNN as its release notes say"
        )
    return session


@dataclass(frozen=True)
class NodeRun:
    """A node as ONNX Runtime ran it: its name after optimisation, operator, provider, and time in microseconds."""

    name: str
    operator: str
    provider: str
    time_us: float


@dataclass(frozen=True)
class ProviderProof:
    """Which provider ran how much of an engine: `nodes` by provider, `cpu_share` of the time (0 to 1), `on_cpu` names.

    Of an engine for the CPU nothing is named.
    """

    asked: str
    nodes: dict[str, int]
    cpu_share: float
    on_cpu: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's record."""
        return {"nodes": self.nodes, "cpu_share": round(self.cpu_share, 4), "on_cpu": list(self.on_cpu)}

    def in_words(self) -> str:
        """Return one line for people."""
        text = f"{self.asked} ran {self.nodes[self.asked]} of {sum(self.nodes.values())} nodes by its profile"
        if self.on_cpu:
            more = f" and {len(self.on_cpu) - _NAMED} more" if len(self.on_cpu) > _NAMED else ""
            text += f", and the CPU {', '.join(self.on_cpu[:_NAMED])}{more} ({100 * self.cpu_share:.1f} % of the time)"
        return text


def profiled_runs(model: str | bytes, provider: Provider, shape: Sequence[int]) -> list[NodeRun]:
    """Run a graph twice on black frames uint8 of `shape`, and return the nodes of ONNX Runtime's profile of both."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = inference_session(model, options, provider)
        for _ in range(2):
            session.run(None, {FRAMES: np.zeros(shape, np.uint8)})
        rows = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return node_runs(rows)


def node_runs(rows: Sequence[Mapping[str, Any]]) -> list[NodeRun]:
    """Return the nodes that a profile of ONNX Runtime says were run, with their providers."""
    runs = []
    for row in rows:
        arguments = row.get("args") or {}
        if row.get("cat") == "Node" and "provider" in arguments:
            name = str(row["name"]).removesuffix("_kernel_time")
            runs.append(NodeRun(name, arguments.get("op_name", ""), arguments["provider"], float(row.get("dur", 0))))
    return runs


def prove_provider(asked: Provider, runs: Sequence[NodeRun]) -> ProviderProof:
    """Hold what ran against the provider that was asked for; BuildError where that ran no node."""
    nodes = Counter(provider for _, provider in {(run.name, run.provider) for run in runs})
    if not nodes[asked.runtime_name]:
        others = ", ".join(f"{provider} ran {count}" for provider, count in nodes.items()) or "nothing ran"
        raise BuildError(
            f"the provider {asked.name} ({asked.runtime_name}) ran no node of this graph: {others}; build with another "
            "--provider or --target"
        )
    on_cpu = {run.name: run for run in runs if run.provider == CPU_PROVIDER != asked.runtime_name}
    whole = sum(run.time_us for run in runs) or 1.0
    share = sum(run.time_us for run in runs if run.name in on_cpu) / whole
    named = tuple(f"{run.name} ({run.operator})" for run in on_cpu.values())
    return ProviderProof(asked.runtime_name, dict(nodes.most_common()), share, named)


def assigned_nodes(model: str | bytes, provider: Provider) -> set[str]:
    """Name the nodes of a graph that ONNX Runtime gives to a provider which compiles them, so that no profile has them.

    Raises EngineError where this version does not say.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = inference_session(model, options, provider)
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise EngineError(f"onnxruntime {onnxruntime.__version__} does not say which nodes a provider got; update it")
    parts = session.get_provider_graph_assignment_info()
    return {node.name for part in parts if part.ep_name == provider.runtime_name for node in part.get_nodes()}
