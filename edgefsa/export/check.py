"""Does an exported graph repeat the module it came from? Asked of ONNX Runtime, with and without functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from torch import nn

from edgefsa.errors import ExportError
from edgefsa.graph.files import inline_functions
from edgefsa.graph.running import onnx_runner

MAX_RELATIVE_L2 = 1e-4
TIE_TOLERANCE = 1e-3

Frames = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How near a graph comes to the module: share of equal mask pixels, and the logits' relative L2 error."""

    argmax_agreement: float
    relative_l2: float


def module_logits(model: nn.Module, frames: Frames, mean_rgb: Sequence[float], std_rgb: Sequence[float]) -> Floats:
    """Run the module as it is: frames uint8 [N, H, W, 3] BGR to logits float32 [N, K, h, w]."""
    rgb = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).float()
    image = ((rgb - torch.tensor(mean_rgb)) / torch.tensor(std_rgb)).permute(0, 3, 1, 2).contiguous()
    training = model.training
    try:
        with torch.no_grad():
            out = model.eval()(image)
    finally:
        model.train(training)
    logits = out[0] if isinstance(out, tuple) else out
    return np.asarray(logits.numpy(), np.float32)


def upsampled(logits: Floats, size_hw: tuple[int, int]) -> Floats:
    """Resize logits [N, K, h, w] to [N, K, *size_hw], bilinear with align_corners=False."""
    large = F.interpolate(torch.from_numpy(logits), size=size_hw, mode="bilinear", align_corners=False)
    return np.asarray(large.numpy(), np.float32)


def check_export(
    model: onnx.ModelProto,
    reference: Floats,
    frames: Frames,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Agreement]:
    """Compare the graph, as it is and inlined, with the module's logits on `frames`.

    `progress(done, total)` counts the two forms. Raises ExportError where the logits differ by more than
    rounding, or a mask pixel differs that is no tie.
    """
    height, width = frames.shape[1:3]
    large = upsampled(reference, (height, width))
    agreements = {}
    for form, graph in (("as_is", model), ("inlined", inline_functions(model))):
        logits, masks = onnx_runner(graph)(frames)
        if masks is None:
            masks = upsampled(logits, (height, width)).argmax(1).astype(np.uint8)
        agreements[form] = _agreement(form, reference, large, logits, masks)
        if progress is not None:
            progress(len(agreements), 2)
    return agreements


def _agreement(form: str, reference: Floats, large: Floats, logits: Floats, masks: Frames) -> Agreement:
    error = relative_l2(logits, reference)
    if not error <= MAX_RELATIVE_L2:
        raise ExportError(
            f"the exported graph ({form}) gives other logits than the module: relative L2 {error:.2e}, at most "
            f"{MAX_RELATIVE_L2:.0e} is rounding; please report this model"
        )
    best = large.argmax(1)
    chosen = np.take_along_axis(large, masks[:, None].astype(np.int64), 1)[:, 0]
    gap = large.max(1) - chosen
    wrong = int((gap > TIE_TOLERANCE * np.sqrt(np.mean(np.square(reference)))).sum())
    if wrong:
        raise ExportError(
            f"the exported graph ({form}) gives another class than the module for {wrong} of {gap.size} pixels; "
            "please report this model"
        )
    return Agreement(float((best == masks).mean()), error)


def relative_l2(value: Floats, reference: Floats) -> float:
    """Return |value - reference| / |reference|, in float64."""
    wide = reference.astype(np.float64)
    return float(np.linalg.norm(value - wide) / max(float(np.linalg.norm(wide)), 1e-30))
