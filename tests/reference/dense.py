"""Frequency self-attention and the spectral mask as their papers write them, in float64 NumPy.

Attention uses the dense basis of HW x k^2 and works on pixels; the mask uses the Fourier transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AttentionWeights:
    """Projections of tokens, [out, in] and [out]; `shift` is added to every pixel."""

    query: tuple[Floats, Floats]
    key: tuple[Floats, Floats]
    value: tuple[Floats, Floats]
    out: Floats
    shift: Floats

    @classmethod
    def of(cls, tensors: dict[str, Any]) -> AttentionWeights:
        """Take them from an operator's tensors."""
        arrays = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}
        query, key, value = ((arrays[f"{name}_weight"], arrays[f"{name}_bias"]) for name in ("query", "key", "value"))
        return cls(query, key, value, arrays["out_weight"], arrays["shift"])


def dense_basis(height: int, width: int, band: tuple[int, int, int, int], official: bool) -> Floats:
    """Return the dense cosine basis [height width, kh kw], pixels and frequencies row-major."""

    def cosines(size: int, start: int, stop: int, amplitude_size: int) -> Floats:
        columns = []
        for u in range(start, min(stop, size)):
            amplitude = np.sqrt(1 / size) if u == 0 else np.sqrt(2 / amplitude_size)
            columns.append(amplitude * np.cos(np.pi * u * (np.arange(size) + 0.5) / size))
        return np.stack(columns, 1)

    rows = cosines(height, *band[:2], height)
    columns = cosines(width, *band[2:], height if official else width)
    return np.kron(rows, columns)


def attention_update(
    x: Floats, basis: Floats, weights: AttentionWeights, mode: str, query_scale: float = 1.0
) -> Floats:
    """Return what one pass adds to x [N, C, H, W], without the shift."""
    tokens = x.reshape(*x.shape[:2], -1) @ basis
    query, key, value = (
        matrix @ tokens + bias[:, None] for matrix, bias in (weights.query, weights.key, weights.value)
    )
    query = query * query_scale
    pixels = basis.shape[0]
    if mode == "dot_product":
        attended = value @ (key.swapaxes(1, 2) @ query) / pixels @ basis.T
    else:
        # Every pixel attends to every pixel: one plus the cosine of query and key, normalised to sum to one.
        query_map, key_map, value_map = (item @ basis.T for item in (query, key, value))
        query_map /= np.linalg.norm(query_map, axis=1, keepdims=True)
        key_map /= np.linalg.norm(key_map, axis=1, keepdims=True)
        affinity = 1 + key_map.swapaxes(1, 2) @ query_map
        attended = value_map @ (affinity / affinity.sum(1, keepdims=True))
    return (weights.out @ attended).reshape(x.shape)


def dense_attention(
    x: Floats, basis: Floats, weights: AttentionWeights, mode: str, recurrence: int, query_scale: float = 1.0
) -> Floats:
    """Return x [N, C, H, W] after `recurrence` passes, each of which transforms anew."""
    for _ in range(recurrence):
        x = x + attention_update(x, basis, weights, mode, query_scale) + weights.shift[:, None, None]
    return x


def fourier_mask(x: Floats, radius: int, lambdas: Floats, base_size: int | None) -> Floats:
    """Filter x [N, C, H, W] by SPANet's circular mask with a lambda per channel; the real part."""
    height, width = x.shape[2:]
    spectrum = np.fft.fftshift(np.fft.fft2(x, norm="ortho"), axes=(2, 3))
    masks = np.stack([circular_mask(height, width, radius, float(value), base_size) for value in lambdas])
    return np.fft.ifft2(np.fft.ifftshift(masks * spectrum, axes=(2, 3)), norm="ortho").real


def circular_mask(height: int, width: int, radius: int, low: float, base_size: int | None) -> Floats:
    """Return the centred mask [height, width], made at base_size x base_size and padded or cropped if set."""
    base_h, base_w = (height, width) if base_size is None else (base_size, base_size)
    row, column = np.ogrid[:base_h, :base_w]
    distance = np.sqrt((row - base_h // 2) ** 2 + (column - base_w // 2) ** 2)
    mask = np.where(distance < radius, low, np.where(distance > radius, 1 - low, 1 / 3))
    padded = np.full((height, width), 1 - low)
    # Python's floor division: what is negative is cut off.
    top, left = ((side - base) // 2 + (side - base) % 2 for side, base in ((height, base_h), (width, base_w)))
    for i in range(base_h):
        for j in range(base_w):
            if 0 <= i + top < height and 0 <= j + left < width:
                padded[i + top, j + left] = mask[i, j]
    return padded
