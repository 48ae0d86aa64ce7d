"""Accuracy of a PyTorch model on a labelled data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgefsa.data.readers import Dataset
from edgefsa.imaging import Frame, resize_frame
from edgefsa.train.loader import label_of


@dataclass(frozen=True)
class Accuracy:
    """mIoU over the classes that occur (0 to 1), pixel accuracy, IoU per class name (None where absent)."""

    miou: float
    pixel_accuracy: float
    per_class_iou: dict[str, float | None]
    frames: int


def evaluate_model(
    model: nn.Module,
    dataset: Dataset,
    *,
    bf16: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Accuracy:
    """Run `model` in eval mode over all frames of `dataset` and compare with the labels, at the label's size.

    A frame whose sides are no multiple of `model.config.size_multiple` is resized to the nearest such size.
    """
    classes = dataset.class_set
    count = classes.num_classes
    table = np.zeros((count, count), np.int64)
    was_training = model.training
    model.eval()
    for index in range(len(dataset)):
        sample = dataset[index]
        mask = predict_mask(model, sample.frame, bf16=bf16)
        label = label_of(sample)
        table += confusion(mask, label, count, classes.ignore_index)
        if progress is not None:
            progress(index + 1, len(dataset))
    model.train(was_training)
    return accuracy_of(table, classes.names, len(dataset))


def predict_mask(model: nn.Module, frame: Frame, *, bf16: bool = False) -> npt.NDArray[np.uint8]:
    """Give the class indices uint8 [H, W] for one frame uint8 [H, W, 3] BGR."""
    config: Any = model.config
    multiple = config.size_multiple
    height, width = (max(1, round(side / multiple)) * multiple for side in frame.shape[:2])
    device = next(model.parameters()).device
    batch = torch.from_numpy(np.ascontiguousarray(resize_frame(frame, (height, width)))[None]).to(device)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        logits = model(normalised(batch, config.mean_rgb, config.std_rgb)).float()
    logits = F.interpolate(logits, size=frame.shape[:2], mode="bilinear", align_corners=False)
    return logits[0].argmax(0).to(torch.uint8).cpu().numpy()


def normalised(frames: Tensor, mean_rgb: tuple[float, ...], std_rgb: tuple[float, ...]) -> Tensor:
    """Give uint8 [N, H, W, 3] BGR as float32 [N, 3, H, W] RGB, (x - mean) / std, channels last in memory."""
    mean, std = (torch.tensor(values, dtype=torch.float32, device=frames.device) for values in (mean_rgb, std_rgb))
    return ((frames.float().flip(-1) - mean) / std).permute(0, 3, 1, 2)


def confusion(
    mask: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8], num_classes: int, ignore_index: int
) -> npt.NDArray[np.int64]:
    """Count pixels by (label, prediction); int64 [K, K]; ignored pixels are left out."""
    counted = label != ignore_index
    pairs = label[counted].astype(np.int64) * num_classes + mask[counted]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy_of(table: npt.NDArray[np.int64], names: tuple[str, ...], frames: int) -> Accuracy:
    """Turn a confusion table [K labels, K predictions] into the figures."""
    hits = table.diagonal()
    union = table.sum(0) + table.sum(1) - hits
    present = union > 0
    iou = hits / np.maximum(union, 1)
    return Accuracy(
        miou=float(iou[present].mean()) if present.any() else 0.0,
        pixel_accuracy=float(hits.sum() / max(1, table.sum())),
        per_class_iou={name: float(iou[i]) if present[i] else None for i, name in enumerate(names)},
        frames=frames,
    )
