"""Residual trunks (He et al., 2015) with dilation in place of the last strides, and their two stems."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


def conv_norm_relu(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Return a convolution without bias that keeps the size (over its stride), batch norm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


class ConvModule(nn.Module):
    """A 3x3 convolution `conv`, batch norm `bn` and ReLU, named as in MMSegmentation."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv_norm_relu(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, out_channels, H, W]."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (ResNet-18 and -34)."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, width, H / stride, W / stride]."""
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        out: Tensor = self.relu(x + skip)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip (ResNet-50 and -101); the stride is at the 3x3."""

    expansion: ClassVar[int] = 4

    def __init__(self, in_channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(in_channels, width * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, 4 width, H / stride, W / stride]."""
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        out: Tensor = self.relu(x + skip)
        return out


Block = type[BasicBlock] | type[Bottleneck]

# depth -> block and number of blocks in each stage
DEPTHS: dict[int, tuple[Block, tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def residual_stage(
    block: Block, in_channels: int, width: int, blocks: int, stride: int, dilation: int, first_dilation: int
) -> nn.Sequential:
    """Return `blocks` residual blocks; the first has the stride and a dilation of its own."""
    parts: list[nn.Module] = [block(in_channels, width, stride, first_dilation)]
    parts += [block(width * block.expansion, width, 1, dilation) for _ in range(1, blocks)]
    return nn.Sequential(*parts)


class ResNetTrunk(nn.Module):
    """The four stages of a ResNet at output stride 8; subclasses add the stem.

    `contract_dilation` halves the dilation of the first block of the dilated stages, as MMSegmentation does.
    """

    def __init__(self, depth: int, stem_channels: int, contract_dilation: bool) -> None:
        super().__init__()
        block, blocks = DEPTHS[depth]
        self.out_channels = 512 * block.expansion
        self.auxiliary_channels = 256 * block.expansion

        def stage(index: int, in_channels: int, stride: int, dilation: int) -> nn.Sequential:
            width = 64 << index
            first = dilation // 2 if contract_dilation and dilation > 1 else dilation
            return residual_stage(block, in_channels, width, blocks[index], stride, dilation, first)

        self.layer1 = stage(0, stem_channels, 1, 1)
        self.layer2 = stage(1, 64 * block.expansion, 2, 1)
        self.layer3 = stage(2, 128 * block.expansion, 1, 2)
        self.layer4 = stage(3, 256 * block.expansion, 1, 4)

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, stem_channels, H / 4, W / 4] to the outputs of the third and the fourth stage at stride 8."""
        third: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)


class CcnetTrunk(ResNetTrunk):
    """ResNet with the three-convolution stem (64, 64, 128) and the ceiling pool of the authors' CCNet code."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth, stem_channels=128, contract_dilation=False)
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(128)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] to the outputs of the third and the fourth stage at stride 8."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        return self.stages(self.maxpool(x))


class V1cTrunk(ResNetTrunk):
    """ResNetV1c of MMSegmentation: a stem of three convolutions (32, 32, 64)."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth, stem_channels=64, contract_dilation=True)
        self.stem = nn.Sequential(*conv_norm_relu(3, 32, stride=2), *conv_norm_relu(32, 32), *conv_norm_relu(32, 64))
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 3, H, W] to the outputs of the third and the fourth stage at stride 8."""
        return self.stages(self.maxpool(self.stem(x)))
