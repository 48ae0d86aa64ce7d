"""OpenVINO on the CPU: the default target without a GPU.

The engine is OpenVINO's own IR (engine.xml, engine.bin), so a device needs openvino alone. INT8 has activations as
uint8 where they are never negative (`int8_onnx`, "mixed"); the layers that stay in float run in f32, because bf16
between INT8 layers costs more in conversions than it saves. FP16 stores float16 weights and runs in the 16-bit type
that the CPU is fast in.
Nothing compiled is stored: that would save 0.1 s of opening (1 s for SPANet), and tie the engine to one CPU.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.convert import check_half, int8_graph, write_graph
from edgefsa.engines.names import QUANTISED_NAME
from edgefsa.engines.precision import convolutions, int8_products
from edgefsa.engines.session import Frames, LayerPrecision, Outputs, Session, telling_line
from edgefsa.engines.target import BuildJob, Target, TargetBuild
from edgefsa.errors import BuildError, EngineError, OutputError, TargetError
from edgefsa.machine import Cpu, cpu_of_onednn
from edgefsa.metadata import LOGITS

if TYPE_CHECKING:
    import onnx

ENGINE_NAME = "engine.xml"
_DEVICE = "CPU"
# OpenVINO's name of a capability -> its inference precision and our word for it, the more exact type first.
_HALF_TYPES = {"FP16": "f16", "BF16": "bf16"}
_MULTIPLYING = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_MOVES = ("Const", "Input", "Output")
# What OpenVINO appends to the name of a node that it takes apart.
_TRANSPOSED = "/transpose_b"
_RENAMED = re.compile(rf"(/WithoutBiases|/DequantizationMultiply|{_TRANSPOSED})+$")


class OpenVinoTarget(Target):
    """Builds and opens IR engines for the CPU."""

    name = "openvino"
    package = "openvino"
    extra = "cpu"
    gives_logits = True
    activations = "mixed"
    int8_on_cpu = True

    def unusable(self) -> str | None:
        """Return why engines of this target cannot run on this machine, or None where they can."""
        return self.package_fault()

    def cpu(self) -> Cpu:
        """Return this machine's CPU with the features that oneDNN, whose kernels OpenVINO runs, uses of it."""
        return cpu_of_onednn(super().cpu())

    def unsuited(self, precision: str) -> str | None:
        """Return why `auto` should not pick it for `precision`, or None."""
        if precision == "fp16" and half_type() is None:
            return "this CPU has no 16-bit type that is fast (no AVX512-BF16, AMX, or ARM FP16)"
        return None

    def build(self, job: BuildJob) -> TargetBuild:
        """Write engine.xml and engine.bin."""
        from edgefsa.engines.cpu.openvino_graph import join_codes, keep_reduced_axes, transpose_weights
        from edgefsa.graph.files import inline_functions

        compute, quantization, graph, converted = "f32", None, job.source, None
        if job.precision == "int8":
            converted, quantization = int8_graph(job, self.activations)
            write_graph(converted, job.directory / QUANTISED_NAME)
            graph = converted
        elif job.precision == "fp16":
            compute = half_type() or "f32"
            if compute == "f16":  # bf16 holds what float32 holds
                check_half(job)
        graph = inline_functions(graph)
        if job.precision == "int8":
            join_codes(graph)
            keep_reduced_axes(graph)
            transpose_weights(graph)
        _save_ir(graph, job.directory / ENGINE_NAME, half_weights=job.precision == "fp16")
        return TargetBuild(
            detail={"compute": "int8" if job.precision == "int8" else compute, "float": compute, "device": _DEVICE},
            converted=converted,
            expected=_expected(job.precision, graph.graph),
            quantization=quantization,
            account="OpenVINO's executed graph",
        )

    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> OpenVinoSession:
        """Return the session, not loaded yet."""
        return OpenVinoSession(directory, manifest, threads=threads)

    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> OpenVinoSession:
        """Return a session that returns the tensor `logits` of the same graph."""
        return OpenVinoSession(directory, manifest, threads=threads, output=LOGITS)

    def open_tapped(
        self, directory: Path, manifest: Manifest, tensors: Collection[str]
    ) -> Callable[[Frames], dict[str, Outputs]]:
        """Return a function from frames to the engine's outputs and those of `tensors` that its IR still names."""
        import openvino

        core = openvino.Core()
        model, names = _with_outputs(core.read_model(directory / ENGINE_NAME), tensors)
        compiled = core.compile_model(model, _DEVICE, session_options(manifest))
        return lambda frames: dict(zip(names, (np.array(item) for item in compiled([frames]).values()), strict=True))


