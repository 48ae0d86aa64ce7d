"""Torch-TensorRT: the PyTorch module compiled by its converters, in place of TensorRT's ONNX parser.

The whole network has to become one plan: an operator that Torch-TensorRT does not know fails the build. The frequency
layers are converted in their own operations. The plan is stored alone, so that running it needs neither torch nor
torch_tensorrt. INT8 is for the other targets.

The program that is compiled runs in the tests, and its conversion was tried once with the converters and TensorRT for
RTX's builder without a GPU; on a GPU nothing of it has run yet.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest
from edgefsa.engines.convert import half_graph, write_graph
from edgefsa.engines.names import HALF_NAME
from edgefsa.engines.precision import convolutions, half_products
from edgefsa.engines.session import LayerPrecision, Session
from edgefsa.engines.target import COMPUTE_TYPES, BuildJob, Target, TargetBuild, TargetOptions
from edgefsa.engines.tensorrt.adopted import AdoptedPlanSession
from edgefsa.engines.tensorrt.builder import ENGINE_NAME
from edgefsa.engines.tensorrt.plugins.library import major_minor
from edgefsa.engines.tensorrt.session import logits_refused
from edgefsa.engines.tensorrt.target import TensorRtTarget
from edgefsa.errors import BuildError, InputError
from edgefsa.machine import gpus
from edgefsa.media.tensors import InputForm
from edgefsa.metadata import batches_of

if TYPE_CHECKING:
    import onnx

    from edgefsa.export.program import CameraProgram, Product

# From here on every network is strongly typed: it computes in the program's own types.
OLDEST = (2, 13)
_DISTRIBUTION = "torch-tensorrt"


class TorchTensorRtTarget(Target):
    """Builds plans of PyTorch modules with Torch-TensorRT, and runs them as plans of TensorRT."""

    name = "torch-tensorrt"
    package = "tensorrt"
    extra = "torch-tensorrt"
    version_parts = 4
    _opens = TensorRtTarget()

    def version(self) -> str:
        """Return TensorRT's version, or "" where it is not installed."""
        return self._opens.version()

    def unusable(self) -> str | None:
        """Return why its plans cannot run on this machine, or None where they can: torch is not needed."""
        return self._opens.unusable()

    def unbuildable(self) -> str | None:
        """Return why it cannot build here, or None where it can."""
        version, wanted = _torch_tensorrt_version(), ".".join(map(str, OLDEST))
        if not version:
            return f"the package {_DISTRIBUTION} is not installed; pip install '{_DISTRIBUTION}>={wanted}'"
        if major_minor(version) < OLDEST:
            return f"{_DISTRIBUTION} {version} is older than {wanted}, which first types networks strongly; update it"
        reason = self.unusable()
        if reason is not None:
            return reason
        try:
            importlib.import_module("torch_tensorrt")
        except Exception as error:  # a library that is missing, or a torch of another version or without CUDA
            return f"torch_tensorrt {version} cannot be imported ({_first_line(error)}); install it for this torch"
        return None

    def unsuited(self, precision: str) -> str | None:
        """Return why it cannot give `precision`, or None."""
        return "it builds fp32 and fp16" if precision == "int8" else None

    def check_request(self, options: TargetOptions, precision: str, metadata: Mapping[str, Any]) -> None:
        """Raise InputError where the batch is open."""
        if not batches_of(metadata).fixed:
            raise InputError(f"{self.name} takes one number of frames, not {batches_of(metadata)}; give --batch N")

    def build(self, job: BuildJob) -> TargetBuild:
        """Compile engine.plan of the network's module for this machine's GPU."""
        from edgefsa.export.program import camera_program
        from edgefsa.graph.files import inline_functions

        graph, kept = job.source, dict[str, Any]()
        if job.precision == "fp16":
            graph, kept = half_graph(job)
            write_graph(graph, job.directory / HALF_NAME)
        camera = camera_program(job.metadata, half=job.precision == "fp16")
        whole = inline_functions(graph).graph
        (job.directory / ENGINE_NAME).write_bytes(_compiled(camera))
        gpu = gpus()[0]
        return TargetBuild(
            detail={
                "compute": COMPUTE_TYPES[job.precision],
                "float": "f32" if job.precision == "fp32" else "f16",
                "input": InputForm.of_uint8().as_dict(),
                "torch_tensorrt": _torch_tensorrt_version(),
                **kept,
            },
            converted=None if job.precision == "fp32" else graph,
            expected=half_products(whole) if job.precision == "fp16" else convolutions(whole),
            layers=program_layers(camera, job.source.graph),
            account="the exported program, whose types Torch-TensorRT's strongly typed network has",
            evidence="network",
            uses_cpu=False,
            device={"gpu": gpu.name, "compute_capabilities": [gpu.compute_capability]},
        )

    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Return the session, not loaded yet."""
        return AdoptedPlanSession(directory, manifest, module=self.package, threads=threads)

    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Refuse: a plan has no other outputs than it was built with."""
        raise logits_refused(directory)


def _torch_tensorrt_version() -> str:
    try:
        return importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _compiled(camera: CameraProgram) -> bytes:
    """Return the plan of a program; BuildError where a part of it cannot be converted."""
    import torch_tensorrt

    given = camera.program.graph.find_nodes(op="placeholder")[-1].meta["val"]
    frames = torch_tensorrt.Input(shape=tuple(given.shape), dtype=given.dtype)
    try:
        plan = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
            camera.program,
            arg_inputs=[frames],
            require_full_compilation=True,
            disable_tf32=True,
            immutable_weights=True,
            offload_module_to_cpu=True,
        )
    except Exception as error:  # its own exceptions and TensorRT's share no base but Exception
        raise BuildError(f"Torch-TensorRT cannot compile this network: {_first_line(error)}") from error
    return bytes(plan)


def program_layers(camera: CameraProgram, graph: onnx.GraphProto) -> list[LayerPrecision]:
    """List the products of a program with the ONNX nodes that were exported of the same modules."""
    layers = []
    for product in camera.products:
        nodes = tuple(node.name for node in graph.node if node.name.rpartition("/")[0] == product.module)
        precise = nodes if _is_one_product(product.module, camera.products) else ()
        layers.append(LayerPrecision(product.name, "product", product.precision, product.module, precise, True))
    return layers


def _is_one_product(module: str, products: Collection[Product]) -> bool:
    """Return whether a module is one product, so that the nodes of its name are that and not a part of it."""
    return sum(product.module == module for product in products) == 1
