"""Losses on logits [N, K, H, W] and labels [N, H, W]; pixels labelled `ignore_index` do not count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

# Of errors from 0 to 1. More cost time and change nothing that can be seen in training.
_BINS = 4096


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
    of their Algorithm 1, with errors in bins of 1 / 4096 in place of a sort: within a bin the order of the
    pixels is left open, which moves the loss by less than that. logits: float [N, K, H, W];
    labels: int64 [N, H, W]. 0 where no pixel counts.
    """
    probabilities = logits.softmax(1)
    counted = (labels != ignore_index)[:, None]
    truth = torch.where(counted, labels[:, None], 0)
    own, others = _lovasz_gains(probabilities.detach(), truth, counted)
    # An error is 1 - p in the pixel's own class and p in the others: the loss is linear in p, with constant gains.
    return (probabilities * others.scatter(1, truth, -own)).sum() + own.sum()


def _lovasz_gains(probabilities: Tensor, truth: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """How much the loss grows with each pixel's error in its own class, [N, 1, H, W], and in the others, [N, K, H, W].

    probabilities: float [N, K, H, W]; truth: int64 [N, 1, H, W], any class where `counted` (bool, alike) is False.
    """
    classes, stride = probabilities.shape[1], _BINS + 1
    errors = probabilities.scatter(1, truth, 1 - probabilities.gather(1, truth))
    # The worst errors are in bin 0; the last bin holds the pixels that do not count.
    bins = errors.mul_(1 - _BINS).add_(_BINS - 1).nan_to_num_(0).int().masked_fill_(~counted, _BINS)
    bins += torch.arange(0, classes * stride, stride, dtype=torch.int32, device=bins.device)[:, None, None]
    own_bins = bins.gather(1, truth)
    pixels, foreground = (
        torch.bincount(found.flatten(), minlength=classes * stride).view(classes, stride)[:, :-1]
        for found in (bins, own_bins)
    )
    own, others = (
        F.pad(gains, (0, 1)).to(probabilities.dtype).flatten().index_select(0, found.flatten()).view(found.shape)
        for gains, found in zip(_jaccard_gains(foreground, pixels - foreground), (own_bins, bins), strict=True)
    )
    return own, others


def _jaccard_gains(foreground: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """How much the mean of 1 - IoU grows with one more error in each bin, by pixels of a class and by others.

    foreground, background: counts int64 [K, bins], worst first; gains float64 [K, bins]. The pixels of a bin join
    those before them once with the foreground first and once with it last, and the mean of both counts.
    """
    missed, found = (counts.double().cumsum(1) for counts in (foreground, background))
    total = missed[:, -1:]

    def loss(missed: Tensor, found: Tensor) -> Tensor:
        return 1 - (total - missed) / (total + found).clamp_min(1)

    before, after = loss(missed - foreground, found - background), loss(missed, found)
    foreground_first, background_first = loss(missed, found - background), loss(missed - foreground, found)
    own = (foreground_first - before + after - background_first) / foreground.clamp_min(1)
    others = (background_first - before + after - foreground_first) / background.clamp_min(1)
    present = total > 0
    share = present / (2 * present.sum().clamp_min(1))
    return own * share, others * share


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
