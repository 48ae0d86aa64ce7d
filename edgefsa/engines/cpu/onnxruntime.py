"""ONNX Runtime: its CPU provider, or that of CUDA or of TensorRT for RTX where it is asked for and can be had.

The engine is an ONNX file that ONNX Runtime optimises when it opens it. INT8 on the CPU has activations as uint8 around
zero point 128, or from 0 where a tensor is never negative: the form that has fast kernels.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Collection
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.convert import half_graph, int8_graph, write_graph
from edgefsa.engines.cpu.onnxruntime_providers import CPU_PROVIDER as CPU_PROVIDER
from edgefsa.engines.cpu.onnxruntime_providers import (
    NodeRun,
    Provider,
    assigned_nodes,
    inference_session,
    profiled_runs,
    prove_provider,
    provider_fault,
    provider_named,
)
from edgefsa.engines.precision import half_products, int8_products
from edgefsa.engines.session import Frames, LayerPrecision, Outputs, Session, telling_line
from edgefsa.engines.target import COMPUTE_TYPES, BuildJob, Target, TargetBuild, TargetOptions
from edgefsa.errors import BuildError, EdgeFsaError, EngineError, TargetError
from edgefsa.machine import cpu, gpus
from edgefsa.metadata import FRAMES, LOGITS

if TYPE_CHECKING:
    import onnx

ENGINE_NAME = "engine.onnx"
_ERRORS_ONLY = 3
_FLOAT = {"fp32": "f32", "fp16": "f16", "int8": "f32"}


@dataclass(frozen=True)
class OnnxRuntimeOptions(TargetOptions):
    """`provider` is "cpu", "cuda" or "tensorrt-rtx": what runs the nodes, and never anything else in its place."""

    provider: str = "cpu"

    def __post_init__(self) -> None:
        provider_named(self.provider)


class OnnxRuntimeTarget(Target):
    """Builds and opens ONNX engines."""

    name = "onnxruntime"
    package = "onnxruntime"
    extra = "onnxruntime"
    options_type = OnnxRuntimeOptions
    gives_logits = True
    activations = "uint8"
    int8_on_cpu = True

    def version(self) -> str:
        """Return the version of onnxruntime, or of onnxruntime-gpu, which takes its place."""
        for distribution in ("onnxruntime", "onnxruntime-gpu"):
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
        return ""

    def unusable(self) -> str | None:
        """Return why engines of this target cannot run on this machine, or None where they can."""
        return self.package_fault()

    def unsuited(self, precision: str) -> str | None:
        """Return why `auto` should not pick it for `precision`, or None."""
        return self.refused(precision, OnnxRuntimeOptions())

    def refused(self, precision: str, options: TargetOptions) -> str | None:
        """Return why its provider cannot be used here, or not for `precision`, or None."""
        provider = _provider_of(options)
        fault = provider_fault(provider)
        if fault is not None:
            return f"the provider {provider.name} cannot be used: {fault}"
        if precision not in provider.precisions:
            return f"the provider {provider.name} runs {' and '.join(provider.precisions)}"
        if precision == "fp16" and provider.runtime_name == CPU_PROVIDER and "asimdhp" not in cpu().features:
            return "its CPU provider computes FP16 convolutions in f32 on this CPU"
        return None

    def build(self, job: BuildJob) -> TargetBuild:
        """Write engine.onnx, and ask ONNX Runtime what it makes of it and what runs it."""
        from edgefsa.graph.files import inline_functions

        provider = _provider_of(job.options)
        quantization, graph, kept = None, job.source, dict[str, Any]()
        if job.precision == "int8":
            symmetric = provider.plugin
            activations, rest = ("int8", "f16") if symmetric else (self.activations, "f32")
            graph, quantization = int8_graph(job, activations, rest=rest)
        elif job.precision == "fp16":
            graph, kept = half_graph(job)
        path = job.directory / ENGINE_NAME
        write_graph(graph, path)
        inlined = inline_functions(graph).graph
        layers = _layers(path, provider, inlined)
        proof = prove_provider(provider, _run(path, provider, job.metadata))
        return TargetBuild(
            detail={
                "compute": COMPUTE_TYPES[job.precision],
                "float": "f16" if provider.plugin and job.precision == "int8" else _FLOAT[job.precision],
                "device": provider.runtime_name,
                "providers": proof.as_dict(),
                **kept,
            },
            converted=None if job.precision == "fp32" else graph,
            expected=_expected(job.precision, inlined),
            layers=layers,
            quantization=quantization,
            account=f"ONNX Runtime's {'typed' if provider.plugin else 'optimised'} graph; {proof.in_words()}",
            evidence="network" if provider.plugin else "engine",
            uses_cpu=provider.runtime_name == CPU_PROVIDER,
            device={} if provider.runtime_name == CPU_PROVIDER else {"gpu": gpus()[0].name},
        )

    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> OnnxRuntimeSession:
        """Return the session, not loaded yet."""
        return OnnxRuntimeSession(directory, manifest, threads=threads)

    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> OnnxRuntimeSession:
        """Return a session that returns the tensor `logits` of the same graph."""
        return OnnxRuntimeSession(
            directory, manifest, threads=threads, graph=_with_only_logits(directory / ENGINE_NAME)
        )

    def open_tapped(
        self, directory: Path, manifest: Manifest, tensors: Collection[str]
    ) -> Callable[[Frames], dict[str, Outputs]]:
        """Return a function from frames to the engine's outputs and those of `tensors` that its graph has."""
        graph, names = _with_outputs(directory / ENGINE_NAME, tensors)
        session = load_session(graph, manifest.precision_detail.get("device", CPU_PROVIDER))
        return lambda frames: dict(zip(names, session.run(names, {FRAMES: frames}), strict=True))


