"""The whole way from a model's name or file to an engine directory, in one call.

The stages live in their own folders (models, export, quantize, engines); this module only joins them,
and decides where the activation ranges of an INT8 build come from.
"""

from __future__ import annotations

import functools
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefsa import console
from edgefsa.console import Progress
from edgefsa.data.classes import ClassSet, class_set_from_file, class_set_from_names
from edgefsa.data.mixture import Mixture
from edgefsa.errors import CheckpointError, InputError
from edgefsa.kept_exports import export_once
from edgefsa.media.fit import DEFAULT_FIT
from edgefsa.metadata import Batches
from edgefsa.resources import resource_folder

if TYPE_CHECKING:
    from torch import nn

    from edgefsa.engines.proof import ProofFrames
    from edgefsa.graph.files import LoadedGraph
    from edgefsa.models.config import ModelConfig
    from edgefsa.quantize import Ranges, Recipe

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
CALIBRATION_FRAMES = 128
ONE_DATA_SET = Mixture()


@dataclass(frozen=True)
class ModelRequest:
    """Which network, with which weights, in which shape; None takes the model's default.

    `options` are those of `create_model`. Most leave no trace in a checkpoint's tensors (recurrence, k, basis, ...),
    so they must be given as the checkpoint was trained. `classes` is a file of class names, one a line.
    `fit` says how frames of another shape are fitted to the network's size: stretch, letterbox or crop.
    `equalise` makes the channels between convolutions alike before anything is quantised; the function is the same.
    `weights_key` says which of several sets of weights in a checkpoint, for instance "ema.module".
    Weights of `edgefsa train` record their model, options and classes; what is given here goes before that.
    """

    name: str | None = None
    checkpoint: Path | None = None
    num_classes: int | None = None
    size_hw: tuple[int, int] | None = None
    batch: int | Batches = 1
    outputs: str = "masks"
    options: dict[str, Any] = field(default_factory=dict)
    classes: Path | None = None
    weights_key: str | None = None
    fit: str = DEFAULT_FIT
    equalise: bool = False

    def class_set(self) -> ClassSet | None:
        """Return the classes that the file `classes` names, else those that the checkpoint records, or None."""
        if self.classes is not None:
            return class_set_from_file(self.classes)
        recorded = self.recorded()
        return class_set_from_names(f"classes of {recorded['model']}", tuple(recorded["classes"])) if recorded else None

    def recorded(self) -> dict[str, Any]:
        """Return what the checkpoint records of this model, {"model", "options", "classes"}, or nothing."""
        from edgefsa.models.checkpoint import weights_facts

        facts = {} if self.checkpoint is None else weights_facts(self.checkpoint)
        return facts if self.name in (None, facts.get("model")) else {}


@dataclass(frozen=True)
class SearchRequest:
    """On which frames the blocks of a network are judged, and what a search is to reach.

    `frames` of the split `split` of a request's data, evenly spread. `max_drop` are points of mIoU against the float
    network, `budget` the engines that may be measured.
    """

    max_drop: float = 0.0
    budget: int = 40
    split: str = "train"
    frames: int = 64


@dataclass(frozen=True)
class BuildRequest:
    """Everything that `edgefsa build` takes; see its --help."""

    source: str
    model: ModelRequest
    precision: str
    target: str
    output: Path
    ranges: Path | None = None
    data: str | None = None
    mixture: Mixture = field(default_factory=Mixture)
    skip: tuple[str, ...] = ()
    recipe: Path | None = None
    search: SearchRequest | None = None
    weight_bits: int | None = None
    target_options: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False


def model_from_request(
    request: ModelRequest, *, say: Callable[[str], None] = lambda line: None
) -> tuple[nn.Module, dict[str, Any]]:
    """Make the network and load its weights.

    Returns the module in eval mode, and what its weights are: {"kind": "trained" | "random" | "checkpoint",
    "source", "sha256"}, and of a checkpoint "key" where they lie under one. `say` gets a line where the checkpoint
    has other weights or tensors than were taken. Raises CheckpointError or InputError with the reason.
    """
    from edgefsa.artifacts import sha256_of_file
    from edgefsa.models import create_model, load_checkpoint, load_default_weights

    recorded = request.recorded()
    options = {**recorded.get("options", {}), **request.options}
    named = request.class_set()
    if request.num_classes is not None or named is not None:
        options["num_classes"] = request.num_classes or len(named.names if named else ())
    model = create_model(request.name or recorded.get("model") or "fsanet-edge", **options)
    if request.checkpoint is None:
        if request.weights_key is not None:
            raise InputError(f"--weights-key {request.weights_key} is for a checkpoint; give its file too")
        weights = dict(load_default_weights(model))
    else:
        loaded = load_checkpoint(model, request.checkpoint, weights_key=request.weights_key)
        for note in loaded.notes():
            say(f"note: {request.checkpoint.name}: {note}")
        path = request.checkpoint.resolve()
        weights = {"kind": "checkpoint", "source": str(path), "sha256": sha256_of_file(path)}
        weights |= {"key": loaded.key} if loaded.key else {}
    return model.eval(), weights


