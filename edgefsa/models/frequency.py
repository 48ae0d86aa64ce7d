"""The two frequency layers as modules that can be used alone; `formulas` says what they compute.

`FrequencySelfAttention` is the low-frequency self-attention of FsaNet (Zhang et al., "FsaNet: Frequency
Self-attention for Semantic Segmentation", 2022), `SpectralMask` the spectral pooling filter of SPANet (Yun et al.,
"SPANet: Frequency-balancing Token Mixer using Spectral Pooling Aggregation Modulation", 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgefsa.errors import InputError
from edgefsa.models.attention import Form, SelfAttention, without_autocast
from edgefsa.models.bases import Basis, band_from, dct_bases, disc_bases
from edgefsa.models.formulas import Mode, Projections, attention_update, spectral_mask, truncated_dct_attention
from edgefsa.models.options import check_choice, check_whole

MaskOrigin = Literal["feature", "official"]
__all__ = [
    "FrequencyLayer",
    "FrequencyOperator",
    "FrequencySelfAttention",
    "SpectralMask",
    "map_sizes",
    "spectral_mask",
    "truncated_dct_attention",
]


@dataclass(frozen=True)
class FrequencyOperator:
    """An operator of the ONNX domain `edgefsa` (`edgefsa.graph.operators`), with everything but its first input x.

    `tensors` are the inputs after x by name, float; `attributes` are the node's attributes.
    """

    name: str
    tensors: dict[str, Tensor]
    attributes: dict[str, int | float | str]


class FrequencySelfAttention(SelfAttention):
    """Self-attention among the lowest DCT coefficients of a feature map, added to it (FsaNet).

    Takes and gives [N, C, H, W] of any float type; computes in float32 at least, also under autocast.
    `k` is 8 for the lowest 8 x 8 coefficients, or (row from, row to, column from, column to).
    `form`, `use_scale` and `qkv_bias` are those of `attention.SelfAttention`: form "ccnet" is dctnl_attention in the
    authors' CCNet code, "mmseg" is FreNonLocal in their fsa_head1d.py. Biases are added to every coefficient, as
    there. `basis="official"` is for released weights, see `bases.dct_bases`. `operator(height, width)` is exactly
    what `forward` computes.
    """

    def __init__(
        self,
        channels: int,
        *,
        k: int | tuple[int, ...] | list[int] = 8,
        mode: Mode = "dot_product",
        recurrence: int = 1,
        basis: Basis = "orthonormal",
        form: Form = "ccnet",
        use_scale: bool = False,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__(channels, mode, recurrence, form, use_scale, qkv_bias)
        check_choice("basis", basis, ("orthonormal", "official"))
        self.band, self.basis = band_from(k), basis

    def operator(self, height: int, width: int) -> FrequencyOperator:
        """Return the operator `TruncatedDctAttention` for a feature map of height x width, batch norm folded."""
        tensors = self._bases(height, width, self.wide_dtype()) | self._folded()
        tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        scale = self.scale_of(height, width)
        attributes: dict[str, int | float | str] = {"mode": self.mode, "recurrence": self.recurrence, "scale": scale}
        return FrequencyOperator("TruncatedDctAttention", tensors, attributes)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its low-frequency self-attention added; [N, C, H, W] to the same."""
        # The DC coefficient of a large map and the cubic attention leave the range that 16 bits hold well.
        return without_autocast(self._attend, x)

    def _attend(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, self.wide_dtype()))
        bases = self._bases(x.shape[2], x.shape[3], wide.dtype)
        if self.training and self.form == "mmseg":
            return self._attend_with_batch_statistics(wide, bases).to(x.dtype)
        folded = {name: tensor.to(wide.dtype) for name, tensor in self._folded().items()}
        y = truncated_dct_attention(
            wide, **bases, **folded, mode=self.mode, recurrence=self.recurrence, scale=self.scale_of(*x.shape[2:])
        )
        return y.to(x.dtype)

    def _attend_with_batch_statistics(self, x: Tensor, bases: dict[str, Tensor]) -> Tensor:
        # In training the norm needs each pass in space, so passes cannot share one transform.
        weights = Projections(**{name: tensor.to(x.dtype) for name, tensor in self._unfolded().items()})
        for _ in range(self.recurrence):
            update = attention_update(x, **bases, weights=weights, mode=self.mode, scale=self.scale_of(*x.shape[2:]))
            x = x + self.conv_out.bn(update.flatten(2)).view_as(x)
        return x

    def _bases(self, height: int, width: int, dtype: torch.dtype) -> dict[str, Tensor]:
        device = next(self.parameters()).device
        rows, columns = dct_bases(height, width, self.band, self.basis)
        return {
            "basis_h": torch.from_numpy(rows).to(device, dtype),
            "basis_w": torch.from_numpy(columns).to(device, dtype),
        }

    def _unfolded(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {}
        for name, conv in zip(("query", "key", "value"), self.query_key_value(), strict=True):
            weight = conv.weight.squeeze(2)
            weights[f"{name}_weight"] = weight
            weights[f"{name}_bias"] = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias
        if self.form == "ccnet":
            weights["out_weight"] = torch.diag(self.gamma.expand(self.out_bias.shape[1]))
            weights["shift"] = self.gamma * self.out_bias.flatten()
        else:
            weights["out_weight"] = self.conv_out.conv.weight.squeeze(2)
            weights["shift"] = weights["out_weight"].new_zeros(self.conv_out.conv.out_channels)
        return weights

    def _folded(self) -> dict[str, Tensor]:
        weights = {name: tensor.to(self.wide_dtype()) for name, tensor in self._unfolded().items()}
        if self.form == "mmseg":
            norm = self.conv_out.bn
            assert norm.running_mean is not None and norm.running_var is not None
            gain = norm.weight.to(self.wide_dtype()) * torch.rsqrt(norm.running_var.to(self.wide_dtype()) + norm.eps)
            weights["out_weight"] = gain[:, None] * weights["out_weight"]
            weights["shift"] = norm.bias - gain * norm.running_mean
        return weights


class SpectralMask(nn.Module):
    """SPANet's spectral pooling filter without a Fourier transform: a correction of a few low modes.

    Takes and gives [N, C, H, W] of any float type; computes in float32 at least, also under autocast. Frequencies
    nearer than `radius` to DC are multiplied by lambda, those at exactly `radius` by 1/3, all others by 1 - lambda.
    The channels are split as torch.chunk does it, one of `lambdas` each. `mask_origin="feature"` centres the mask
    on the feature's own DC coefficient; "official" pads or crops the mask of base_size x base_size as SPANet's
    code does at its first input, see `bases.disc_bases`. The layer has no parameters and no state.
    """

    def __init__(
        self,
        channels: int,
        *,
        radius: int = 2,
        lambdas: Sequence[float] = (0.7, 0.8, 0.9),
        mask_origin: MaskOrigin = "feature",
        base_size: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("mask_origin", mask_origin, ("feature", "official"))
        if (mask_origin == "official") != (base_size is not None):
            raise InputError('base_size belongs to mask_origin="official"; give both or neither')
        if base_size is not None:
            check_whole("base_size", base_size, 1)
        check_whole("channels", channels, 1)
        check_whole("radius", radius, 0)
        self.channels, self.radius, self.base_size = channels, radius, base_size
        self.lambdas = tuple(lambdas)

    def operator(self, height: int, width: int) -> FrequencyOperator:
        """Return the operator `SpectralMask` for a feature map of height x width."""
        tensors = self._tensors(height, width, torch.device("cpu"), torch.float32)
        return FrequencyOperator("SpectralMask", tensors, {})

    def forward(self, x: Tensor) -> Tensor:
        """Filter every channel; [N, C, H, W] to the same."""
        return without_autocast(self._filter, x)

    def _filter(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        tensors = self._tensors(x.shape[2], x.shape[3], x.device, wide.dtype)
        return spectral_mask(wide, **tensors).to(x.dtype)

    def _tensors(self, height: int, width: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        disc = disc_bases(height, width, self.radius, self.base_size)
        group = np.arange(self.channels) // -(-self.channels // len(self.lambdas))
        arrays = {
            "gain": np.asarray(self.lambdas)[group],
            "basis_h": disc.basis_h,
            "basis_w": disc.basis_w,
            "coupling_gain": 2 * disc.inside + disc.edge,
            "coupling_base": disc.inside + disc.edge * (2 / 3),
        }
        return {name: torch.from_numpy(array).to(device, dtype) for name, array in arrays.items()}


# What the export makes one node of.
FrequencyLayer = FrequencySelfAttention | SpectralMask


def map_sizes(network: nn.Module, image: Tensor) -> dict[FrequencyLayer, tuple[int, int]]:
    """Return the height and width of the map that each frequency layer of a network takes for `image` [N, 3, H, W].

    Raises InputError where a layer is used at two sizes. Layers that are not used are left out.
    """
    names = {item: name for name, item in network.named_modules() if isinstance(item, FrequencyLayer)}
    sizes: dict[FrequencyLayer, tuple[int, int]] = {}

    def remember(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        size = (int(inputs[0].shape[2]), int(inputs[0].shape[3]))
        if sizes.setdefault(layer, size) != size:
            raise InputError(f"{names[layer]} is used at two sizes, {sizes[layer]} and {size}; give each its own layer")

    hooks = [layer.register_forward_pre_hook(remember) for layer in names]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for item in hooks:
            item.remove()
    return sizes
