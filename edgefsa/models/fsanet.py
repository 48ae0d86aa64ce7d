"""FsaNet on dilated ResNets, in the layouts of the authors' two code bases, and the small `fsanet-edge`.

Paper: Zhang et al., "FsaNet: Frequency Self-attention for Semantic Segmentation" (2022).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefsa.metadata import MAX_CLASSES
from edgefsa.models.attention import Form
from edgefsa.models.bases import Basis, shortest_k
from edgefsa.models.config import ModelConfig
from edgefsa.models.formulas import Mode
from edgefsa.models.frequency import FrequencySelfAttention
from edgefsa.models.nonlocal_attention import NonLocalAttention
from edgefsa.models.options import check_choice, check_whole
from edgefsa.models.resnet import BasicBlock, CcnetTrunk, ConvModule, V1cTrunk, conv_norm_relu, residual_stage

Logits = Tensor | tuple[Tensor, Tensor]
Attention = Literal["frequency", "nonlocal", "none"]
EDGE_WIDTH = 96  # channels of fsanet-edge's attention


class CcnetHead(nn.Module):
    """The head of the authors' CCNet code: convolution, attention, convolution, fusion with the input, classifier.

    The width is a quarter of the trunk's channels: 512 for ResNet-50 and -101, 128 for -18 and -34.
    """

    def __init__(self, in_channels: int, num_classes: int, attention: dict[str, Any]) -> None:
        super().__init__()
        width = in_channels // 4
        self.conva = nn.Sequential(*conv_norm_relu(in_channels, width))
        self.fsa = FrequencySelfAttention(width, form="ccnet", **attention)
        self.convb = nn.Sequential(*conv_norm_relu(width, width))
        self.bottleneck = nn.Sequential(
            *conv_norm_relu(in_channels + width, width), nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, h, w] to logits [N, num_classes, h, w]."""
        attended = self.convb(self.fsa(self.conva(x)))
        logits: Tensor = self.bottleneck(torch.cat([x, attended], 1))
        return logits


