"""Frequency layers of a network exchanged for the custom operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgefsa.errors import InputError
from edgefsa.kernels import operators
from edgefsa.models.frequency import FrequencyLayer, FrequencyOperator, map_sizes
from edgefsa.models.modules import swap_modules


def use_kernels(model: nn.Module, size_hw: tuple[int, int]) -> nn.Module:
    """Put custom operators in place of `FrequencySelfAttention` and `SpectralMask` in a network, in place.

    For inference on images of `size_hw` (height, width), float [N, 3, H, W] of any N. The weights are taken as they
    are now, so call it last: after `eval()`, `half()` and `to(device)`. Returns `model`, or the operator where `model`
    itself is a frequency layer (`size_hw` is then that of the feature map). Raises InputError for a network in
    training, without a frequency layer, or with one that is used at two sizes.
    """
    if model.training:
        raise InputError(f"{type(model).__name__} is in training; the kernels are for inference: call eval() first")
    if isinstance(model, FrequencyLayer):
        return KernelLayer(model.operator(*size_hw), _device_of(model))
    image = torch.zeros(1, 3, *size_hw, device=_device_of(model), dtype=next(model.parameters()).dtype)
    sizes = map_sizes(model, image)
    if not sizes:
        raise InputError(f"{type(model).__name__} holds no FrequencySelfAttention and no SpectralMask")
    device = _device_of(model)
    return swap_modules(model, {layer: KernelLayer(layer.operator(*size), device) for layer, size in sizes.items()})


class KernelLayer(nn.Module):
    """One custom operator with its tensors as buffers: [N, C, H, W], float32 or float16, to the same."""

    def __init__(self, operator: FrequencyOperator, device: torch.device) -> None:
        super().__init__()
        self.operator = operator
        for name, tensor in folded_weights(operator.tensors).items():
            self.register_buffer(name, tensor.detach().to(device, torch.float32).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the frequency layer returns for x."""
        weights = dict(self.named_buffers())
        if self.operator.name == "SpectralMask":
            return operators.spectral_mask(x, **weights)
        given = {"out_weight": None, **weights, **self.operator.attributes}
        return operators.truncated_dct_attention(x, **given)  # type: ignore[arg-type]


def folded_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply the attention's out_weight into its values, in float64, where that makes the kernels' work less."""
    out_weight = tensors.get("out_weight")
    if out_weight is None or 2 * out_weight.shape[1] < out_weight.shape[0]:
        return tensors
    kept = {name: tensor for name, tensor in tensors.items() if name != "out_weight"}
    values = {name: out_weight.double() @ kept[name].double() for name in ("value_weight", "value_bias")}
    return kept | values


def _device_of(model: nn.Module) -> torch.device:
    # A SpectralMask has no parameters.
    parameter = next(model.parameters(), None)
    return torch.get_default_device() if parameter is None else parameter.device
