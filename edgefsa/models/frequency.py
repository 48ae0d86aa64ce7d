"""The two frequency layers, each beside the formula of the ONNX operator that it becomes.

`FrequencySelfAttention` is the low-frequency self-attention of FsaNet (Zhang et al., "FsaNet: Frequency
Self-attention for Semantic Segmentation", 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgefsa.errors import InputError
from edgefsa.models.bases import Basis, band_from, dct_bases

Mode = Literal["dot_product", "linsoftmax"]
Form = Literal["ccnet", "mmseg"]
NORM_FLOOR = 1e-12  # keeps a pixel whose query or key vanishes finite


@dataclass(frozen=True)
class FrequencyOperator:
    """An operator of the ONNX domain `edgefsa`, version 1, with everything but its first input x.

    `tensors` are the inputs after x in order, float; `attributes` are the node's attributes.
    """

    name: str
    tensors: dict[str, Tensor]
    attributes: dict[str, int | float | str]


def truncated_dct_attention(
    x: Tensor,
    basis_h: Tensor,
    basis_w: Tensor,
    query_weight: Tensor,
    query_bias: Tensor,
    key_weight: Tensor,
    key_bias: Tensor,
    value_weight: Tensor,
    value_bias: Tensor,
    out_weight: Tensor,
    shift: Tensor,
    *,
    mode: Mode = "dot_product",
    recurrence: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Attend among the low DCT coefficients of x and add the result to x: the operator `TruncatedDctAttention`.

    Shapes: x [N, C, H, W]; basis_h (Bh) [kh, H]; basis_w (Bw) [kw, W]; query_weight, key_weight [Cq, C];
    value_weight [Cv, C]; out_weight (Wo) [C, Cv]; biases [Cq], [Cq], [Cv]; shift [C]. All float; gives [N, C, H, W].

    Notation: dct(z) = Bh z Bw^T per channel, flattened row-major to T = kh kw tokens; idct(t) = Bh^T t Bw, t
    unflattened to [kh, kw]; g [T] = outer(row sums of Bh^2, row sums of Bw^2); d [T] = dct(1) =
    outer(row sums of Bh, row sums of Bw).

    Once: X = dct(x) [C, T], y = x. Then `recurrence` times, with the biases added to every token:

        Q = query_weight X + query_bias;  K = key_weight X + key_bias;  V = value_weight X + value_bias

    mode "dot_product" (scale = 1 / (H W), over sqrt(Cq) too where the head's use_scale is set):

        U = Wo (V (scale K^T Q))                     [C, T]
        y = y + idct(U) + shift                      (the idct of the sum of all U, once, at the end)
        X = X + U * g + shift d^T

    mode "linsoftmax" (scale = 1 / (H W)); a, b, v, e are maps [1, H, W], G(m) [T, T] is the weighted Gram matrix
    G(m)[(i, j), (i', j')] = sum_hw Bh[i, h] Bh[i', h] m[h, w] Bw[j, w] Bw[j', w]:

        a = 1 / (|idct(Q)| + 1e-12);  b = 1 / (|idct(K)| + 1e-12)      (norms over channels, per pixel)
        S = K^T Q;  U = Wo (V G(b) S);  m = Wo (V d)                     ([T, T], [C, T], [C, 1])
        v = scale / (1 + scale a * idct(dct(b)^T S));  e = a * v
        y = y + idct(U) * e + m v + shift
        X = X + U G(e) + m dct(v)^T + shift d^T

    Exact where the rows of each basis are orthogonal, whatever their length.
    """
    weights = _Projections(query_weight, query_bias, key_weight, key_bias, value_weight, value_bias, out_weight, shift)
    return x + _attention_update(x, basis_h, basis_w, weights, mode, recurrence, scale)


@dataclass(frozen=True)
class _Projections:
    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor
    out_weight: Tensor
    shift: Tensor

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = self.query_weight @ tokens + self.query_bias[:, None]
        key = self.key_weight @ tokens + self.key_bias[:, None]
        value = self.value_weight @ tokens + self.value_bias[:, None]
        return query, key, value


def _attention_update(
    x: Tensor, basis_h: Tensor, basis_w: Tensor, weights: _Projections, mode: Mode, recurrence: int, scale: float
) -> Tensor:
    update = _dot_product_update if mode == "dot_product" else _linsoftmax_update
    return update(x, basis_h, basis_w, weights, recurrence, scale)


def _dct(x: Tensor, basis_h: Tensor, basis_w: Tensor) -> Tensor:
    return (basis_h @ (x @ basis_w.mT)).flatten(2)


def _idct(tokens: Tensor, basis_h: Tensor, basis_w: Tensor) -> Tensor:
    return basis_h.mT @ (tokens.unflatten(2, (basis_h.shape[0], basis_w.shape[0])) @ basis_w)


