"""The full non-local block, attention among all pixels, and its exchange for the frequency form.

Papers: Wang et al., "Non-local Neural Networks" (2018), its dot-product form; Zhang et al., "FsaNet: Frequency
Self-attention for Semantic Segmentation" (2022), which replaces the block in trained networks.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefsa.errors import InputError
from edgefsa.models.attention import Form, SelfAttention, without_autocast
from edgefsa.models.bases import band_from, shortest_k
from edgefsa.models.config import ModelConfig
from edgefsa.models.formulas import NORM_FLOOR, Mode
from edgefsa.models.frequency import FrequencySelfAttention
from edgefsa.models.modules import swap_modules


class NonLocalAttention(SelfAttention):
    """Self-attention among all pixels of a feature map, added to it (a non-local block).

    Takes and gives [N, C, H, W] of any float type; computes in float32 at least, also under autocast. The options
    and parameters are those of `attention.SelfAttention`. With the pixels X [C, T], T = H W, one pass is

        Q = Wq X + bq;  K = Wk X + bk;  V = Wv X + bv
        "dot_product":  X + out(V A),                  A = K^T Q / T  (over sqrt(Cq) too with use_scale)
        "linsoftmax":   X + out(V A / column sums(A)),  A = 1 + Kn^T Qn, Kn and Qn of unit length per pixel

    where out(Z) = gamma (Z + out_bias), or the output convolution and its batch norm. `FrequencySelfAttention` with
    the same parameters, an orthonormal basis and k = -1 (all coefficients) gives the same, but for `qkv_bias`: a
    trained block's biases are the pixels', and there they are the coefficients'. The affinity A [T, T] is made, as
    in full non-local blocks. The dot-product form could be reassociated to (V K^T) Q, whose cost grows with T and
    not with T^2; this layer keeps the order since it stands for what such a block costs.
    """

    def __init__(
        self,
        channels: int,
        *,
        mode: Mode = "dot_product",
        recurrence: int = 1,
        form: Form = "ccnet",
        use_scale: bool = False,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__(channels, mode, recurrence, form, use_scale, qkv_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its self-attention added; [N, C, H, W] to the same."""
        # Sums over all pixels leave the range that 16 bits hold well.
        return without_autocast(self._attend, x)

    def _attend(self, x: Tensor) -> Tensor:
        y = x.to(torch.promote_types(x.dtype, self.wide_dtype()))
        for _ in range(self.recurrence):
            query, key, value = (_project(conv, y).flatten(2) for conv in self.query_key_value())
            if self.mode == "dot_product":
                mixed = value @ (key.mT @ query * self.scale_of(*x.shape[2:]))
            else:
                affinity = 1 + _unit(key).mT @ _unit(query)
                mixed = value @ affinity / affinity.sum(1, keepdim=True)
            y = y + self._out(mixed.reshape(*mixed.shape[:2], *x.shape[2:]))
        return y.to(x.dtype)

    def _out(self, mixed: Tensor) -> Tensor:
        if self.form == "ccnet":
            return self.gamma * (mixed + self.out_bias[..., None])
        norm, mixed = self.conv_out.bn, _project(self.conv_out.conv, mixed)
        if self.training:
            normed: Tensor = norm(mixed.flatten(2))
            return normed.view_as(mixed)
        assert norm.running_mean is not None and norm.running_var is not None
        stored = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        mean, variance, gain, shift = (tensor.to(mixed.dtype) for tensor in stored)
        return F.batch_norm(mixed, mean, variance, gain, shift, eps=norm.eps)


def _project(conv: nn.Conv1d, x: Tensor) -> Tensor:
    # In two dimensions, in which every runtime has an integer convolution.
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    return F.conv2d(x, conv.weight.to(x.dtype)[..., None], bias)


def _unit(tokens: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tokens, dim=1, keepdim=True)
    return tokens / (norm + NORM_FLOOR)


def replace_nonlocal(model: nn.Module, k: int | tuple[int, ...] | list[int]) -> nn.Module:
    """Swap every `NonLocalAttention` in a module tree for a `FrequencySelfAttention` with its parameters, in place.

    `k` is 8 for the lowest 8 x 8 DCT coefficients, or (row from, row to, column from, column to). Gives `model`, or
    the new block where `model` itself is one. The parameters are the same tensors, so values, types, devices and
    an optimiser's hold on them stay, and so does each block's training mode; a block in two places is one block
    there again. Where a module of the tree has a `ModelConfig` with attention="nonlocal", its options become those
    of the frequency form, so that the network exports and counts as one that was built with it. Copy the model
    first (`copy.deepcopy`) to try several k. Raises InputError, with the model as it was, where there is no such
    block, where one has `qkv_bias` (see `NonLocalAttention`), or for a k that keeps no frequency.
    """
    band_from(k)
    blocks = {name: part for name, part in model.named_modules() if isinstance(part, NonLocalAttention)}
    if not blocks:
        raise InputError(
            f"{type(model).__name__} holds no NonLocalAttention to replace; give a network that has one, "
            'for instance create_model("fsanet-edge", attention="nonlocal")'
        )
    for name, block in blocks.items():
        if block.qkv_bias:
            raise InputError(
                f"{name or type(block).__name__} cannot be replaced: its query, key and value biases are the pixels', "
                "and the frequency form has none of these; give a network trained with qkv_bias=False"
            )
    for part in model.modules():
        config = getattr(part, "config", None)
        if isinstance(config, ModelConfig) and config.options.get("attention") == "nonlocal":
            options = config.options | {"attention": "frequency", "k": shortest_k(k), "basis": "orthonormal"}
            part.config = dataclasses.replace(config, options=options)  # type: ignore[assignment]
    return swap_modules(model, {block: frequency_form(block, k) for block in blocks.values()})


def frequency_form(block: NonLocalAttention, k: int | tuple[int, ...] | list[int]) -> FrequencySelfAttention:
    """Return the frequency form of one block; it holds the block's own parameters and buffers."""
    with torch.device("meta"):
        layer = FrequencySelfAttention(
            block.channels,
            k=k,
            mode=block.mode,
            recurrence=block.recurrence,
            form=block.form,
            use_scale=block.use_scale,
            qkv_bias=block.qkv_bias,
        )
    for name, part in [*block.named_children(), *block.named_parameters(recurse=False)]:
        setattr(layer, name, part)
    layer.training = block.training
    return layer
