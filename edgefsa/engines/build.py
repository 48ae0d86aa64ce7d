"""From an ONNX file to an engine directory that is proved, checked and complete, or to nothing at all."""

from __future__ import annotations

import contextlib
import datetime
import functools
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgefsa
from edgefsa.artifacts import Manifest, atomic_directory, sha256_of_file
from edgefsa.engines.build_memory import build_need
from edgefsa.engines.directory import engine_name
from edgefsa.engines.golden import NOT_RUN
from edgefsa.engines.names import RANGES_NAME, RECIPE_NAME, SOURCE_NAME
from edgefsa.engines.proof import Proof, ProofFrames, proof_frames, prove, store_golden
from edgefsa.engines.registry import AUTO, choose_target, target_of
from edgefsa.engines.session import write_layers
from edgefsa.engines.target import BuildJob, Target, TargetBuild
from edgefsa.engines.weights import WeightBits, choose_weight_bits
from edgefsa.errors import EdgeFsaError, InputError, PrecisionError, TargetError
from edgefsa.machine import features_relied_on

if TYPE_CHECKING:
    import onnx

    from edgefsa.graph.files import LoadedGraph
    from edgefsa.quantize import HalfScan, Ranges, Recipe

PRECISIONS = ("fp32", "fp16", "int8")
_STEPS = 4


@dataclass(frozen=True)
class BuildReport:
    """What a build made: the engine's directory, what was chosen and why, and how the engine was proved.

    `detail` says what the layers run in and how sure that is, `cost` what the precision costs against the float graph,
    `agreement` how near the engine is to the converted graph. The shares (0 to 1) are of the multiply-accumulates.
    `int8_weights` says how many bits INT8 weights have, and why; it is empty for other precisions. `warnings` are for
    people; `plugins` says which plugins the engine has, or why none, and is empty for targets that take none; `trtexec`
    is the line of NVIDIA's tool that makes the same plan, to be run in the engine's directory.
    """

    engine: Path
    target: str
    precision: str
    detail: str
    cost: str
    agreement: str
    int8_macs_share: float
    fp16_macs_share: float
    why: str
    seconds: float
    plugins: str = ""
    int8_weights: str = ""
    trtexec: str = ""
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return {**asdict(self), "engine": str(self.engine)}


def build_engine(
    onnx_path: str | Path | LoadedGraph,
    out_dir: str | Path,
    *,
    precision: str = "fp32",
    target: str = AUTO,
    ranges: Ranges | Callable[[], Ranges] | None = None,
    overwrite: bool = False,
    skip: Collection[str] = (),
    recipe: Recipe | Callable[[Ranges], Recipe] | None = None,
    weight_bits: int | None = None,
    options: Mapping[str, Any] | None = None,
    frames: Callable[[], ProofFrames] | None = None,
    progress: Callable[[int, int], None] | None = None,
    compiling: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> BuildReport:
    """Build `out_dir`/<model>-<target>-<precision>-<HxW> from an ONNX file that edgefsa exported.

    `precision` is fp32, fp16 or int8 (which needs `ranges`, or a function that measures them: it is called once
    everything that can be refused at once has been checked). An fp16 build takes ranges too, and keeps what goes
    beyond 16 bits in float32. `skip` are name patterns of nodes that an int8 build leaves in float; so are those of
    `recipe`, or of the recipe that a function makes of the ranges, which is stored with the engine. `weight_bits` are
    those of INT8 weights, 8, or 7 for CPUs without VNNI, AMX or dot products, by the CPU of this machine where None;
    `options` are the target's own, by name (its `options_type`). `frames` makes the frames that the engine's numbers
    are compared on; without it they are coloured blocks. `progress` counts steps, `compiling` how far the
    target's compiler is, where it says so. `say` gets a line before the work where the memory that is free is less than
    it is estimated to take. The directory appears whole, proved by its layers and its numbers and with golden outputs
    stored, or not at all.

    Raises InputError, GraphError, RangesError, TargetError, PluginError, BuildError, PrecisionError or OutputError.
    """
    from edgefsa.graph.files import read_graph

    begun = time.monotonic()
    _check_settings(precision, ranges is not None, skip, recipe is not None, weight_bits)
    graph = read_graph(onnx_path)
    source, metadata = graph.model, graph.metadata
    target, why = choose_target(precision) if target == AUTO else (target, "asked for")
    builder = usable_builder(target, precision, options)
    own = builder.options_from(options or {})
    builder.check_request(own, precision, metadata)
    weights = choose_weight_bits(builder, weight_bits)
    need = build_need(source)
    warning = replace(need, parts=(*need.parts, *builder.memory_parts(need.parts, own))).warning()
    if warning is not None:
        say(f"warning: {warning}")
    engine = Path(out_dir) / engine_name(metadata, target, precision)
    with atomic_directory(engine, overwrite=overwrite) as directory, named_errors(directory, engine):
        _step(progress, 0)
        shutil.copyfile(graph.path, directory / SOURCE_NAME)
        found = ranges() if callable(ranges) else ranges
        if found is not None:
            found.write(directory / RANGES_NAME)
        plan = _recipe_of(recipe, found)
        if plan is not None:
            (directory / RECIPE_NAME).write_text(plan.text(), encoding="utf-8")
            skip = tuple(dict.fromkeys([*skip, *plan.skip]))
        chosen = functools.lru_cache(maxsize=1)(lambda: proof_frames(frames, metadata))
        scan = functools.lru_cache(maxsize=1)(lambda: _scan(source, chosen()))
        job = BuildJob(directory, source, metadata, precision, found, tuple(skip), weights, own, scan, compiling, plan)
        proof, built = _fill(job, builder, chosen, progress)
    return _report(engine, job, target, proof, built, why, time.monotonic() - begun)


def _report(
    engine: Path, job: BuildJob, target: str, proof: Proof, built: TargetBuild, why: str, seconds: float
) -> BuildReport:
    return BuildReport(
        engine=engine,
        target=target,
        precision=job.precision,
        detail=proof.in_words(job.precision),
        cost=proof.numbers.cost.in_words(),
        agreement=proof.numbers.engine.in_words() if proof.numbers.engine else NOT_RUN,
        int8_macs_share=proof.shares.int8,
        fp16_macs_share=proof.shares.half,
        why=why,
        seconds=round(seconds, 3),
        plugins=built.plugins_in_words,
        int8_weights=job.weights.in_words() if job.precision == "int8" else "",
        trtexec=built.detail.get("trtexec", ""),
        warnings=tuple(proof.warnings(job.precision)),
    )


def _recipe_of(recipe: Recipe | Callable[[Ranges], Recipe] | None, ranges: Ranges | None) -> Recipe | None:
    if not callable(recipe):
        return recipe
    return None if ranges is None else recipe(ranges)


def _check_settings(
    precision: str, has_ranges: bool, skip: Collection[str], has_recipe: bool, weight_bits: int | None
) -> None:
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision} is unknown; use one of {', '.join(PRECISIONS)}")
    if has_ranges and precision == "fp32":
        raise InputError("ranges are for int8 and fp16 builds, not fp32; leave them out")
    if skip and precision != "int8":
        raise InputError(f"skip ({', '.join(skip)}) is for int8 builds, not {precision}; leave it out")
    if has_recipe and precision != "int8":
        raise InputError(f"a recipe is for int8 builds, not {precision}; leave it out")
    if weight_bits is not None and precision != "int8":
        raise InputError(f"weight bits ({weight_bits}) are for int8 builds, not {precision}; leave them out")


