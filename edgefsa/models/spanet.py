"""SPANet: the backbone, its ImageNet classifier, and the segmentation network with Semantic FPN.

Paper: Yun et al., "SPANet: Frequency-balancing Token Mixer using Spectral Pooling Aggregation Modulation" (2023).
State dicts have the layout of the authors' code, without the fixed masks (`.filter`), which are computed.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefsa.metadata import MAX_CLASSES
from edgefsa.models.config import ModelConfig
from edgefsa.models.fpn import SemanticFpnHead, TopDownNeck
from edgefsa.models.frequency import MaskOrigin, SpectralMask
from edgefsa.models.options import check_choice, check_flag, check_whole

Head = Literal["fpn", "classifier"]
LAMBDAS = (0.7, 0.8, 0.9)
RADII = (2, 2, 1, 1)
SIZE_MIN = 32
NARROW, WIDE = (64, 128, 320, 512), (96, 192, 384, 768)

# variant -> blocks and channels of the four stages
VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "s": ((4, 4, 12, 4), NARROW),
    "m": ((6, 6, 18, 6), NARROW),
    "mx": ((8, 8, 24, 8), NARROW),
    "b": ((6, 6, 18, 6), WIDE),
    "bx": ((8, 8, 24, 8), WIDE),
}


class SpectralMixer(nn.Module):
    """Spectral pooling aggregation modulation: features times a context of what `mask` makes of them."""

    def __init__(self, channels: int, mask: nn.Module) -> None:
        super().__init__()
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, (1, 7), padding=(0, 3), groups=channels),
            nn.Conv2d(channels, channels, (7, 1), padding=(3, 0), groups=channels),
        )
        self.mask = mask
        groups = torch.empty(channels).chunk(len(LAMBDAS))
        self.pws = nn.ModuleList([nn.Conv2d(len(group), channels, 1) for group in groups])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def merged_projection(self) -> tuple[Tensor, Tensor]:
        """Return the sum of the three 1x1 convolutions of channel groups as one: weight [C, C, 1, 1], bias [C]."""
        weight = torch.cat([part.weight for part in self.pws], 1)  # type: ignore[arg-type, misc]
        bias: Tensor = sum(part.bias for part in self.pws)  # type: ignore[assignment, misc]
        return weight, bias

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        x = self.conv(self.proj_in(x))
        context = F.conv2d(self.mask(x), *self.merged_projection())
        out: Tensor = self.proj_out(x * context)
        return out


class Mlp(nn.Module):
    """Two 1x1 convolutions with a GELU between, four times as wide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 4 * channels, 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(4 * channels, channels, 1)
        for conv in (self.fc1, self.fc2):
            nn.init.normal_(conv.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Scale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        return x * self.scale[:, None, None]


class Block(nn.Module):
    """Spectral mixer and MLP, each behind a norm over all of a sample and beside a skip."""

    def __init__(self, channels: int, mask: nn.Module, scaled: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, channels)
        self.token_mixer = SpectralMixer(channels, mask)
        self.norm2 = nn.GroupNorm(1, channels)
        self.mlp = Mlp(channels)
        self.res_scale1: nn.Module = Scale(channels) if scaled else nn.Identity()
        self.res_scale2: nn.Module = Scale(channels) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        x = self.res_scale1(x) + self.token_mixer(self.norm1(x))
        out: Tensor = self.res_scale2(x) + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    """A strided convolution from one resolution to the next."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in_channels, H, W] to [N, out_channels, about H / stride, about W / stride]."""
        out: Tensor = self.proj(x)
        return out


class SpaNetTrunk(nn.Module):
    """Patch embedding and the four stages, at strides 4, 8, 16 and 32.

    With `mask_origin="official"` the masks are those of a square input of `base_image_size`, padded or cropped.
    """

    def __init__(self, variant: str, mask_origin: MaskOrigin, base_image_size: int) -> None:
        super().__init__()
        depths, self.channels = VARIANTS[variant]
        self.patch_embed = PatchEmbed(3, self.channels[0], 7, 4, 2)
        parts: list[nn.Module] = []
        for stage, (depth, channels) in enumerate(zip(depths, self.channels, strict=True)):
            if stage:
                parts.append(PatchEmbed(self.channels[stage - 1], channels, 3, 2, 1))
            base_size = base_image_size >> (2 + stage) if mask_origin == "official" else None
            kind: dict[str, Any] = {"radius": RADII[stage], "mask_origin": mask_origin, "base_size": base_size}
            masks = [SpectralMask(channels, lambdas=LAMBDAS, **kind) for _ in range(depth)]
            blocks = [Block(channels, mask, scaled=stage >= 2) for mask in masks]
            parts.append(nn.Sequential(*blocks))
        self.network = nn.ModuleList(parts)

    def stages(self, x: Tensor) -> list[Tensor]:
        """[N, 3, H, W] to the outputs of the four stages."""
        x = self.patch_embed(x)
        outputs = []
        for index, part in enumerate(self.network):
            x = part(x)
            if index % 2 == 0:
                outputs.append(x)
        return outputs


class SpaNetClassifier(SpaNetTrunk):
    """The ImageNet classifier: float [N, 3, H, W], normalised RGB, to logits [N, K]."""

    def __init__(self, variant: str, config: ModelConfig, mask_origin: MaskOrigin, base_image_size: int) -> None:
        super().__init__(variant, mask_origin, base_image_size)
        self.config = config
        self.norm = nn.GroupNorm(1, self.channels[-1])
        self.head = nn.Linear(self.channels[-1], config.num_classes)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, K]."""
        self.config.check_input(x)
        logits: Tensor = self.head(self.norm(self.stages(x)[-1]).mean((2, 3)))
        return logits


class SpaNetFeatures(SpaNetTrunk):
    """The dense backbone: float [N, 3, H, W], normalised RGB, to four normed features, strides 4 to 32."""

    def __init__(self, variant: str, config: ModelConfig, mask_origin: MaskOrigin, base_image_size: int) -> None:
        super().__init__(variant, mask_origin, base_image_size)
        self.config = config
        self.norm0, self.norm2, self.norm4, self.norm6 = (nn.GroupNorm(1, channels) for channels in self.channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the features of the four stages, [N, C_i, H / stride_i, W / stride_i], rounded up."""
        self.config.check_input(x)
        first, second, third, fourth = self.stages(x)
        return self.norm0(first), self.norm2(second), self.norm4(third), self.norm6(fourth)