def _dot_product_update(
    x: Tensor, basis_h: Tensor, basis_w: Tensor, weights: _Projections, recurrence: int, scale: float
) -> Tensor:
    gram = torch.outer(basis_h.square().sum(1), basis_w.square().sum(1)).flatten()
    of_ones = torch.outer(basis_h.sum(1), basis_w.sum(1)).flatten()
    tokens = _dct(x, basis_h, basis_w)
    changes = []
    for done in range(1, recurrence + 1):
        query, key, value = weights.project(tokens)
        changes.append(weights.out_weight @ (value @ (scale * (key.mT @ query))))
        if done < recurrence:
            tokens = tokens + changes[-1] * gram + weights.shift[:, None] * of_ones
    change = changes[0] if recurrence == 1 else torch.stack(changes).sum(0)
    return _idct(change, basis_h, basis_w) + (recurrence * weights.shift)[:, None, None]


def _linsoftmax_update(
    x: Tensor, basis_h: Tensor, basis_w: Tensor, weights: _Projections, recurrence: int, scale: float
) -> Tensor:
    of_ones = torch.outer(basis_h.sum(1), basis_w.sum(1)).flatten()
    tokens = _dct(x, basis_h, basis_w)
    total: Tensor | None = None
    for done in range(1, recurrence + 1):
        query, key, value = weights.project(tokens)
        inverse_query = 1 / (_pixel_norm(_idct(query, basis_h, basis_w)) + NORM_FLOOR)
        inverse_key = 1 / (_pixel_norm(_idct(key, basis_h, basis_w)) + NORM_FLOOR)
        affinity = key.mT @ query
        change = weights.out_weight @ (value @ _weighted_gram(inverse_key, basis_h, basis_w) @ affinity)
        mean = weights.out_weight @ (value @ of_ones[:, None])
        mass = _idct(_dct(inverse_key, basis_h, basis_w) @ affinity, basis_h, basis_w)
        inverse_mass = scale / (1 + scale * inverse_query * mass)
        gain = inverse_query * inverse_mass
        update = _idct(change, basis_h, basis_w) * gain + mean[..., None] * inverse_mass
        update = update + weights.shift[:, None, None]
        total = update if total is None else total + update
        if done < recurrence:
            tokens = tokens + change @ _weighted_gram(gain, basis_h, basis_w)
            tokens = tokens + mean * _dct(inverse_mass, basis_h, basis_w) + weights.shift[:, None] * of_ones
    assert total is not None
    return total


def _pixel_norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _weighted_gram(weight: Tensor, basis_h: Tensor, basis_w: Tensor) -> Tensor:
    """Give P^T diag(weight) P [N, T, T] for the dense basis P = kron(Bh, Bw)^T and weight [N, 1, H, W]."""
    kh, kw = basis_h.shape[0], basis_w.shape[0]
    pairs_h = (basis_h[:, None] * basis_h[None]).flatten(0, 1)
    pairs_w = (basis_w[:, None] * basis_w[None]).flatten(0, 1)
    pairs = pairs_h @ weight.squeeze(1) @ pairs_w.mT
    return pairs.reshape(-1, kh, kh, kw, kw).transpose(2, 3).reshape(-1, kh * kw, kh * kw)


