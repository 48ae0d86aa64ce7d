"""From an ONNX file to an engine directory that is proved, checked and complete, or to nothing at all."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgefsa
from edgefsa.artifacts import Manifest, atomic_directory, sha256_of_file
from edgefsa.engines.directory import engine_name
from edgefsa.engines.names import SOURCE_NAME
from edgefsa.engines.precision import layer_counts, prove_precision
from edgefsa.engines.registry import AUTO, choose_target, target_of
from edgefsa.engines.session import write_golden, write_layers
from edgefsa.engines.target import BuildJob, Target, TargetBuild
from edgefsa.errors import EdgeFsaError, InputError, PrecisionError, TargetError
from edgefsa.machine import cpu, features_relied_on

if TYPE_CHECKING:
    from edgefsa.quantize import Ranges

PRECISIONS = ("fp32", "fp16", "int8")
PLUGIN_CHOICES = ("auto", "library", "kernels", "none")
_STEPS = 4


@dataclass(frozen=True)
class BuildReport:
    """What a build made: the engine's directory, what was chosen and why, and how the precision was proved.

    `plugins` says which plugins the engine has, or why none; it is empty for targets that take none.
    """

    engine: Path
    target: str
    precision: str
    detail: str
    why: str
    seconds: float
    plugins: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Give the report as plain values for JSON."""
        return {**asdict(self), "engine": str(self.engine)}


def build_engine(
    onnx_path: str | Path,
    out_dir: str | Path,
    *,
    precision: str = "fp32",
    target: str = AUTO,
    ranges: Ranges | Callable[[], Ranges] | None = None,
    overwrite: bool = False,
    compute_capabilities: Sequence[str] = (),
    skip: Collection[str] = (),
    plugins: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> BuildReport:
    """Build `out_dir`/<model>-<target>-<precision>-<HxW> from an ONNX file that edgefsa exported.

    `precision` is fp32, fp16 or int8 (which needs `ranges`, or a function that measures them: it is called once
    everything that can be refused at once has been checked). An fp16 build takes ranges too, and keeps what goes
    beyond 16 bits in float32. `skip` are name patterns of nodes that an int8 build leaves in float;
    `compute_capabilities` ("8.9") are the GPUs to build for ahead of time. `plugins` is for TensorRT: "library",
    "kernels" (inside the engine), "none" (the function bodies), or "auto" (the library where one serves). The
    directory appears whole, with its layers' precision proved and a golden output stored, or not at all.

    Raises InputError, GraphError, RangesError, TargetError, PluginError, BuildError, PrecisionError or OutputError.
    """
    from edgefsa.graph.files import load_graph, read_metadata

    begun = time.monotonic()
    _check_settings(precision, ranges is not None, skip, plugins)
    source = load_graph(onnx_path)
    metadata = read_metadata(source, onnx_path)
    target, why = choose_target(precision) if target == AUTO else (target, "asked for")
    builder = _usable_builder(target, precision, compute_capabilities, plugins)
    engine = Path(out_dir) / engine_name(metadata, target, precision)
    with atomic_directory(engine, overwrite=overwrite) as directory, _named(directory, engine):
        _step(progress, 0)
        shutil.copyfile(onnx_path, directory / SOURCE_NAME)
        found = ranges() if callable(ranges) else ranges
        gpus = tuple(compute_capabilities)
        job = BuildJob(directory, source, metadata, precision, found, tuple(skip), gpus, plugins)
        detail, plugins_used = _fill(job, builder, progress)
    return BuildReport(engine, target, precision, detail, why, round(time.monotonic() - begun, 3), plugins_used)


def _check_settings(precision: str, has_ranges: bool, skip: Collection[str], plugins: str) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision} is unknown; use one of {', '.join(PRECISIONS)}")
    if has_ranges and precision == "fp32":
        raise InputError("ranges are for int8 and fp16 builds, not fp32; leave them out")
    if skip and precision != "int8":
        raise InputError(f"skip ({', '.join(skip)}) is for int8 builds, not {precision}; leave it out")
    if plugins not in PLUGIN_CHOICES:
        raise InputError(f"plugins {plugins} is unknown; use one of {', '.join(PLUGIN_CHOICES)}")


@contextlib.contextmanager
def _named(directory: Path, engine: Path) -> Iterator[None]:
    """Let errors name the engine's place to be, not the hidden folder that it is made in."""
    try:
        yield
    except EdgeFsaError as error:
        text = str(error).replace(str(directory), str(engine))
        if text == str(error):
            raise
        raise type(error)(text) from error


def _usable_builder(name: str, precision: str, compute_capabilities: Sequence[str], plugins: str) -> Target:
    builder = target_of(name)
    if plugins != "auto" and not builder.takes_plugins:
        raise InputError(f"plugins are for the target tensorrt, not {name}; leave --plugins {plugins} out")
    reason = builder.unbuildable()
    if reason is not None:
        raise TargetError(f"target {name} cannot be built on this machine: {reason}")
    reason = builder.unsuited(precision)
    if reason is not None:
        raise PrecisionError(f"target {name} cannot give {precision} here: {reason}; choose another of either")
    if compute_capabilities and not builder.takes_compute_capabilities:
        raise InputError(f"compute capabilities are for GPU targets, not {name}; leave them out")
    return builder


def _step(progress: Callable[[int, int], None] | None, done: int) -> None:
    if progress is not None:
        progress(done, _STEPS)


def _fill(job: BuildJob, target: Target, progress: Callable[[int, int], None] | None) -> tuple[str, str]:
    """Build, prove the precision, store layers, golden output and manifest; gives proof and plugins in words."""
    directory, built = job.directory, target.build(job)
    _step(progress, 1)
    manifest = Manifest(
        model=job.metadata,
        target=target.name,
        precision=job.precision,
        precision_detail=built.detail,
        files={},
        quantization=built.quantization,
        versions={"edgefsa": edgefsa.__version__, target.package: target.version(), "numpy": np.__version__},
        plugins=built.plugins,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    layers = built.layers
    if built.runs_here:
        with target.open(directory, manifest) as session:
            layers = layers or session.layer_precisions()
            _step(progress, 2)
            manifest.golden = write_golden(session)
    proof = prove_precision(job.precision, built.expected, layers, built.account)
    _step(progress, 3)
    write_layers(directory, layers)
    counts = layer_counts(layers)
    manifest.precision_detail = {**built.detail, "proof": proof, "layers": counts}
    manifest.device = _device(built, [layer.detail for layer in layers], counts)
    manifest.files = {path.name: sha256_of_file(path) for path in sorted(directory.iterdir())}
    manifest.write(directory)
    _step(progress, 4)
    return _in_words(job.precision, proof, counts), built.plugins_in_words


def _device(built: TargetBuild, kernels: list[str], counts: dict[str, int]) -> dict[str, Any]:
    if not built.uses_cpu:
        return built.device
    here = cpu()
    needed = features_relied_on(counts, kernels, here)
    return {"cpu": here.name, "architecture": here.architecture, "cpu_features": needed}


def _in_words(precision: str, proof: dict[str, Any], counts: dict[str, int]) -> str:
    mix = ", ".join(f"{count} in {kind}" for kind, count in counts.items())
    if precision == "fp32":
        return f"convolutions and matrix products: {mix}"
    return f"{proof['proved']} of {proof['expected']} {precision} layers proved by {proof['account']} ({mix})"