class OpenVinoSession(Session):
    """Runs an IR engine; `output` names an inner tensor to give in place of the engine's own output."""

    def __init__(
        self, directory: Path, manifest: Manifest, *, threads: int | None = None, output: str | None = None
    ) -> None:
        super().__init__(directory, manifest, threads=threads)
        self._output = output
        self._compiled: Any = None
        self._free: list[Any] = []

    def _load(self) -> None:
        import openvino

        path = self.directory / ENGINE_NAME
        try:
            core = openvino.Core()
            model = core.read_model(path)
            if self._output is not None:
                model = _with_only_output(model, self._output)
            self._compiled = core.compile_model(model, _DEVICE, session_options(self.manifest, self.threads))
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {path}: {telling_line(error)}; rebuild the engine") from error
        shape = self._compiled.input(0).partial_shape
        self._check_input(path, [dim.get_length() if dim.is_static else str(dim) for dim in shape])

    def _release(self) -> None:
        self._free.clear()  # a request under way is waited for by OpenVINO when its last reference goes
        self._compiled = None

    def _submit(self, frames: Frames) -> Any:
        if self._compiled is None:
            raise self._not_open()
        request = self._free.pop() if self._free else self._compiled.create_infer_request()
        with self._errors():
            request.start_async([frames], share_inputs=True)
        return request

    def _wait(self, handle: Any) -> None:
        with contextlib.suppress(RuntimeError):  # which comes again when it is collected
            handle.wait()

    def _collect(self, handle: Any) -> tuple[Outputs, float, float]:
        with self._errors():
            handle.wait()
        # The output is the request's own memory, which its next run overwrites.
        outputs = np.array(handle.get_output_tensor(0).data, copy=True)
        self._free.append(handle)
        return outputs, float(handle.latency), 0.0

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on {self.directory.name}: {telling_line(error)}") from error

    def layer_precisions(self) -> list[LayerPrecision]:
        """Return what each layer runs in: the executed graph of an open session, else the record of the build."""
        if self._compiled is None:
            return super().layer_precisions()
        return _executed_layers(self._compiled)


def session_options(manifest: Manifest, threads: int | None = None) -> dict[str, Any]:
    """Return what an engine is compiled with: one run at a time, in the float type that its manifest says."""
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": manifest.precision_detail["float"],
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def half_type() -> str | None:
    """Return the 16-bit type that OpenVINO computes fast in on this CPU, "f16" or "bf16", or None."""
    import openvino

    capabilities = openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return next((name for capability, name in _HALF_TYPES.items() if capability in capabilities), None)


def _save_ir(graph: onnx.ModelProto, path: Path, *, half_weights: bool) -> None:
    import openvino

    try:
        model = openvino.Core().read_model(graph.SerializeToString(), b"")
    except RuntimeError as error:
        raise BuildError(f"OpenVINO cannot take this graph: {telling_line(error)}") from error
    try:
        openvino.save_model(model, path, compress_to_fp16=half_weights)
    except RuntimeError as error:
        # All that OpenVINO's writer tells is that its stream failed.
        raise OutputError(
            f"cannot write {path.parent.name}: OpenVINO's writer failed, which is what a full disk looks like "
            f"({telling_line(error)}); free space or choose another place with -o"
        ) from error


def _expected(precision: str, graph: onnx.GraphProto) -> list[str]:
    if precision == "int8":
        return int8_products(graph)
    return convolutions(graph) if precision == "fp16" else []


def _with_only_output(model: Any, name: str) -> Any:
    import openvino

    for operation in model.get_ordered_ops():
        for output in operation.outputs():
            if name in output.get_names():
                return openvino.Model([output], model.get_parameters(), LOGITS)
    raise TargetError(f"the engine has no tensor named {name}; export the model again with this edgefsa")


def _with_outputs(model: Any, tensors: Collection[str]) -> tuple[Any, list[str]]:
    """Add `tensors` to a model's outputs where it has them; return it with the name of each output."""
    import openvino

    wanted = {*tensors, *(name for output in model.outputs for name in output.get_names())}
    found = {
        name: output
        for operation in model.get_ordered_ops()
        if operation.get_type_name() != "Result"
        for output in operation.outputs()
        for name in output.get_names() & wanted
    }
    return openvino.Model(list(found.values()), model.get_parameters(), "tapped"), list(found)


def _executed_layers(compiled: Any) -> list[LayerPrecision]:
    layers = []
    for operation in compiled.get_runtime_model().get_ordered_ops():
        facts = operation.get_rt_info()
        kind, precision, kernel, origin = (
            str(facts[key].value) if key in facts else ""
            for key in ("layerType", "runtimePrecision", "primitiveType", "originalLayersNames")
        )
        if kind in _MOVES:
            continue
        nodes = tuple(dict.fromkeys(name for name in origin.split(",") if name))
        if kind in _MULTIPLYING:
            nodes = tuple(dict.fromkeys(_RENAMED.sub("", name) for name in (*nodes, *_factor_names(operation, kind))))
        layers.append(
            LayerPrecision(
                operation.get_friendly_name(), kind, _word(kind, precision, kernel), kernel, nodes, kind in _MULTIPLYING
            )
        )
    return layers


def _factor_names(operation: Any, kind: str) -> list[str]:
    """Name what makes a matrix product's second factor: its weight's transposition still has the product's name.

    The product itself goes by the name of the scale or of the addition that was merged into it.
    """
    if kind != "FullyConnected":
        return []
    name = str(operation.input_value(1).get_node().get_friendly_name())
    return [name] if name.endswith(_TRANSPOSED) else []


def _word(kind: str, precision: str, kernel: str) -> str:
    """Name a layer's compute type: "int8" only where a layer that multiplies has an INT8 kernel as well."""
    if precision in ("u8", "i8") and kernel.lower().endswith(("_i8", "_u8")) and kind in _MULTIPLYING:
        return "int8"
    return precision
