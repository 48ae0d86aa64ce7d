"""Losses on logits [N, K, H, W] and labels [N, H, W]; pixels labelled `ignore_index` do not count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor, ignore_index: int) -> Tensor:
    """Mean of w[label] * -log softmax over the counted pixels, divided by the sum of their weights.

    logits: float [N, K, H, W]; labels: int64 [N, H, W]; class_weights: float [K]. 0 where no pixel counts.
    """
    losses = F.cross_entropy(logits, labels, class_weights, ignore_index=ignore_index, reduction="sum")
    counted = labels != ignore_index
    total = class_weights[torch.where(counted, labels, 0)].mul(counted).sum()
    return losses / total.clamp_min(1e-9)


def lovasz_softmax(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Lovasz extension of 1 - IoU, averaged over the classes that occur in the batch.

    Berman, Triki and Blaschko, "The Lovasz-Softmax loss", CVPR 2018, equations 8 to 11 and the gradient
    of their Algorithm 1. logits: float [N, K, H, W]; labels: int64 [N, H, W]. 0 where no pixel counts.
    """
    counted = labels.flatten() != ignore_index
    probabilities = logits.softmax(1).permute(0, 2, 3, 1).flatten(0, 2)[counted]
    truth = labels.flatten()[counted]
    losses = []
    for index in torch.bincount(truth).nonzero().flatten().tolist():
        foreground = (truth == index).to(probabilities.dtype)
        errors = (foreground - probabilities[:, index]).abs()
        order = _worst_first(errors.detach())
        losses.append(errors[order] @ _jaccard_steps(foreground[order]))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _worst_first(errors: Tensor) -> Tensor:
    """Return the indices that sort errors (0 to 1), the largest first; on a CPU by their upper 16 bits."""
    if errors.device.type != "cpu":
        return errors.argsort(descending=True)
    # NumPy sorts 16-bit keys by radix, ten times as fast; an order within 2e-5 of another changes nothing.
    keys = ((1 - errors) * 65535).nan_to_num(0).numpy().astype(np.uint16)
    return torch.from_numpy(np.argsort(keys, kind="stable"))


def _jaccard_steps(foreground: Tensor) -> Tensor:
    """How much 1 - IoU grows when each next pixel, worst first, is counted as an error; [P]."""
    intersection = foreground.sum() - foreground.cumsum(0)
    union = foreground.sum() + (1 - foreground).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat((jaccard[:1], jaccard.diff()))


def dice_loss(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """1 - 2 |P T| / (|P| + |T|) with probabilities P and truth T, averaged over the classes that occur in the batch.

    Milletari, Navab and Ahmadi, "V-Net", 2016, section 3, without the squares in the denominator.
    logits: float [N, K, H, W]; labels: int64 [N, H, W]. 0 where no pixel counts.
    """
    counted = labels != ignore_index
    probabilities = logits.softmax(1) * counted[:, None]
    truth = F.one_hot(torch.where(counted, labels, 0), logits.shape[1]).permute(0, 3, 1, 2) * counted[:, None]
    overlap, sizes, pixels = (x.sum((0, 2, 3)) for x in (probabilities * truth, probabilities + truth, truth))
    present = pixels > 0
    return (1 - 2 * overlap / sizes.clamp_min(1e-9))[present].sum() / present.sum().clamp_min(1)


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, ignore_index: int, *, sure: float = 0.7, least: float = 1 / 16
) -> Tensor:
    """Mean of -log softmax over the hard pixels: those whose true class has a probability below `sure`.

    At least the share `least` of the counted pixels, the hardest, is taken. Wu, Shen and van den Hengel,
    "High-performance Semantic Segmentation Using Very Deep Fully Convolutional Networks", 2016, section 3.3.
    logits: float [N, K, H, W]; labels: int64 [N, H, W]. 0 where no pixel counts.
    """
    counted = labels != ignore_index
    losses = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")[counted]
    if not losses.numel():
        return logits.sum() * 0
    hard = losses[losses.detach() > -math.log(sure)]
    fewest = max(1, round(least * losses.numel()))
    return (hard if hard.numel() >= fewest else losses.topk(fewest).values).mean()


@dataclass(frozen=True)
class SegmentationLoss:
    """A pixel loss plus `region_weight` times a region loss, and `auxiliary` times the auxiliary head's pixel loss.

    `pixel` is "cross-entropy" (weighted by `class_weights`, float [K]) or "ohem"; `region` is "lovasz", "dice" or
    "none". Of each `stride` x `stride` square of pixels the middle one counts: for an odd stride that divides H and W
    the logits interpolated straight to the coarser grid are the very values that the full size has at those pixels
    (half-pixel centres), at 1 / stride^2 of the cost.
    """

    class_weights: Tensor
    ignore_index: int
    pixel: str = "cross-entropy"
    region: str = "none"
    region_weight: float = 0.5
    auxiliary: float = 0.4
    stride: int = 1

    def __call__(self, outputs: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Return the loss of logits float [N, K, h, w], or of (logits, auxiliary logits), for int64 [N, H, W]."""
        main, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        loss = self._of(main, labels, self.region if self.region_weight else "none")
        if auxiliary is not None and self.auxiliary:
            loss = loss + self.auxiliary * self._of(auxiliary, labels, "none")
        return loss

    def _of(self, logits: Tensor, labels: Tensor, region: str) -> Tensor:
        size = (labels.shape[1] // self.stride, labels.shape[2] // self.stride)
        labels = labels[:, self.stride // 2 :: self.stride, self.stride // 2 :: self.stride]
        logits = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        if self.pixel == "ohem":
            loss = ohem_cross_entropy(logits, labels, self.ignore_index)
        else:
            loss = weighted_cross_entropy(logits, labels, self.class_weights, self.ignore_index)
        if region == "none":
            return loss
        region_loss = dice_loss if region == "dice" else lovasz_softmax
        return loss + self.region_weight * region_loss(logits, labels, self.ignore_index)