@contextlib.contextmanager
def named_errors(directory: Path, engine: Path) -> Iterator[None]:
    """Let errors name the engine's place to be, not the hidden folder that it is made in."""
    try:
        yield
    except EdgeFsaError as error:
        text = str(error).replace(str(directory), str(engine))
        if text == str(error):
            raise
        raise type(error)(text) from error


def usable_builder(name: str, precision: str, options: Mapping[str, Any] | None = None) -> Target:
    """Return a target by name; TargetError or PrecisionError where it cannot be built in `precision` here."""
    builder = target_of(name)
    reason = builder.unbuildable()
    if reason is not None:
        raise TargetError(f"target {name} cannot be built on this machine: {reason}")
    reason = builder.refused(precision, builder.options_from(options or {}))
    if reason is not None:
        raise PrecisionError(f"target {name} cannot give {precision} here: {reason}; choose another of either")
    return builder


def _scan(source: onnx.ModelProto, chosen: ProofFrames) -> HalfScan:
    from edgefsa.quantize.scan import scan_halves

    return scan_halves(source, chosen.frames, chosen.data)


def _step(progress: Callable[[int, int], None] | None, done: int) -> None:
    if progress is not None:
        progress(done, _STEPS)


def _fill(
    job: BuildJob,
    target: Target,
    frames: Callable[[], ProofFrames],
    progress: Callable[[int, int], None] | None,
) -> tuple[Proof, TargetBuild]:
    """Build the engine, prove it, and store its layers, golden outputs and manifest."""
    directory, built = job.directory, target.build(job)
    _step(progress, 1)
    manifest = unproved_manifest(job, target, built)
    proof = prove(job, target, built, manifest, frames, step=lambda: _step(progress, 2))
    _step(progress, 3)
    write_layers(directory, proof.layers)
    manifest.golden = store_golden(directory, job.metadata, proof.numbers)
    manifest.precision_detail = {**built.detail, "layers": proof.counts}
    manifest.proof = proof.as_dict()
    manifest.int8_macs_share, manifest.fp16_macs_share = proof.shares.int8, proof.shares.half
    manifest.device = _device(target, built, job.weights, proof)
    manifest.files = {path.name: sha256_of_file(path) for path in sorted(directory.iterdir())}
    manifest.write(directory)
    _step(progress, 4)
    return proof, built


def unproved_manifest(job: BuildJob, target: Target, built: TargetBuild) -> Manifest:
    """Return the manifest of an engine that was just built, with what its proof adds and its files still missing."""
    return Manifest(
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


def _device(target: Target, built: TargetBuild, weights: WeightBits, proof: Proof) -> dict[str, Any]:
    if not built.uses_cpu:
        return built.device
    here = target.cpu()
    # Weights of 7 bits are for CPUs that lack the instructions of 8.
    types = [kind for kind in proof.counts if kind != "int8" or weights.bits == 8]
    needed = features_relied_on(types, [layer.detail for layer in proof.layers], here)
    return {"cpu": here.name, "architecture": here.architecture, "cpu_features": needed}
