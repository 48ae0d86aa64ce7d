"""`onnx_from_model`: from a segmentation network to a model.onnx that is known to repeat it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from torch import nn

from edgefsa import __version__
from edgefsa.artifacts import atomic_file
from edgefsa.data.classes import ClassSet, class_set_for
from edgefsa.data.scenes import kept_scene
from edgefsa.errors import ExportError, InputError
from edgefsa.export.check import Agreement, Floats, Frames, check_export, module_logits
from edgefsa.export.frames import add_frames_input, add_masks_output
from edgefsa.export.names import rename, strip_provenance
from edgefsa.export.trace import trace_logits
from edgefsa.graph.batches import free_batch
from edgefsa.graph.editing import GraphEditor
from edgefsa.graph.files import IR_VERSION, LOGITS, MASKS, OPSET, write_metadata
from edgefsa.graph.folding import fold_batch_norms, fold_channel_affines, fold_constants
from edgefsa.graph.functions import function_for
from edgefsa.graph.operators import DOMAIN, DOMAIN_VERSION
from edgefsa.media.fit import DEFAULT_FIT, check_fit, fit_frame
from edgefsa.media.frames import Frame
from edgefsa.metadata import MAX_CLASSES, Batches, is_model_name

OUTPUTS = (MASKS, LOGITS)
_STEPS = 4  # trace and fold, check as it is, check inlined, write


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how near it came to the module on the frame that checked it."""

    path: Path
    size_hw: tuple[int, int]
    batch: int
    batches: Batches
    outputs: str
    opset: int
    bytes: int
    nodes: int
    operators: dict[str, int]
    checks: dict[str, Agreement]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return {**asdict(self), "path": str(self.path), "size_hw": list(self.size_hw)}