class SpaNetFpn(nn.Module):
    """SPANet with Semantic FPN in MMSegmentation's layout: `backbone`, `neck`, `decode_head`.

    `forward`: float [N, 3, H, W], normalised RGB, to logits [N, K, h, w] at stride 4.
    """

    def __init__(self, variant: str, config: ModelConfig, mask_origin: MaskOrigin, base_image_size: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = SpaNetFeatures(variant, config, mask_origin, base_image_size)
        self.neck = TopDownNeck(self.backbone.channels, 256)
        self.decode_head = SemanticFpnHead(256, 128, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits at stride 4."""
        logits: Tensor = self.decode_head(self.neck(self.backbone(x)))
        return logits


def spanet(
    name: str,
    variant: str,
    *,
    head: Head = "fpn",
    features_only: bool = False,
    num_classes: int | None = None,
    mask_origin: MaskOrigin = "feature",
    base_image_size: int = 224,
) -> nn.Module:
    """Build `spanet-s`, `-m`, `-mx`, `-b` or `-bx`.

    `head="fpn"` is the segmentation network (11 classes by default), "classifier" the ImageNet
    classifier (1000 classes); with `features_only` there is no head but the dense backbone with its four features.
    `mask_origin="feature"` makes each spectral mask at its feature's own size; "official" pads or crops the mask
    of an input of `base_image_size` as the authors' code does.
    """
    check_choice("head", head, ("fpn", "classifier"))
    check_choice("mask_origin", mask_origin, ("feature", "official"))
    check_flag("features_only", features_only)
    check_whole("base_image_size", base_image_size, SIZE_MIN)
    segments = head == "fpn"
    if num_classes is None:
        num_classes = 11 if segments else 1000
    check_whole("num_classes", num_classes, 1, MAX_CLASSES if segments else None)
    config = ModelConfig(
        name,
        "spanet",
        num_classes,
        task="features" if features_only else "segmentation" if segments else "classification",
        size_hw=(360, 480) if segments else (224, 224),
        size_min=SIZE_MIN,
        options={
            "head": head,
            "features_only": features_only,
            "num_classes": num_classes,
            "mask_origin": mask_origin,
            "base_image_size": base_image_size,
        },
    )
    network = SpaNetFeatures if features_only else SpaNetFpn if segments else SpaNetClassifier
    return network(variant, config, mask_origin, base_image_size)
