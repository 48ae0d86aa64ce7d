"""Plugins of the three operators with the tensors of a node, and what they have to compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from edgefsa.models import FrequencySelfAttention, SpectralMask
from edgefsa.models.formulas import spectral_mask, truncated_dct_attention
from tests.unit.engines.tensorrt.plugins.harness.harness import HALF, INT32, Harness, Plugin, Tensor

ATTENTION = {"mode": "dot_product", "recurrence": 1, "scale": 0.125}
UPSAMPLE = {"height": 9, "width": 14}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "TruncatedDctAttention": ATTENTION,
    "SpectralMask": {},
    "UpsampleArgmax": UPSAMPLE,
}
N, C, H, W, KH, KW, CQ, CV = 2, 10, 6, 7, 3, 4, 2, 5


def tensors_of(name: str, x: Tensor | None = None, batch: int = N) -> list[Tensor]:
    """Return the inputs of the ONNX node and the output."""
    if name == "UpsampleArgmax":
        return [x or Tensor((batch, C, H, W)), Tensor((batch, 9, 14), INT32)]
    x = x or Tensor((batch, C, H, W))
    weights = {
        "TruncatedDctAttention": [(KH, H), (KW, W), (CQ, C), (CQ,), (CQ, C), (CQ,), (CV, C), (CV,), (C, CV), (C,)],
        "SpectralMask": [(C,), (H, 5), (W, 3), (15, 15), (15, 15)],
    }[name]
    return [x, *(Tensor(dims) for dims in weights), x]


def make(harness: Harness, name: str, **changes: Any) -> Plugin:
    plugin = harness.create(name, {**ATTRIBUTES[name], **changes})
    assert plugin is not None, harness.log()
    return plugin


@dataclass(frozen=True)
class Case:
    """An operator at one shape: `formula` gives its result in float64."""

    name: str
    dims: tuple[int, ...]
    attributes: dict[str, Any]
    weights: dict[str, torch.Tensor]
    formula: Callable[[torch.Tensor], torch.Tensor]

    def tensors(self, x: Tensor) -> list[Tensor]:
        """Return the inputs of the node and its output, where the first is `x`."""
        if self.name == "UpsampleArgmax":
            kind = HALF if self.attributes.get("half_indices") else INT32
            output = Tensor((x.dims[0], self.attributes["height"], self.attributes["width"]), kind)
        else:
            output = x
        return [x, *(Tensor(tuple(weight.shape)) for weight in self.weights.values()), output]


def attention_case(
    dims: tuple[int, ...],
    form: str = "ccnet",
    mode: str = "dot_product",
    recurrence: int = 1,
    *,
    is_folded: bool = False,
) -> Case:
    """Return the attention; where `is_folded`, with out_weight multiplied into the values as in a plugin node."""
    torch.manual_seed(3)
    layer = FrequencySelfAttention(dims[1], k=(0, KH, 0, KW), mode=mode, recurrence=recurrence, form=form).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    operator = layer.operator(*dims[2:])
    wide = {name: tensor.double() for name, tensor in operator.tensors.items()}
    weights = {**operator.tensors}
    if is_folded:
        for name in ("value_weight", "value_bias"):
            weights[name] = (wide["out_weight"] @ wide[name]).float()
        weights["out_weight"] = torch.ones(1, 1)
    return Case(
        "TruncatedDctAttention",
        dims,
        operator.attributes,
        weights,
        lambda x: truncated_dct_attention(x, **wide, **operator.attributes),
    )


def mask_case(dims: tuple[int, ...], radius: int = 2) -> Case:
    weights = SpectralMask(dims[1], radius=radius).operator(*dims[2:]).tensors
    wide = {name: tensor.double() for name, tensor in weights.items()}
    return Case("SpectralMask", dims, {}, weights, lambda x: spectral_mask(x, **wide))


def upsample_case(dims: tuple[int, ...], size_hw: tuple[int, int], **attributes: int) -> Case:
    def formula(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(logits, size_hw, mode="bilinear").argmax(1)

    return Case("UpsampleArgmax", dims, {"height": size_hw[0], "width": size_hw[1], **attributes}, {}, formula)
