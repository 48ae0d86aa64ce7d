"""The full non-local block, attention among all pixels, that the frequency form replaces.

Paper: Wang et al., "Non-local Neural Networks" (2018), its dot-product form, in the layout of CCNet's code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgefsa.models.formulas import Mode
from edgefsa.models.options import check_choice, check_whole


class NonLocalAttention(nn.Module):
    """Self-attention among all pixels of a feature map, added to it: [N, C, H, W] to the same, any float type.

    The parameters are those of `FrequencySelfAttention` in its ccnet form.
    """

    def __init__(self, channels: int, *, mode: Mode = "dot_product", recurrence: int = 1) -> None:
        super().__init__()
        check_choice("mode", mode, ("dot_product",))
        check_whole("channels", channels, 1)
        check_whole("recurrence", recurrence, 1)
        narrow = max(channels // 8, 2)
        self.mode, self.recurrence = mode, recurrence
        self.out_bias = nn.Parameter(torch.zeros(1, channels, 1))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query_conv = nn.Conv1d(channels, narrow, 1, bias=False)
        self.key_conv = nn.Conv1d(channels, narrow, 1, bias=False)
        self.value_conv = nn.Conv1d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Give x with its self-attention added; [N, C, H, W] to the same."""
        tokens = x.flatten(2)
        for _ in range(self.recurrence):
            query, key, value = self.query_conv(tokens), self.key_conv(tokens), self.value_conv(tokens)
            affinity = key.mT @ query / tokens.shape[2]
            tokens = tokens + self.gamma * (value @ affinity + self.out_bias)
        return tokens.view_as(x)
