"""Models of other tools into the pipeline: an ONNX file becomes one of ours, a plan an engine directory.

The stages live in their own folders; this module joins them and works out what a model is from what the user says of it
and what the file itself does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgefsa
from edgefsa.artifacts import atomic_file, sha256_of_file
from edgefsa.data.classes import ClassSet, class_set_for, class_set_from_file, class_set_from_names
from edgefsa.errors import EngineError, InputError
from edgefsa.media.fit import DEFAULT_FIT, check_fit
from edgefsa.media.tensors import InputForm
from edgefsa.metadata import LOGITS, MASKS

if TYPE_CHECKING:
    from edgefsa.engines.proof import ProofFrames
    from edgefsa.engines.session import LayerPrecision

FAMILY = "foreign"
# What Ultralytics trains semantic segmentation with.
_ULTRALYTICS_TASK = "semantic"
# No side of a frame, and no batch, is larger.
_LARGEST_COUNT = 1 << 15


@dataclass(frozen=True)
class AdoptRequest:
    """What the user says of a model; None where the file has to say it.

    `classes` is a file of class names, one a line; `num_classes` serves where they have no names. `outputs` is what a
    plan gives, logits or masks, or what the ONNX file is to give.
    """

    form: InputForm
    name: str | None = None
    classes: Path | None = None
    num_classes: int | None = None
    size_hw: tuple[int, int] | None = None
    batch: int | None = None
    outputs: str | None = None
    output_name: str | None = None
    fit: str = DEFAULT_FIT

    def metadata(self, path: Path, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of the model in `path`; InputError where something is missing."""
        size_hw = self.size_hw or _size_of(header.get("imgsz"))
        if size_hw is None:
            raise InputError(f"{path} does not say how large its frames are; give --size HEIGHTxWIDTH")
        classes = self._classes(path, header)
        name = self.name or re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "model"
        return {
            "model": name,
            "options": {},
            "family": FAMILY,
            "num_classes": classes.num_classes,
            "classes": list(classes.names),
            "palette": [list(colour) for colour in classes.palette_rgb],
            "ignore_index": classes.ignore_index,
            "size_hw": list(size_hw),
            "batch": self.batch or _count(header.get("batch")) or 1,
            "outputs": self.outputs or MASKS,
            "weights": {"kind": FAMILY, "source": path.name, "sha256": sha256_of_file(path)},
            "tool_version": edgefsa.__version__,
            "fit": check_fit(self.fit),
        }

    def _classes(self, path: Path, header: Mapping[str, Any]) -> ClassSet:
        if self.classes is not None:
            return class_set_from_file(self.classes)
        if self.num_classes is not None:
            return class_set_for(self.num_classes)
        names = _names_of(header.get("names"))
        if not names:
            raise InputError(
                f"{path} does not name its classes; give --classes FILE, one name a line, or --num-classes N"
            )
        return class_set_from_names(f"classes of {path.name}", names)


def _literal(value: Any) -> Any:
    """Return what a header's text stands for: older files write lists and objects as Python does."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _names_of(value: Any) -> tuple[str, ...]:
    """Return a header's names in the order of their indices, which are 0, 1, ... as numbers or as their text."""
    value = _literal(value)
    if isinstance(value, dict):
        value = [value.get(index, value.get(str(index))) for index in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return ()
    return tuple(value)


def _size_of(value: Any) -> tuple[int, int] | None:
    value = _literal(value)
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list) or len(sides) != 2 or not all(_count(side) for side in sides):
        return None
    return int(sides[0]), int(sides[1])


def _count(value: Any) -> int | None:
    value = _literal(value)
    return value if type(value) is int and 1 <= value <= _LARGEST_COUNT else None


def adopt_onnx(path: Path, request: AdoptRequest, output: Path) -> dict[str, Any]:
    """Write an ONNX file of another tool as one of ours, for `calibrate` and `build`; return what was written.

    Both are run on the same frames, and nothing is written where they differ. Raises GraphError or InputError.
    """
    from edgefsa.engines.golden import patterned_frames
    from edgefsa.export.adapt import adapt_graph, check_adapted, read_foreign

    metadata = request.metadata(path, {})
    height, width = metadata["size_hw"]
    foreign = read_foreign(path, request.form, metadata["batch"], (height, width))
    adapted = adapt_graph(foreign, request.form, metadata, request.output_name)
    frames = patterned_frames((metadata["batch"], height, width, 3), seed=0)
    apart = check_adapted(foreign, adapted, request.form, frames)
    with atomic_file(output) as partial:
        partial.write_bytes(adapted.SerializeToString(deterministic=True))
    return {
        "onnx": str(output),
        "model": metadata["model"],
        "classes": metadata["num_classes"],
        "input": request.form.in_words(),
        "checked": f"logits differ by {apart:.2g} (relative L2) from the file's own",
        "weights": metadata["weights"],
    }


def adopt_plan(
    path: Path,
    request: AdoptRequest,
    output: Path,
    *,
    onnx: Path | None = None,
    layers: list[LayerPrecision] | None = None,
    frames: Callable[[dict[str, Any]], ProofFrames] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make an engine directory in the folder `output` of a plan of TensorRT, bare or behind Ultralytics' header.

    `onnx` is the file that the plan was made of: the engine is then held against it, and `parity` can be. `layers` are
    what trtexec says of the plan. `frames` makes the frames to compare on from the model's metadata. Raises
    EngineError, GraphError, InputError, PrecisionError or OutputError.
    """
    from edgefsa.engines.adopt import adopt_plan_file
    from edgefsa.engines.tensorrt.plan_file import read_plan_file

    plan = read_plan_file(path)
    task = plan.header.get("task", _ULTRALYTICS_TASK)
    if task != _ULTRALYTICS_TASK:
        raise EngineError(f"{path} is made for {task!r}, and class masks are made by {_ULTRALYTICS_TASK!r} models only")
    metadata = request.metadata(path, plan.header)
    metadata["outputs"] = request.outputs or LOGITS
    source = None if onnx is None else _source_of(onnx, replace(request, name=metadata["model"]), metadata)
    report = adopt_plan_file(
        plan, output, metadata, request.form, source=source, layers=layers or [], frames=frames, overwrite=overwrite
    )
    return {**report, "input": request.form.in_words(), "weights": metadata["weights"]}


def _source_of(path: Path, request: AdoptRequest, metadata: dict[str, Any]) -> bytes:
    """Return the ONNX file that a plan was made of, adapted to the plan's metadata."""
    from edgefsa.export.adapt import adapt_graph, read_foreign

    height, width = metadata["size_hw"]
    foreign = read_foreign(path, request.form, metadata["batch"], (height, width))
    return bytes(
        adapt_graph(foreign, request.form, metadata, request.output_name).SerializeToString(deterministic=True)
    )