def export_model(
    request: ModelRequest,
    output: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export the requested model to `output` (an .onnx file); returns what was written and how it was checked.

    `say` is called with the settings that a checkpoint was read with: a wrong one changes the numbers, not the shapes.
    """
    from edgefsa.export import onnx_from_model

    model, weights = model_from_request(request, say=say)
    if weights["kind"] == "checkpoint":
        config: ModelConfig = model.config  # type: ignore[assignment]
        settings = ", ".join(f"{name}={json.dumps(value)}" for name, value in config.options.items())
        say(f"note: the checkpoint is read as {config.name} with {settings}; change a setting with --option")
    report = onnx_from_model(
        model,
        output,
        size_hw=request.size_hw,
        batch=request.batch,
        outputs=request.outputs,
        fit=request.fit,
        weights=weights,
        classes=request.class_set(),
        progress=progress,
    )
    if request.equalise:
        from edgefsa.quantize.equalise import equalise_file

        equalise_file(output)
    return {"onnx": str(output), **report.as_dict(), "weights": weights}


def calibrate_onnx(
    onnx_path: Path | LoadedGraph,
    data: str,
    *,
    mixture: Mixture = ONE_DATA_SET,
    method: str | None = None,
    frames: int | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Ranges:
    """Measure activation ranges on `frames` frames, evenly spread over the train split of `data` and of its mixture.

    Without a method it is DEFAULT_METHOD; without a number it is CALIBRATION_FRAMES, or fewer where they would take
    more than a minute. `say` is called with what was guessed of the data and left out of it; labels are not read.
    """
    from edgefsa.engines.build_memory import calibration_need
    from edgefsa.graph.files import read_graph
    from edgefsa.quantize import ranges_from_calibration
    from edgefsa.quantize.budget import SECONDS, CalibrationFrames
    from edgefsa.quantize.calibrate import calibrated_tensors
    from edgefsa.quantize.histogram import DEFAULT_METHOD

    graph, mixed = read_graph(onnx_path), mixture.open(data, "train")
    for note in mixed.notes:
        say(f"note: {note}")
    warning = calibration_need(graph.model, calibrated_tensors(graph.model)).warning()
    if warning is not None:
        say(f"warning: {warning}")
    chosen = CalibrationFrames(
        mixed.sets,
        frames or CALIBRATION_FRAMES,
        seconds=math.inf if frames else SECONDS,
        batch=graph.metadata["batch"],
        say=say,
    )
    return ranges_from_calibration(
        graph,
        chosen,
        method=method or DEFAULT_METHOD,
        max_frames=chosen.total,
        data_name=mixed.name,
        data_fingerprint=mixed.fingerprint(),
        progress=None if progress is None else lambda done, _: progress(done, chosen.total),
    )


def frames_for_proof(data: str, metadata: dict[str, Any]) -> ProofFrames:
    """Return frames of the train split of `data` to prove an engine on, evenly spread, in its size and batch."""
    from edgefsa.data.readers import name_without_folders, open_dataset
    from edgefsa.engines.numbers import FRAMES_COMPARED
    from edgefsa.engines.proof import ProofFrames
    from edgefsa.quantize.budget import CalibrationFrames
    from edgefsa.quantize.calibrate import batches

    dataset = open_dataset(data, split="train")
    frames = CalibrationFrames([dataset], FRAMES_COMPARED)
    found = [batch for batch, _ in batches(frames, metadata)]
    return ProofFrames(np.stack(found), name_without_folders(data))


def build_from_request(
    request: BuildRequest,
    *,
    say: Callable[[str], None],
    progress: Progress | None = None,
    compiling: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Build the engine that `request` asks for; `say` gets what a person should know on the way.

    Returns {"engine", "target", "precision", "why", "seconds", "weights", "ranges"} and what the build's report adds.
    """
    if request.precision != "int8" and request.skip:
        raise InputError(f"--skip is for --precision int8, not {request.precision}; leave it out")
    for flag, given in (("--recipe", request.recipe), ("--max-drop", request.search)):
        if request.precision != "int8" and given is not None:
            raise InputError(f"{flag} is for --precision int8, not {request.precision}; leave it out")
    if request.recipe is not None and request.search is not None:
        raise InputError("--recipe replays what a search has found, and --max-drop searches; give one of them")
    if request.precision == "fp32" and request.ranges:
        raise InputError("--ranges is for --precision int8 and fp16, not fp32; leave it out")
    if request.mixture and (request.precision != "int8" or request.ranges or not request.data):
        raise InputError("--also and --augment are for an int8 build that measures its ranges on --data; give that")
    if request.source.lower().endswith(".onnx"):
        if request.model != ModelRequest():
            raise InputError(f"{request.source} is exported already: give the model's options to `edgefsa export`")
        return _build_onnx(Path(request.source), request, say, progress, compiling)
    with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
        onnx_path = Path(scratch) / "model.onnx"
        model = _model_of(request)
        export_once(model, onnx_path, lambda: export_model(model, onnx_path, say=say, progress=progress))
        return _build_onnx(onnx_path, request, say, progress, compiling)


def _model_of(request: BuildRequest) -> ModelRequest:
    """Return a model's name from a checkpoint file in what the user typed first."""
    source = Path(request.source)
    if source.suffix.lower() not in CHECKPOINT_SUFFIXES:
        if request.model.name and request.model.name != request.source:
            raise InputError(f"{request.source} and --model {request.model.name} name two models; give one of them")
        return replace(request.model, name=request.source)
    if request.model.checkpoint is not None:
        raise InputError(f"{source} and --checkpoint {request.model.checkpoint} are two checkpoints; give one of them")
    model = replace(request.model, checkpoint=source)
    if model.name is None and not model.recorded():
        raise CheckpointError(f"{source} is a checkpoint: say whose it is with --model NAME (see `edgefsa models`)")
    return model


def _build_onnx(
    onnx_path: Path, request: BuildRequest, say: Callable[[str], None], progress: Progress | None, compiling: Progress
) -> dict[str, Any]:
    from edgefsa.engines import build_engine
    from edgefsa.graph.files import read_graph
    from edgefsa.int8_search import kept_ranges, searched_recipe

    graph = read_graph(onnx_path)
    metadata = graph.metadata
    used: list[Ranges] = []
    recipe = recipe_for(graph, request)

    def measured() -> Ranges:
        measure = ranges_for if request.search is None else kept_ranges
        used.append(measure(graph, request, say, quiet=progress is None))
        return used[0]

    def proof_frames() -> ProofFrames:
        data = request.data or "synthetic"
        fits = (
            request.data is not None
            or metadata["weights"]["kind"] not in ("checkpoint", "foreign")
            or (bool(used) and used[0].data["name"] == data)
        )
        return replace(frames_for_proof(data, metadata), foreign=not fits)

    def searched(ranges: Ranges) -> Recipe:
        return searched_recipe(graph, ranges, request, say, progress)

    known = _known_ranges(graph, request) if request.precision == "fp16" else None
    report = build_engine(
        graph,
        request.output,
        precision=request.precision,
        target=request.target,
        ranges=measured if request.precision == "int8" else known,
        skip=request.skip,
        recipe=recipe if request.search is None else searched,
        weight_bits=request.weight_bits,
        options=request.target_options,
        overwrite=request.overwrite,
        frames=proof_frames,
        progress=progress,
        compiling=compiling,
        say=say,
    )
    for warning in report.warnings:
        say(f"warning: {warning}")
    origin = {"method": used[0].method, "data": used[0].data} if used else None
    return {**report.as_dict(), "weights": metadata["weights"], "ranges": origin}


def _known_ranges(graph: LoadedGraph, request: BuildRequest) -> Ranges | None:
    """Return the ranges that need no frames: the named ones, or the shipped ones of these very weights."""
    from edgefsa.graph.files import weights_hash
    from edgefsa.quantize import Ranges

    if request.ranges is not None:
        return Ranges.read(request.ranges)
    shipped = shipped_ranges(graph.metadata["model"])
    fits = shipped is not None and shipped.model_sha256 == weights_hash(graph.model)
    return shipped if fits else None


def recipe_for(graph: LoadedGraph, request: BuildRequest) -> Recipe | None:
    """Return the recipe that a build replays, or None; InputError where it is another model's."""
    from edgefsa.quantize import read_recipe

    if request.recipe is None:
        return None
    recipe, model = read_recipe(request.recipe), graph.metadata["model"]
    if recipe.model != model:
        raise InputError(f"{request.recipe} is a recipe for {recipe.model}, not {model}; take that model's recipe")
    return recipe


def ranges_for(graph: LoadedGraph, request: BuildRequest, say: Callable[[str], None], *, quiet: bool) -> Ranges:
    """Measure ranges on --data or a recipe's, or take the known ones, or measure on the synthetic scenes and say so."""
    known = None if request.data and not request.ranges else _known_ranges(graph, request)
    if known is not None:
        return known
    recipe = recipe_for(graph, request)
    data = request.data or (recipe.data if recipe else None)
    if data is None:
        say(
            f"note: no ranges are saved for these weights of {graph.metadata['model']}: calibrating on synthetic scenes"
        )
    measure = functools.partial(calibrate_onnx, graph, data or "synthetic", mixture=request.mixture, say=say)
    if recipe is not None:
        measure = functools.partial(measure, method=recipe.method, frames=recipe.frames)
    if quiet:
        return measure()
    with console.progress("calibrating") as progress:
        return measure(progress=progress)


def shipped_ranges(model: str) -> Ranges | None:
    """Return the saved activation ranges of a shipped model, or None where there are none."""
    from edgefsa.quantize import Ranges

    path = resource_folder("calibration") / f"{model}.json"
    return Ranges.read(path) if path.is_file() else None