class FrequencySelfAttention(nn.Module):
    """Self-attention among the lowest DCT coefficients of a feature map, added to it (FsaNet).

    Takes and gives [N, C, H, W] of any float type; computes in float32 at least, also under autocast.
    `k` is 8 for the lowest 8 x 8 coefficients, or (row from, row to, column from, column to).
    `form` picks the parameters and their names: "ccnet" (dctnl_attention in the authors' CCNet code: queries and
    keys of C / 8, values of C, a gain `gamma` that starts at 0, an output bias) or "mmseg" (FreNonLocal in
    fsa_head1d.py: queries, keys and values of C / 2, an output 1x1 convolution with batch norm that starts at 0).
    `use_scale` (divide queries by sqrt(Cq)) and `qkv_bias` belong to the mmseg form. `basis="official"` is for
    released weights, see `bases.dct_bases`. `operator(height, width)` is exactly what `forward` computes.
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
        super().__init__()
        check_choice("mode", mode, ("dot_product", "linsoftmax"))
        check_choice("basis", basis, ("orthonormal", "official"))
        check_choice("form", form, ("ccnet", "mmseg"))
        if form == "ccnet" and (use_scale or qkv_bias):
            raise InputError('use_scale and qkv_bias belong to form="mmseg"; leave them out, or give that form')
        if recurrence < 1:
            raise InputError(f"recurrence={recurrence} is below 1; give the number of passes")
        self.band, self.basis, self.form, self.mode = band_from(k), basis, form, mode
        self.recurrence, self.use_scale = recurrence, use_scale
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
        self.g = _ConvNorm(channels, narrow, bias=qkv_bias)
        self.conv_out = _ConvNorm(narrow, channels, bias=False, norm=True)
        self.theta = _ConvNorm(channels, narrow, bias=qkv_bias)
        self.phi = _ConvNorm(channels, narrow, bias=qkv_bias)

    def operator(self, height: int, width: int) -> FrequencyOperator:
        """Give the operator `TruncatedDctAttention` for a feature map of height x width, batch norm folded."""
        tensors = self._bases(height, width, self._dtype()) | self._folded()
        tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        return FrequencyOperator("TruncatedDctAttention", tensors, self._attributes(height, width))

    def forward(self, x: Tensor) -> Tensor:
        """Give x with its low-frequency self-attention added; [N, C, H, W] to the same."""
        if torch.is_autocast_enabled(x.device.type):
            # The DC coefficient of a large map and the cubic attention leave the range that 16 bits hold well.
            with torch.autocast(x.device.type, enabled=False):
                return self._attend(x)
        return self._attend(x)

    def _attend(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, self._dtype()))
        bases = self._bases(x.shape[2], x.shape[3], wide.dtype)
        if self.training and self.form == "mmseg":
            return self._attend_with_batch_statistics(wide, bases).to(x.dtype)
        folded = {name: tensor.to(wide.dtype) for name, tensor in self._folded().items()}
        y = truncated_dct_attention(
            wide, **bases, **folded, mode=self.mode, recurrence=self.recurrence, scale=self._scale(wide)
        )
        return y.to(x.dtype)

    def _attend_with_batch_statistics(self, x: Tensor, bases: dict[str, Tensor]) -> Tensor:
        # In training the norm needs each pass in space, so passes cannot share one transform.
        raw = self._unfolded()
        weights = _Projections(**{name: tensor.to(x.dtype) for name, tensor in raw.items()})
        for _ in range(self.recurrence):
            update = _attention_update(x, bases["basis_h"], bases["basis_w"], weights, self.mode, 1, self._scale(x))
            x = x + self.conv_out.bn(update.flatten(2)).view_as(x)
        return x

    def _dtype(self) -> torch.dtype:
        return torch.promote_types(next(self.parameters()).dtype, torch.float32)

    def _bases(self, height: int, width: int, dtype: torch.dtype) -> dict[str, Tensor]:
        device = next(self.parameters()).device
        rows, columns = dct_bases(height, width, self.band, self.basis)
        return {
            "basis_h": torch.from_numpy(rows).to(device, dtype),
            "basis_w": torch.from_numpy(columns).to(device, dtype),
        }

    def _scale(self, x: Tensor) -> float:
        return float(self._attributes(x.shape[2], x.shape[3])["scale"])

    def _attributes(self, height: int, width: int) -> dict[str, int | float | str]:
        scale = 1 / (height * width)
        if self.use_scale and self.mode == "dot_product":
            # The other mode divides each query by its own norm, which any scale of it leaves as it is.
            scale /= self.theta.conv.out_channels**0.5
        return {"mode": self.mode, "recurrence": self.recurrence, "scale": scale}

    def _unfolded(self) -> dict[str, Tensor]:
        ccnet = self.form == "ccnet"
        query, key, value = (
            (self.query_conv, self.key_conv, self.value_conv)
            if ccnet
            else (self.theta.conv, self.phi.conv, self.g.conv)
        )
        weights: dict[str, Tensor] = {}
        for name, conv in (("query", query), ("key", key), ("value", value)):
            weight = conv.weight.squeeze(2)
            weights[f"{name}_weight"] = weight
            weights[f"{name}_bias"] = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias
        if ccnet:
            weights["out_weight"] = torch.diag(self.gamma.expand(self.out_bias.shape[1]))
            weights["shift"] = self.gamma * self.out_bias.flatten()
        else:
            weights["out_weight"] = self.conv_out.conv.weight.squeeze(2)
            weights["shift"] = weights["out_weight"].new_zeros(self.conv_out.conv.out_channels)
        return weights

    def _folded(self) -> dict[str, Tensor]:
        weights = {name: tensor.to(self._dtype()) for name, tensor in self._unfolded().items()}
        if self.form == "mmseg":
            norm = self.conv_out.bn
            assert norm.running_mean is not None and norm.running_var is not None
            gain = norm.weight.to(self._dtype()) * torch.rsqrt(norm.running_var.to(self._dtype()) + norm.eps)
            weights["out_weight"] = gain[:, None] * weights["out_weight"]
            weights["shift"] = norm.bias - gain * norm.running_mean
        return weights


class _ConvNorm(nn.Module):
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


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError where an option has none of its values."""
    if value not in choices:
        raise InputError(f"{option}={value!r} is unknown; choose {' or '.join(repr(item) for item in choices)}")
