"""A small vision transformer with every kind of matrix product that a quantiser meets."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefsa.models import FrequencySelfAttention, ModelConfig

SIZE_HW = (32, 48)
STRIDE = 4
TOKENS = SIZE_HW[0] * SIZE_HW[1] // STRIDE**2
# The nodes that a quantiser takes: convolutions, and products with a stored matrix on the right.
BLOCK = ("attention.qkv/MatMul", "attention.out/MatMul", "wide/MatMul", "narrow/MatMul")
PRODUCTS = frozenset(
    (*(f"blocks.{index}.{name}" for index in (0, 1) for name in BLOCK), "MatMul_1", "gate/Gemm", "deep/Gemm")
    + ("first/MatMul", "second/MatMul", "first/MatMul_1", "second/MatMul_1")
)
CONVOLUTIONS = frozenset(("patches/Conv", "head/Conv"))


class Attention(nn.Module):
    """Softmax attention of two heads; its two products are of activations alone."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a perceptron behind norms, each added to the tokens [N, L, C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(F.gelu(self.wide(self.norm2(x))))


class SmallTransformer(nn.Module):
    """Patches, two blocks, products with parameters on either side, a gate [N, C], a perceptron used twice, a head."""

    def __init__(self, num_classes: int = 11, width: int = 16) -> None:
        super().__init__()
        options = {"num_classes": num_classes}
        self.config = ModelConfig(
            "transformer", "test", num_classes, size_hw=SIZE_HW, size_multiple=STRIDE, options=options
        )
        self.patches = nn.Conv2d(3, width, STRIDE, STRIDE)
        self.blocks = nn.Sequential(Block(width), Block(width))
        self.among = nn.Parameter(torch.eye(TOKENS) + torch.randn(TOKENS, TOKENS) / TOKENS)
        self.mix = nn.Parameter(torch.randn(width, width) / width**0.5)
        self.gate, self.deep = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.first, self.second = nn.Linear(width, 24), nn.Linear(24, width)
        self.frequency = FrequencySelfAttention(width, k=3)
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image)
        size = x.shape[2:]
        x = self.blocks(x.flatten(2).mT)
        x = torch.matmul(self.among, x) @ self.mix
        gate = self.gate(x.mean(1))
        x = x * torch.sigmoid(gate + self.deep(gate))[:, None]
        for _ in range(2):
            x = x + self.second(self.first(x).relu())
        return self.head(self.frequency(x.mT.unflatten(2, size)))
