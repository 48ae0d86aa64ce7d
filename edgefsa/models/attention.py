"""What the frequency and the full self-attention have in common: their parameters, and how these are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available

from edgefsa.errors import InputError
from edgefsa.models.formulas import Mode
from edgefsa.models.options import check_choice, check_flag, check_whole

Form = Literal["ccnet", "mmseg"]


class SelfAttention(nn.Module):
    """Queries, keys, values and output of a self-attention in one of two layouts; `forward` is a subclass's.

    `form` picks the parameters and their names: "ccnet" (queries and keys of C / 8, values of C, a gain `gamma` that
    starts at 0, an output bias) or "mmseg" (queries, keys and values of C / 2, an output 1x1 convolution with batch
    norm that starts at 0). `use_scale` (divide queries by sqrt(Cq)) and `qkv_bias` belong to the mmseg form. Two
    subclasses with the same options have state dicts of the same names and shapes.
    """

    def __init__(self, channels: int, mode: Mode, recurrence: int, form: Form, use_scale: bool, qkv_bias: bool) -> None:
        super().__init__()
        check_choice("mode", mode, ("dot_product", "linsoftmax"))
        check_choice("form", form, ("ccnet", "mmseg"))
        check_flag("use_scale", use_scale)
        check_flag("qkv_bias", qkv_bias)
        if form == "ccnet" and (use_scale or qkv_bias):
            raise InputError('use_scale and qkv_bias belong to form="mmseg"; leave them out, or give that form')
        check_whole("channels", channels, 1)
        check_whole("recurrence", recurrence, 1)
        self.channels, self.form, self.mode = channels, form, mode
        self.recurrence, self.use_scale, self.qkv_bias = recurrence, use_scale, qkv_bias
        if form == "ccnet":
            self._add_ccnet_parameters(channels)
        else:
            self._add_mmseg_parameters(channels, qkv_bias)

    def _add_ccnet_parameters(self, channels: int) -> None:
        narrow = max(channels // 8, 2)
        self.out_bias = nn.Parameter(torch.zeros(1, channels, 1))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query_conv = nn.Conv1d(channels, narrow, 1, bias=False)
        self.key_conv = nn.Conv1d(channels, narrow, 1, bias=False)
        self.value_conv = nn.Conv1d(channels, channels, 1, bias=False)

    def _add_mmseg_parameters(self, channels: int, qkv_bias: bool) -> None:
        narrow = max(channels // 2, 1)
        self.g = ConvNorm(channels, narrow, bias=qkv_bias)
        self.conv_out = ConvNorm(narrow, channels, bias=False, norm=True)
        self.theta = ConvNorm(channels, narrow, bias=qkv_bias)
        self.phi = ConvNorm(channels, narrow, bias=qkv_bias)

    @property
    def gain(self) -> Tensor:
        """The factor of what is added, 0 before training: `gamma`, or the norm's weight [C]."""
        return self.gamma if self.form == "ccnet" else self.conv_out.bn.weight

    def query_key_value(self) -> tuple[nn.Conv1d, nn.Conv1d, nn.Conv1d]:
        """Return the three projections: 1x1 convolutions of tokens."""
        if self.form == "ccnet":
            return self.query_conv, self.key_conv, self.value_conv
        return self.theta.conv, self.phi.conv, self.g.conv

    def scale_of(self, height: int, width: int) -> float:
        """Return the factor of the affinities on a map of height x width: 1 / (H W), over sqrt(Cq) with `use_scale`."""
        scale = 1 / (height * width)
        if self.use_scale and self.mode == "dot_product":
            # The other mode divides each query by its own norm, which any scale of it leaves as it is.
            scale /= self.theta.conv.out_channels**0.5
        return scale

    def wide_dtype(self) -> torch.dtype:
        """Return the type of the parameters, float32 at least."""
        return torch.promote_types(next(self.parameters()).dtype, torch.float32)


class ConvNorm(nn.Module):
    """A 1-D 1x1 convolution `conv` and, where asked for, its batch norm `bn`, named as in MMSegmentation."""

    conv: nn.Conv1d
    bn: nn.BatchNorm1d

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, 1, bias=bias)
        if norm:
            self.bn = nn.BatchNorm1d(out_channels)
            nn.init.zeros_(self.bn.weight)
        else:
            nn.init.normal_(self.conv.weight, std=0.01)


def without_autocast(compute: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return compute(x) with no operation of it narrowed to 16 bits."""
    kind = x.device.type
    if is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            return compute(x)
    return compute(x)
