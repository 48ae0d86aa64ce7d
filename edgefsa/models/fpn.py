"""Semantic FPN in MMSegmentation's layout (FPN and FPNHead).

Papers: Lin et al., "Feature Pyramid Networks for Object Detection" (2017); Kirillov et al., "Panoptic Feature
Pyramid Networks" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from edgefsa.models.resnet import ConvModule


class _BareConv(nn.Module):
    """A convolution with bias under the name `conv`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class TopDownNeck(nn.Module):
    """1x1 convolutions to one width, a nearest-neighbour path from coarse to fine, and 3x3 convolutions."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList([_BareConv(channels, out_channels, 1) for channels in in_channels])
        self.fpn_convs = nn.ModuleList([_BareConv(out_channels, out_channels, 3) for _ in in_channels])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features [N, C_i, h_i, w_i], fine to coarse, to as many [N, out_channels, h_i, w_i]."""
        laterals = [conv(feature) for conv, feature in zip(self.lateral_convs, features, strict=True)]
        for index in range(len(laterals) - 1, 0, -1):
            size = laterals[index - 1].shape[2:]
            laterals[index - 1] = laterals[index - 1] + F.interpolate(laterals[index], size=size, mode="nearest")
        return [conv(lateral) for conv, lateral in zip(self.fpn_convs, laterals, strict=True)]


class SemanticFpnHead(nn.Module):
    """Brings four features to the finest one's size by convolutions and bilinear doubling, adds and classifies."""

    def __init__(self, in_channels: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.scale_heads = nn.ModuleList([_scale_head(in_channels, channels, index) for index in range(4)])
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Four features [N, in_channels, h_i, w_i], fine to coarse, to logits [N, num_classes, h_0, w_0]."""
        total: Tensor = self.scale_heads[0](features[0])
        for head, feature in zip(self.scale_heads[1:], features[1:], strict=True):
            scaled = head(feature)
            if scaled.shape[2:] != total.shape[2:]:
                scaled = F.interpolate(scaled, size=total.shape[2:], mode="bilinear", align_corners=False)
            total = total + scaled
        logits: Tensor = self.conv_seg(self.dropout(total))
        return logits


def _scale_head(in_channels: int, channels: int, doublings: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for index in range(max(1, doublings)):
        parts.append(ConvModule(channels if index else in_channels, channels))
        if doublings:
            parts.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*parts)