def onnx_from_model(
    model: nn.Module,
    path: str | Path,
    *,
    size_hw: tuple[int, int] | None = None,
    batch: int | Batches = 1,
    outputs: str = MASKS,
    fit: str = DEFAULT_FIT,
    weights: Mapping[str, Any] | None = None,
    classes: ClassSet | None = None,
    frame: Frame | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write `model` as ONNX: input `frames` uint8 [N, H, W, 3] BGR, output `masks` uint8 [N, H, W].

    `fit` (stretch, letterbox or crop) is stored: all that hands frames of another shape to the file fits them so.
    `batch` is the number of frames N of a run, or Batches where N is open between two numbers.
    With outputs="logits" the output is `logits`, float32 [N, K, h, w] at the network's own stride. `weights`
    says what the weights are ({"kind", "source", "sha256"}), `classes` what the indices mean (by default CamVid for
    11, Cityscapes for 19, else generated names). `frame` (BGR, any size) checks the result against the module in ONNX
    Runtime, as it is and with functions inlined, in the largest and the smallest batch; a synthetic street scene where
    it is None.
    `progress(done, total)` counts steps. The file appears only once it has passed. Raises InputError for a size,
    a batch or an output that the model cannot have, and ExportError where the model cannot be exported or the graph
    does not repeat it.
    """
    started = time.perf_counter()
    config = _config(model)
    size_hw = tuple(size_hw or config.size_hw)  # type: ignore[assignment]
    batches = Batches(batch, batch, batch) if isinstance(batch, int) else batch
    _check_request(config, size_hw, batches, outputs)
    _step(progress, 0)
    exported = build_graph(model, size_hw, batches, outputs)
    facts = {"size_hw": list(size_hw), "batch": batches.most, "outputs": outputs, "fit": check_fit(fit)}
    facts |= {} if batches.fixed else {"batches": list(batches)}
    write_metadata(exported, _metadata(config, facts, weights, classes))
    frames = _check_frames(frame, size_hw, batches.most, fit)
    reference = module_logits(model, frames, config.mean_rgb, config.std_rgb)
    if not batches.fixed:
        _check_open_batch(exported, reference[: batches.fewest], frames[: batches.fewest], config.name, batches)
    onnx.checker.check_model(exported, full_check=True)
    _step(progress, 1)
    checks = check_export(exported, reference, frames, progress=lambda done, _: _step(progress, 1 + done))
    with atomic_file(path) as partial:
        partial.write_bytes(exported.SerializeToString(deterministic=True))
    _step(progress, _STEPS)
    return _report(Path(path), exported, size_hw, batches, outputs, checks, time.perf_counter() - started)


def _check_open_batch(
    exported: onnx.ModelProto, reference: Floats, frames: Frames, name: str, batches: Batches
) -> None:
    """Raise ExportError where the graph does not repeat the module in its fewest frames."""
    try:
        onnx.checker.check_model(exported, full_check=True)
        check_export(exported, reference, frames)
    except Exception as error:  # ONNX's and ONNX Runtime's exceptions share no base but Exception
        reason = " ".join(str(error).split())[:200]
        raise ExportError(
            f"{name} cannot be exported with the open batch {batches}, as a part of it is made for {batches.most} "
            f"frames ({reason}); give one number of frames"
        ) from error


def _step(progress: Callable[[int, int], None] | None, done: int) -> None:
    if progress is not None:
        progress(done, _STEPS)


def _report(
    path: Path,
    exported: onnx.ModelProto,
    size_hw: tuple[int, int],
    batches: Batches,
    outputs: str,
    checks: dict[str, Agreement],
    seconds: float,
) -> ExportReport:
    nodes = exported.graph.node
    operators = Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes)
    return ExportReport(
        path=path,
        size_hw=size_hw,
        batch=batches.most,
        batches=batches,
        outputs=outputs,
        opset=OPSET,
        bytes=path.stat().st_size,
        nodes=len(nodes),
        operators=dict(sorted(operators.items())),
        checks=checks,
        seconds=seconds,
    )


def build_graph(model: nn.Module, size_hw: tuple[int, int], batches: Batches, outputs: str) -> onnx.ModelProto:
    """Return the exported graph without metadata and unchecked."""
    config = _config(model)
    graph = trace_logits(model, size_hw, batches.most)
    fold_constants(graph)
    fold_batch_norms(graph)
    fold_channel_affines(graph)
    rename(graph)
    strip_provenance(graph)
    add_frames_input(graph, config.mean_rgb, config.std_rgb)
    if outputs == MASKS:
        add_masks_output(graph)
    GraphEditor(graph).drop_unused_tensors()
    _add_functions(graph)
    if not batches.fixed:
        free_batch(graph)
    graph.ir_version = IR_VERSION
    graph.producer_name, graph.producer_version = "edgefsa", __version__
    del graph.opset_import[:]
    versions = {"": OPSET, **({DOMAIN: DOMAIN_VERSION} if graph.functions else {})}
    graph.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions.items())
    return graph


def _add_functions(model: onnx.ModelProto) -> None:
    """Append the body of each frequency operator; a second variant of one operator is an overload of it."""
    bodies: dict[tuple[str, bytes], onnx.FunctionProto] = {}
    for node in model.graph.node:
        if node.domain != DOMAIN:
            continue
        body = function_for(node)
        key = (node.op_type, body.SerializeToString(deterministic=True))
        if key not in bodies:
            variants = sum(item.name == body.name for item in bodies.values())
            body.overload = f"{variants + 1}" if variants else ""
            bodies[key] = body
        node.overload = bodies[key].overload
    model.functions.extend(bodies.values())


def _config(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    if config is None:
        raise ExportError(
            f"{type(model).__name__} has no `config` that says its size, classes and normalisation; "
            "export a model of edgefsa.create_model, or give yours an edgefsa.models.ModelConfig"
        )
    return config


def _check_request(config: Any, size_hw: tuple[int, int], batches: Batches, outputs: str) -> None:
    if config.task != "segmentation":
        raise ExportError(f"{config.name} is built for {config.task}; export takes segmentation networks")
    if not is_model_name(config.name):
        raise ExportError(f"{config.name!r} cannot name an engine; use letters, digits, '.', '_' and '-'")
    config.check_size(size_hw)
    if batches.fewest < 1:
        raise InputError(f"batch {batches} is no number of frames; give 1 or more")
    if list(batches) != sorted(batches):
        raise InputError(f"batch {batches} falls; give the fewest frames, the usual number and the most, as 1:4:8")
    if outputs not in OUTPUTS:
        raise InputError(f"outputs {outputs!r} is unknown; choose {' or '.join(OUTPUTS)}")
    if config.num_classes > MAX_CLASSES:
        raise InputError(f"{config.num_classes} classes do not fit a uint8 mask; use {MAX_CLASSES} at most")


def _metadata(
    config: Any, facts: dict[str, Any], weights: Mapping[str, Any] | None, classes: ClassSet | None
) -> dict[str, Any]:
    classes = classes or class_set_for(config.num_classes)
    if len(classes.names) != config.num_classes:
        raise InputError(f"{len(classes.names)} class names for {config.num_classes} classes; give one for each")
    return {
        "model": config.name,
        "options": config.options,
        "family": config.family,
        "num_classes": config.num_classes,
        "classes": list(classes.names),
        "palette": [list(colour) for colour in classes.palette_rgb],
        "ignore_index": classes.ignore_index,
        **facts,
        "weights": dict(weights or {"kind": "unknown", "source": "", "sha256": ""}),
        "tool_version": __version__,
    }


def _check_frames(frame: Frame | None, size_hw: tuple[int, int], batch: int, fit: str) -> Frames:
    """Return frames that differ from each other, so that a mix-up within the batch shows."""
    first = fit_frame(kept_scene(0, size_hw)[0] if frame is None else frame, size_hw, fit)
    return np.stack([np.roll(first, index * 7, axis=1) for index in range(batch)])
