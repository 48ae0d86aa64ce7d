"""PyTorch programs that compute what the kernels do, on maps of halves: what the kernels are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _kernel_sizes import LAMBDAS, RADIUS, RECURRENCE, Size
from torch import Tensor

from edgefsa.models.formulas import truncated_dct_attention

Run = Callable[[], object]


def attention_forms(operator: Any, x: Tensor, device: str, is_compiled: bool) -> dict[str, Run]:
    """Return the block as the authors' code has it and, where asked for, our separable formula compiled; in FP16."""
    half = {name: tensor.to(device, torch.float16) for name, tensor in operator.tensors.items()}
    basis = torch.kron(half["basis_h"], half["basis_w"]).mT.contiguous()
    inverse = basis.mT.contiguous()

    def dense() -> Tensor:
        y = x
        for _ in range(RECURRENCE):
            tokens = y.flatten(2) @ basis
            query, key, value = (half[f"{name}_weight"] @ tokens for name in ("query", "key", "value"))
            attended = value @ (key.mT @ query / basis.shape[0]) @ inverse
            y = (half["out_weight"] @ attended + half["shift"][:, None]).view_as(x) + y
        return y

    if not is_compiled:
        return {"dense PyTorch": dense}
    compiled = torch.compile(truncated_dct_attention, dynamic=False)
    return {
        "dense PyTorch": dense,
        "separable, torch.compile": lambda: compiled(x, **half, **operator.attributes),
    }


def fourier(size: Size, x: Tensor, device: str) -> Run:
    """Return the filter with complex transforms, as the authors have it; its mask is shifted beforehand."""
    row = np.arange(size.height)[:, None] - size.height // 2
    distance = np.hypot(row, np.arange(size.width)[None] - size.width // 2)
    masks = [np.where(distance < RADIUS, low, np.where(distance > RADIUS, 1 - low, 1 / 3)) for low in LAMBDAS]
    group = np.arange(size.channels) // -(-size.channels // len(LAMBDAS))
    shifted = np.fft.ifftshift(np.stack(masks), axes=(1, 2))[group]
    mask = torch.from_numpy(shifted).to(device, torch.float32)

    def filtered() -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(x.float()) * mask).real.half()

    return filtered
