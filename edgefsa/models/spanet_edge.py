"""`spanet-edge`: SPANet's blocks from stride 8 on, plain convolutions before, batch norms, Semantic FPN.

The mixer is SPANet's (Yun et al., 2023). What differs from the published variants is there for small data and
INT8: residual 3x3 convolutions at stride 4, batch norms that fold into convolutions, ReLU between the two 1x1
convolutions of a block, which are three times as wide.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgefsa.metadata import MAX_CLASSES
from edgefsa.models.config import ModelConfig
from edgefsa.models.fpn import SemanticFpnHead, TopDownNeck
from edgefsa.models.frequency import SpectralMask
from edgefsa.models.options import check_flag, check_whole
from edgefsa.models.resnet import BasicBlock, conv_norm_relu, residual_stage
from edgefsa.models.spanet import LAMBDAS, SpectralMixer

CHANNELS = (32, 64, 128, 144)
DEPTHS = (2, 2, 4, 2)
RADII = (2, 2, 1, 1)
EXPANSION = 3
FPN_WIDTH = 48


class EdgeBlock(nn.Module):
    """Spectral mixer and MLP, each behind a batch norm and beside a skip: [N, C, H, W] to the same."""

    def __init__(self, channels: int, radius: int, masked: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        mask = SpectralMask(channels, radius=radius, lambdas=LAMBDAS) if masked else nn.Identity()
        self.token_mixer = SpectralMixer(channels, mask)
        self.mlp = nn.Sequential(
            *conv_norm_relu(channels, EXPANSION * channels, kernel=1),
            nn.Conv2d(EXPANSION * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        x = x + self.token_mixer(self.norm1(x))
        out: Tensor = x + self.mlp(x)
        return out


class EdgeSpaNet(nn.Module):
    """`spanet-edge`: float [N, 3, H, W], normalised RGB, to logits [N, K, h, w] at stride 4.

    While training (logits, auxiliary logits at stride 16).
    """

    def __init__(self, config: ModelConfig, masked: bool) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Sequential(*conv_norm_relu(3, 32, stride=2), *conv_norm_relu(32, 32, stride=2))
        self.layer1 = residual_stage(BasicBlock, 32, 32, DEPTHS[0], 1, 1, 1)
        stages = []
        for index in range(1, 4):
            down = conv_norm_relu(CHANNELS[index - 1], CHANNELS[index], stride=2)
            blocks = [EdgeBlock(CHANNELS[index], RADII[index], masked) for _ in range(DEPTHS[index])]
            stages.append(nn.Sequential(*down, *blocks))
        self.stages = nn.ModuleList(stages)
        self.neck = TopDownNeck(CHANNELS, FPN_WIDTH)
        self.decode_head = SemanticFpnHead(FPN_WIDTH, FPN_WIDTH, config.num_classes)
        self.auxiliary_head = nn.Sequential(
            *conv_norm_relu(CHANNELS[2], 64), nn.Dropout2d(0.1), nn.Conv2d(64, config.num_classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits at stride 4; while training, with the auxiliary logits at stride 16."""
        self.config.check_input(x)
        features = [self.layer1(self.stem(x))]
        for stage in self.stages:
            features.append(stage(features[-1]))
        logits: Tensor = self.decode_head(self.neck(features))
        return (logits, self.auxiliary_head(features[2])) if self.training else logits


def spanet_edge(name: str, *, num_classes: int = 11, masked: bool = True) -> nn.Module:
    """Build `spanet-edge`; with `masked=False` the spectral masks are left out, for comparisons."""
    check_whole("num_classes", num_classes, 1, MAX_CLASSES)
    check_flag("masked", masked)
    options = {"num_classes": num_classes, "masked": masked}
    return EdgeSpaNet(ModelConfig(name, "spanet", num_classes, size_min=32, options=options), masked)