class OnnxRuntimeSession(Session):
    """Runs an ONNX engine; `graph` is run in place of the stored file where given."""

    def __init__(
        self, directory: Path, manifest: Manifest, *, threads: int | None = None, graph: bytes | None = None
    ) -> None:
        super().__init__(directory, manifest, threads=threads)
        self._graph = graph
        self._session: Any = None
        self._input = ""
        self._worker: futures.ThreadPoolExecutor | None = None

    def _load(self) -> None:
        path = self.directory / ENGINE_NAME
        provider = self.manifest.precision_detail.get("device", CPU_PROVIDER)
        session = load_session(self._graph or str(path), provider, self.threads)
        (frames,) = session.get_inputs()
        self._check_input(path, frames.shape)
        self._session, self._input = session, frames.name
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="edgefsa-onnxruntime")

    def _release(self) -> None:
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
        self._session = self._worker = None

    def _submit(self, frames: Frames) -> Any:
        if self._worker is None:
            raise self._not_open()
        return self._worker.submit(self._infer, self._session, frames, time.perf_counter_ns())

    def _wait(self, handle: Any) -> None:
        futures.wait([handle])

    def _collect(self, handle: Any) -> tuple[Outputs, float, float]:
        outputs, engine_ms = handle.result()
        return outputs, engine_ms, 0.0

    def _infer(self, session: Any, frames: Frames, start_ns: int) -> tuple[Outputs, float]:
        try:
            (output,) = session.run(None, {self._input: frames})
        except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
            raise EngineError(f"ONNX Runtime failed on {self.directory.name}: {telling_line(error)}") from error
        return output, (time.perf_counter_ns() - start_ns) / 1e6


def load_session(model: str | bytes, provider: str, threads: int | None = None, optimised: Path | None = None) -> Any:
    """Open an ONNX file or its bytes, fully optimised; `optimised` gets the graph that will really run.

    `provider` is ONNX Runtime's name of one. Raises EngineError where ONNX Runtime refuses it, or would put it on
    another provider.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin between frames would take cores from whatever else runs on the device.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return inference_session(model, options, provider_named(provider))
    except EngineError:
        raise
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        name = model if isinstance(model, str) else "the graph"
        raise EngineError(f"ONNX Runtime cannot load {name}: {telling_line(error)}; rebuild the engine") from error


def _provider_of(options: TargetOptions) -> Provider:
    assert isinstance(options, OnnxRuntimeOptions)
    return provider_named(options.provider)


def _run(path: Path, provider: Provider, metadata: dict[str, Any]) -> list[NodeRun]:
    """Run an engine's file once for the account of its providers; BuildError where that fails."""
    try:
        return profiled_runs(str(path), provider, (int(metadata["batch"]), *metadata["size_hw"], 3))
    except EdgeFsaError:
        raise
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        raise BuildError(f"ONNX Runtime cannot run {path} on {provider.name}: {telling_line(error)}") from error


def _layers(path: Path, provider: Provider, graph: onnx.GraphProto) -> list[LayerPrecision]:
    """List what the layers run in: by the optimised graph, or of a provider that compiles by the typed one it took."""
    from edgefsa.engines.cpu.onnxruntime_layers import optimised_layers, typed_layers

    if provider.plugin:
        return typed_layers(graph, assigned_nodes(str(path), provider))
    return optimised_layers(path, provider.runtime_name)


def _expected(precision: str, graph: onnx.GraphProto) -> list[str]:
    if precision == "int8":
        return int8_products(graph)
    return half_products(graph) if precision == "fp16" else []


def _with_only_logits(path: Path) -> bytes:
    import onnx

    model = onnx.load(path)
    if not any(LOGITS in node.output for node in model.graph.node):
        raise TargetError(f"{path} has no tensor named {LOGITS}; export the model again with this edgefsa")
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, None))
    return bytes(model.SerializeToString())


def _with_outputs(path: Path, tensors: Collection[str]) -> tuple[bytes, list[str]]:
    """Return the graph with its own outputs and those of `tensors` that a node makes, and all their names."""
    import onnx

    model = onnx.load(path)
    own = [item.name for item in model.graph.output]
    made = {name for node in model.graph.node for name in node.output}
    taps = [name for name in dict.fromkeys(tensors) if name in made and name not in own]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in taps)
    return bytes(model.SerializeToString()), [*own, *taps]
