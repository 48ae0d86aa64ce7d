"""Running an ONNX graph in NumPy alone, by ONNX's own reference evaluator: for boards without ONNX Runtime.

The evaluator is the definition of ONNX in code. Its convolutions and resizing are slow (in older releases by minutes a
frame), so both are computed here, the same numbers by fewer steps; what these do not cover stays the evaluator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_conv import Conv as StandardConv
from onnx.reference.ops.op_resize import Resize as StandardResize

from edgefsa.graph.files import inline_functions
from edgefsa.metadata import FRAMES

Array = npt.NDArray[Any]


class ReferenceRunner:
    """Computes tensors of a graph from frames, float16 sums in float32 as runtimes do."""

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str]) -> None:
        probe = inline_functions(model)
        del probe.graph.output[:]
        probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in outputs)
        self._evaluator = ReferenceEvaluator(probe, new_ops=[Conv, Resize])

    def __call__(self, frames: npt.NDArray[np.uint8]) -> list[Array]:
        """Return the outputs, in their order, for uint8 [N, H, W, 3] BGR frames."""
        found: list[Array] = self._evaluator.run(None, {FRAMES: frames})
        return found


class Conv(StandardConv):  # type: ignore[misc]
    """A 2-D convolution as a sum of matrix products, one for each place in the kernel."""

    op_domain = ""

    def _run(self, x: Array, weight: Array, bias: Array | None = None, **settings: Any) -> tuple[Array]:
        if x.ndim != 4 or settings.get("auto_pad", "NOTSET") != "NOTSET":
            result: tuple[Array] = super()._run(x, weight, bias, **settings)
            return result
        groups = settings.get("group") or 1
        step = settings.get("strides") or (1, 1)
        apart = settings.get("dilations") or (1, 1)
        top, left, bottom, right = settings.get("pads") or (0, 0, 0, 0)
        wide = np.pad(x.astype(np.float32), ((0, 0), (0, 0), (top, bottom), (left, right)))
        batch, channels, height, width = wide.shape
        outputs, inputs, rows, columns = weight.shape
        size = (
            (height - apart[0] * (rows - 1) - 1) // step[0] + 1,
            (width - apart[1] * (columns - 1) - 1) // step[1] + 1,
        )
        grouped = weight.astype(np.float32).reshape(groups, outputs // groups, inputs, rows, columns)
        total = np.zeros((batch, groups, outputs // groups, size[0] * size[1]), np.float32)
        for row, column in np.ndindex(rows, columns):
            above, before = row * apart[0], column * apart[1]
            seen = wide[
                :, :, above : above + step[0] * size[0] : step[0], before : before + step[1] * size[1] : step[1]
            ]
            total += grouped[..., row, column] @ seen.reshape(batch, groups, channels // groups, -1)
        summed = total.reshape(batch, outputs, *size)
        if bias is not None:
            summed += bias.astype(np.float32)[:, None, None]
        return (summed.astype(x.dtype),)


class Resize(StandardResize):  # type: ignore[misc]
    """Resizing axis by axis, each place from its two neighbours (linear) or from one (nearest, rounded down)."""

    op_domain = ""

    def _run(
        self, x: Array, roi: Array | None, scales: Array | None = None, sizes: Array | None = None, **settings: Any
    ) -> tuple[Array]:
        where = settings["coordinate_transformation_mode"]
        known = (settings["mode"], where) in (("linear", "half_pixel"), ("linear", "align_corners")) or (
            (settings["mode"], where, settings["nearest_mode"]) == ("nearest", "asymmetric", "floor")
        )
        if not known or settings["antialias"] or settings["axes"] or settings["exclude_outside"]:
            result: tuple[Array] = super()._run(x, roi, scales, sizes, **settings)
            return result
        wanted = sizes if sizes is not None else np.floor(np.asarray(x.shape) * np.asarray(scales, np.float64))
        result_type, found = x.dtype, x
        for axis, (old, new) in enumerate(zip(x.shape, (int(side) for side in wanted), strict=True)):
            scale = new / old if sizes is not None or scales is None else float(scales[axis])
            if (new, scale) != (old, 1.0):
                found = _resized(found, axis, new, scale, where)
        return (found.astype(result_type),)


def _resized(x: Array, axis: int, new: int, scale: float, where: str) -> Array:
    """Return `x` with `new` places along `axis`, in float32 where they lie between two."""
    old, places = x.shape[axis], np.arange(new, dtype=np.float64)
    if where == "asymmetric":
        return x.take(np.clip(np.floor(places / scale), 0, old - 1).astype(np.int64), axis)
    if where == "align_corners":
        source = places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        source = (places + 0.5) / scale - 0.5
    source = np.clip(source, 0, old - 1)
    before = np.floor(source).astype(np.int64)
    after = np.minimum(before + 1, old - 1)
    share = (source - before).astype(np.float32).reshape([-1 if index == axis else 1 for index in range(x.ndim)])
    found: Array = x.take(before, axis) * (1 - share) + x.take(after, axis) * share
    return found