class MmsegHead(nn.Module):
    """FSAHead1d of the authors' MMSegmentation code; the same width as `CcnetHead`."""

    def __init__(self, in_channels: int, num_classes: int, attention: dict[str, Any]) -> None:
        super().__init__()
        width = in_channels // 4
        self.convs = nn.ModuleList([ConvModule(in_channels, width), ConvModule(width, width)])
        self.nl_block = FrequencySelfAttention(width, form="mmseg", **attention)
        self.conv_cat = ConvModule(in_channels + width, width)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, h, w] to logits [N, num_classes, h, w]."""
        attended = self.convs[1](self.nl_block(self.convs[0](x)))
        logits: Tensor = self.conv_seg(self.dropout(self.conv_cat(torch.cat([x, attended], 1))))
        return logits


class MmsegAuxiliaryHead(nn.Module):
    """FCNHead of MMSegmentation with one convolution; a quarter of the third stage's channels wide."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([ConvModule(in_channels, in_channels // 4)])
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(in_channels // 4, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, h, w] to logits [N, num_classes, h, w]."""
        logits: Tensor = self.conv_seg(self.dropout(self.convs[0](x)))
        return logits


class CcnetFsaNet(CcnetTrunk):
    """FsaNet in the layout of the authors' CCNet code: trunk at the root, `head`, auxiliary head `dsn`.

    `forward`: float [N, 3, H, W], normalised RGB, to logits [N, K, h, w] at stride 8; while training
    (logits, auxiliary logits).
    """

    def __init__(self, depth: int, config: ModelConfig, attention: dict[str, Any]) -> None:
        super().__init__(depth)
        self.config = config
        width = self.auxiliary_channels // 2
        self.dsn = nn.Sequential(
            nn.Conv2d(self.auxiliary_channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(width, config.num_classes, 1),
        )
        self.head = CcnetHead(self.out_channels, config.num_classes, attention)

    def forward(self, x: Tensor) -> Logits:
        """Return logits at stride 8; while training, with the auxiliary logits."""
        self.config.check_input(x)
        third, fourth = self.features(x)
        logits = self.head(fourth)
        return (logits, self.dsn(third)) if self.training else logits


class MmsegFsaNet(nn.Module):
    """FsaNet in the layout of the authors' MMSegmentation code: ResNetV1c, `decode_head`, `auxiliary_head`.

    `forward`: float [N, 3, H, W], normalised RGB, to logits [N, K, h, w] at stride 8; while training
    (logits, auxiliary logits).
    """

    def __init__(self, depth: int, config: ModelConfig, attention: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.backbone = V1cTrunk(depth)
        self.decode_head = MmsegHead(self.backbone.out_channels, config.num_classes, attention)
        self.auxiliary_head = MmsegAuxiliaryHead(self.backbone.auxiliary_channels, config.num_classes)

    def forward(self, x: Tensor) -> Logits:
        """Return logits at stride 8; while training, with the auxiliary logits."""
        self.config.check_input(x)
        third, fourth = self.backbone(x)
        logits = self.decode_head(fourth)
        return (logits, self.auxiliary_head(third)) if self.training else logits


class EdgeFsaNet(nn.Module):
    """`fsanet-edge`: a narrow ResNet-18 at stride 16 with the attention, and skips from strides 8 and 4.

    `forward`: float [N, 3, H, W], normalised RGB, sides multiples of 8, to logits [N, K, H / 4, W / 4]; while
    training (logits, auxiliary logits at stride 16).
    """

    def __init__(self, config: ModelConfig, attention: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(*conv_norm_relu(3, 32, stride=2), *conv_norm_relu(32, 32, stride=2))
        self.layer1 = residual_stage(BasicBlock, 32, 32, 2, 1, 1, 1)
        self.layer2 = residual_stage(BasicBlock, 32, 64, 2, 2, 1, 1)
        self.layer3 = residual_stage(BasicBlock, 64, 128, 2, 2, 1, 1)
        self.layer4 = residual_stage(BasicBlock, 128, 192, 2, 1, 2, 2)
        self.reduce = nn.Sequential(*conv_norm_relu(192, EDGE_WIDTH))
        self.attention = attention
        self.fuse = nn.Sequential(*conv_norm_relu(EDGE_WIDTH + 64, EDGE_WIDTH), nn.Dropout2d(0.1))
        self.narrow = nn.Sequential(*conv_norm_relu(EDGE_WIDTH, 48, kernel=1))
        self.refine = nn.Sequential(*conv_norm_relu(48 + 32, 64))
        self.classifier = nn.Conv2d(64, config.num_classes, 1)
        self.auxiliary_head = nn.Sequential(
            *conv_norm_relu(128, 64), nn.Dropout2d(0.1), nn.Conv2d(64, config.num_classes, 1)
        )

    def forward(self, x: Tensor) -> Logits:
        """Return logits at stride 4; while training, with the auxiliary logits at stride 16."""
        self.config.check_input(x)
        fine = self.layer1(self.stem(x))
        skip = self.layer2(fine)
        third = self.layer3(skip)
        context = self.attention(self.reduce(self.layer4(third)))
        fused = self.narrow(self.fuse(torch.cat([_grown_to(skip, context), skip], 1)))
        logits: Tensor = self.classifier(self.refine(torch.cat([_grown_to(fine, fused), fine], 1)))
        return (logits, self.auxiliary_head(third)) if self.training else logits


def _grown_to(target: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(x, size=target.shape[2:], mode="bilinear", align_corners=False)


def fsanet_resnet(
    name: str,
    depth: int,
    *,
    form: Form = "mmseg",
    num_classes: int = 11,
    k: int | tuple[int, ...] | list[int] = 8,
    mode: Mode = "dot_product",
    recurrence: int = 1,
    basis: Basis = "orthonormal",
    use_scale: bool = False,
    qkv_bias: bool = False,
) -> nn.Module:
    """Build `fsanet-r18`, `-r34`, `-r50` or `-r101`: output stride 8, any input size.

    `form="ccnet"` or `"mmseg"` picks the authors' code base whose layout it has, see the classes; the other
    options are those of `FrequencySelfAttention`. ResNet-18 and -34, which the authors did not use, have the
    standard widths and a head of 128 channels, a quarter of the trunk's as in the larger ones.
    """
    check_choice("form", form, ("ccnet", "mmseg"))
    check_whole("num_classes", num_classes, 1, MAX_CLASSES)
    attention: dict[str, Any] = {"k": shortest_k(k), "mode": mode, "recurrence": recurrence, "basis": basis}
    attention |= {"use_scale": use_scale, "qkv_bias": qkv_bias}
    options = {"form": form, "num_classes": num_classes, **attention}
    config = ModelConfig(name, "fsanet", num_classes, options=options)
    return (CcnetFsaNet if form == "ccnet" else MmsegFsaNet)(depth, config, attention)


def fsanet_edge(
    name: str,
    *,
    num_classes: int = 11,
    attention: Attention = "frequency",
    k: int | tuple[int, ...] | list[int] = 8,
    mode: Mode = "dot_product",
    recurrence: int = 1,
    basis: Basis = "orthonormal",
) -> nn.Module:
    """Build `fsanet-edge`.

    `attention="nonlocal"` has the full block among all pixels in place of the frequency one and "none" no block,
    for comparisons. The other options are those of `FrequencySelfAttention` in its ccnet form; those that the
    chosen block lacks are not used.
    """
    check_whole("num_classes", num_classes, 1, MAX_CLASSES)
    check_choice("attention", attention, ("frequency", "nonlocal", "none"))
    block: nn.Module
    if attention == "frequency":
        block = FrequencySelfAttention(EDGE_WIDTH, k=k, mode=mode, recurrence=recurrence, basis=basis)
    elif attention == "nonlocal":
        block = NonLocalAttention(EDGE_WIDTH, mode=mode, recurrence=recurrence)
    else:
        block = nn.Identity()
    options: dict[str, Any] = {"num_classes": num_classes, "attention": attention, "k": shortest_k(k)}
    options |= {"mode": mode, "recurrence": recurrence, "basis": basis}
    return EdgeFsaNet(ModelConfig(name, "fsanet", num_classes, size_multiple=8, options=options), block)
