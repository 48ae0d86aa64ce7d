"""The rounding of an INT8 engine as differentiable functions, in float32.

Straight through: the gradient of a rounding is 1, and 0 for a value that is clipped. Ranges are learnt by the gradient
of Jain et al., "Trained Quantization Thresholds for Accurate and Efficient Fixed-Point Inference" (2019), with
respect to their logarithm, here without its powers of two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LARGEST = 127  # what a range stands for; weights do not use -128
SMALLEST = -128  # what QuantizeLinear clips activations to


def round_activation(x: Tensor, log_amax: Tensor) -> Tensor:
    """Round float x, any shape, to whole multiples of exp(log_amax) / 127 within -128 and 127; log_amax is a scalar."""
    rounded: Tensor = _RoundActivation.apply(x, log_amax)  # type: ignore[no-untyped-call]
    return rounded


class _RoundActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, log_amax: Tensor) -> Tensor:
        scale = (log_amax.exp() / LARGEST).reshape(1)
        zero = torch.zeros(1, dtype=torch.int32, device=x.device)
        y = torch.fake_quantize_per_tensor_affine(x, scale, zero, SMALLEST, LARGEST)
        ctx.save_for_backward(x, y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        (gradient,) = gradients
        x, y, scale = ctx.saved_tensors
        error = y - x
        inside = error.abs() <= 0.5001 * scale  # half a step, and what float32 adds to it
        # y = s round(x / s) inside, so that dy / dlog(s) = y - x; and y = -128 s or 127 s beyond.
        of_range = (gradient * torch.where(inside, error, y)).sum()
        return torch.where(inside, gradient, 0.0) if ctx.needs_input_grad[0] else None, of_range


def round_weight(weight: Tensor, axis: int = 0) -> Tensor:
    """Round a weight, whose `axis` counts output channels, to -127 to 127 steps of a channel's largest magnitude / 127.

    As `quantize.qdq.int8_weight`; the steps count as constants in the gradient.
    """
    amax = weight.detach().abs().transpose(0, axis).flatten(1).amax(1)
    scale = torch.where(amax > 0, amax, 1.0) / LARGEST
    zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, axis, -LARGEST, LARGEST)
