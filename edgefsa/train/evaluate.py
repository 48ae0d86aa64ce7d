"""Accuracy of a PyTorch model on a labelled data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefsa.data.readers import Dataset
from edgefsa.media.frames import Frame, Mask, resize_frame
from edgefsa.verify.accuracy import AccuracyReport, accuracy_of


def evaluate_model(
    model: nn.Module,
    dataset: Dataset,
    *,
    bf16: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> AccuracyReport:
    """Run `model` in eval mode over all frames of `dataset` and compare with the labels, at the label's size.

    The IoU of a class that does not occur is None. A frame of a size that `model.config` does not take is resized to
    the nearest that it does.
    """
    was_training = model.training
    model.eval()
    try:
        return accuracy_of(
            lambda batches: ([predict_mask(model, frame, bf16=bf16) for frame in frames] for frames in batches),
            dataset,
            progress=progress,
        )
    finally:
        model.train(was_training)


def predict_mask(model: nn.Module, frame: Frame, *, bf16: bool = False) -> Mask:
    """Return the class indices uint8 [H, W] for one frame uint8 [H, W, 3] BGR; `model` is in eval mode."""
    config: Any = model.config
    height, width = (_side_taken(side, config.size_multiple, config.size_min) for side in frame.shape[:2])
    device = next(model.parameters()).device
    batch = torch.from_numpy(np.ascontiguousarray(resize_frame(frame, (height, width)))[None]).to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits = model(normalised(batch, config.mean_rgb, config.std_rgb)).float()
    logits = F.interpolate(logits, size=frame.shape[:2], mode="bilinear", align_corners=False)
    return logits[0].argmax(0).to(torch.uint8).cpu().numpy()


def _side_taken(side: int, multiple: int, smallest: int) -> int:
    return multiple * max(round(side / multiple), -(-smallest // multiple))


def normalised(frames: Tensor, mean_rgb: tuple[float, ...], std_rgb: tuple[float, ...]) -> Tensor:
    """Return uint8 [N, H, W, 3] BGR as float32 [N, 3, H, W] RGB, (x - mean) / std, channels last in memory."""
    mean, std = (torch.tensor(rgb[::-1], dtype=torch.float32, device=frames.device) for rgb in (mean_rgb, std_rgb))
    return frames.float().sub_(mean).div_(std).flip(-1).permute(0, 3, 1, 2)
