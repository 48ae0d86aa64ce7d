"""The formulas of the two frequency operators (ONNX domain `edgefsa`, version 1), as the modules compute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Mode = Literal["dot_product", "linsoftmax"]
NORM_FLOOR = 1e-12  # keeps a pixel whose query or key vanishes finite


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
    value_weight [Cv, C]; out_weight (Wo) [C, Cv]; biases [Cq], [Cq], [Cv]; shift [C]. All float; returns [N, C, H, W].

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
    weights = Projections(query_weight, query_bias, key_weight, key_bias, value_weight, value_bias, out_weight, shift)
    if mode == "linsoftmax":
        return x + _linsoftmax_update(x, basis_h, basis_w, weights, recurrence, scale)
    change = _dot_product_change(x, basis_h, basis_w, weights, recurrence, scale)
    return _add_inverse(x, change, basis_h, basis_w, recurrence * weights.shift)


def attention_update(
    x: Tensor, basis_h: Tensor, basis_w: Tensor, weights: Projections, *, mode: Mode, scale: float
) -> Tensor:
    """Return what one pass of `truncated_dct_attention` adds to x."""
    if mode == "linsoftmax":
        return _linsoftmax_update(x, basis_h, basis_w, weights, 1, scale)
    change = _dot_product_change(x, basis_h, basis_w, weights, 1, scale)
    return _idct(change, basis_h, basis_w) + weights.shift[:, None, None]


def spectral_mask(
    x: Tensor, gain: Tensor, basis_h: Tensor, basis_w: Tensor, coupling_gain: Tensor, coupling_base: Tensor
) -> Tensor:
    """Weight low and high Fourier frequencies of x: the operator `SpectralMask`.

    Shapes: x [N, C, H, W]; gain [C]; basis_h (Bh) [H, mh]; basis_w (Bw) [W, mw]; coupling_gain (Cg) and
    coupling_base (Cb) [T, T], T = mh mw. All float; returns [N, C, H, W]. Per channel c, tokens row-major:

        t = flatten(Bh^T x_c Bw)                       [T]
        u = gain_c (t Cg) - t Cb                       [T]
        y_c = (1 - gain_c) x_c + Bh unflatten(u) Bw^T

    A mode inside the circle is to be multiplied by gain, one on it by 1/3, all others by 1 - gain: with their
    projections P and E, Cg = 2 P + E and Cb = P + 2/3 E.
    """
    count, channels, height, width = x.shape
    # Three times as fast with the long side contiguous; and the correction accumulates onto the scaled input.
    rows_w = basis_w.mT.contiguous()
    tokens = (basis_h.mT @ F.linear(x, rows_w)).flatten(2)
    mixed = gain[:, None] * (tokens @ coupling_gain) - tokens @ coupling_base
    coefficients = mixed.reshape(count * channels, basis_h.shape[1], basis_w.shape[1])
    y = (1 - gain)[:, None, None] * x
    columns = basis_h.expand(count * channels, *basis_h.shape)
    return y.reshape(count * channels, height, width).baddbmm_(columns, coefficients @ rows_w).reshape(x.shape)


@dataclass(frozen=True)
class Projections:
    """The folded weights of the attention, shaped as in `truncated_dct_attention`."""

    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor
    out_weight: Tensor
    shift: Tensor

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values [N, ., T] of tokens [N, C, T]."""
        query = self.query_weight @ tokens + self.query_bias[:, None]
        key = self.key_weight @ tokens + self.key_bias[:, None]
        value = self.value_weight @ tokens + self.value_bias[:, None]
        return query, key, value


def _dct(x: Tensor, basis_h: Tensor, basis_w: Tensor) -> Tensor:
    return (basis_h @ (x @ basis_w.mT)).flatten(2)


def _idct(tokens: Tensor, basis_h: Tensor, basis_w: Tensor) -> Tensor:
    coefficients = tokens.reshape(*tokens.shape[:2], basis_h.shape[0], basis_w.shape[0])
    return basis_h.mT @ (coefficients @ basis_w)


def _dot_product_change(
    x: Tensor, basis_h: Tensor, basis_w: Tensor, weights: Projections, recurrence: int, scale: float
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
    return changes[0] if recurrence == 1 else torch.stack(changes).sum(0)


def _add_inverse(x: Tensor, tokens: Tensor, basis_h: Tensor, basis_w: Tensor, shift: Tensor) -> Tensor:
    # One product that accumulates onto x: a feature map is far larger than a cache, and each pass over it counts.
    count, channels, height, width = x.shape
    coefficients = tokens.reshape(count * channels, basis_h.shape[0], basis_w.shape[0])
    columns = basis_h.mT.expand(count * channels, height, basis_h.shape[0])
    y = torch.baddbmm(x.reshape(count * channels, height, width), columns, coefficients @ basis_w)
    return y.reshape(x.shape).add_(shift[:, None, None])


def _linsoftmax_update(
    x: Tensor, basis_h: Tensor, basis_w: Tensor, weights: Projections, recurrence: int, scale: float
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
    norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return norm


def _weighted_gram(weight: Tensor, basis_h: Tensor, basis_w: Tensor) -> Tensor:
    """Return P^T diag(weight) P [N, T, T] for the dense basis P = kron(Bh, Bw)^T and weight [N, 1, H, W]."""
    kh, kw = basis_h.shape[0], basis_w.shape[0]
    pairs_h = (basis_h[:, None] * basis_h[None]).flatten(0, 1)
    pairs_w = (basis_w[:, None] * basis_w[None]).flatten(0, 1)
    pairs = pairs_h @ weight.squeeze(1) @ pairs_w.mT
    return pairs.reshape(-1, kh, kh, kw, kw).transpose(2, 3).reshape(-1, kh * kw, kh * kw)
