"""The operators of domain `edgefsa` for PyTorch: custom operators, by the CUDA kernels on a GPU, by formula on a CPU.

They work under `torch.compile`, `torch.export` and CUDA graphs. They are for inference: a backward pass through one
raises an error. What they take, float32 or float16, contiguous or channels-last, they return likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.graph.operators import DOMAIN, SPECTRAL_MASK, TRUNCATED_DCT_ATTENTION, UPSAMPLE_ARGMAX, Operator
from edgefsa.kernels.launchers import FLOAT, HALF, HWC8, INDEX_INT32, INDEX_UINT8, LINEAR, Kernels, load_kernels
from edgefsa.models import formulas
from edgefsa.models.formulas import Mode

_TYPES = {torch.float32: FLOAT, torch.float16: HALF}
_INDEX_TYPES = {torch.int32: INDEX_INT32, torch.uint8: INDEX_UINT8}
_MODES = ("dot_product", "linsoftmax")
_VECTOR_BYTES = 16  # what channels-last maps are aligned to
_VECTOR_CHANNELS = 8


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
    out_weight: Tensor | None,
    shift: Tensor,
    mode: Mode = "dot_product",
    recurrence: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """Attend among the low DCT coefficients of x and add the result to x (FsaNet).

    x [N, C, H, W], float32 or float16; returns y like x. All other tensors are float32 and on the device of x:
    basis_h (Bh) [kh, H] and basis_w (Bw) [kw, W], with kh and kw at most 32 on a GPU; query_weight and key_weight
    [Cq, C], value_weight [Cv, C], out_weight [C, Cv]; query_bias and key_bias [Cq], value_bias [Cv], shift [C]. An
    out_weight of None is that value_weight and value_bias have been multiplied by it beforehand (Cv = C).

    With X = Bh x Bw^T, T = kh kw tokens for each channel, and Q, K, V = the weights times X plus biases:

        dot_product: y = x + Bh^T U Bw + shift,  U = out_weight V (scale K^T Q),  scale = 1 / (H W)
        linsoftmax:  the same among pixels with weights 1 + the cosine of query and key

    `recurrence` passes follow each other; `edgefsa.models.formulas.truncated_dct_attention` has the whole formula.
    `FrequencySelfAttention.operator(H, W)` returns these tensors and attributes. Raises InputError for a device, type
    or shape that does not fit.
    """
    tensors = [basis_h, basis_w, query_weight, query_bias, key_weight, key_bias, value_weight, value_bias, out_weight]
    y: Tensor = torch.ops.edgefsa.truncated_dct_attention(x, *tensors, shift, mode, recurrence, scale)
    return y


def spectral_mask(
    x: Tensor, gain: Tensor, basis_h: Tensor, basis_w: Tensor, coupling_gain: Tensor, coupling_base: Tensor
) -> Tensor:
    """Weight low and high Fourier frequencies of x (SPANet), without a Fourier transform.

    x [N, C, H, W], float32 or float16; returns y like x. All other tensors are float32 and on the device of x: gain
    [C]; basis_h (Bh) [H, mh] and basis_w (Bw) [W, mw], with mh at most 9 and mw at most 16 on a GPU; coupling_gain (Cg)
    and coupling_base (Cb) [T, T], T = mh mw. For each channel c:

        t = flatten(Bh^T x_c Bw);  u = gain_c (t Cg) - t Cb;  y_c = (1 - gain_c) x_c + Bh unflatten(u) Bw^T

    `SpectralMask.operator(H, W)` returns these tensors. Raises InputError for a device, type or shape that does not
    fit.
    """
    y: Tensor = torch.ops.edgefsa.spectral_mask(x, gain, basis_h, basis_w, coupling_gain, coupling_base)
    return y


def upsample_argmax(logits: Tensor, height: int, width: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Return the class of each pixel: logits enlarged bilinearly, and of the classes the first that is largest.

    logits [N, K, h, w], float32 or float16, K at most 255; returns class indices [N, height, width], uint8 or int32
    (`dtype`). It is `F.interpolate(logits, (height, width), mode="bilinear").argmax(1)`, and on a GPU the enlarged
    logits are never written. Raises InputError for a type or size that does not fit.
    """
    indices: Tensor = torch.ops.edgefsa.upsample_argmax(logits, height, width, dtype)
    return indices


def _attention_on_cpu(x: Tensor, *arguments: Any) -> Tensor:
    (*tensors, out_weight, shift), (mode, recurrence, scale) = arguments[:10], arguments[10:]
    _check_attention(x, *arguments)
    tensors += [torch.eye(x.shape[1]) if out_weight is None else out_weight, shift]
    y = formulas.truncated_dct_attention(x.float(), *tensors, mode=mode, recurrence=recurrence, scale=scale)
    return _like(x).copy_(y)


def _attention_on_cuda(x: Tensor, *arguments: Any) -> Tensor:
    tensors, (mode, recurrence, scale) = arguments[:10], arguments[10:]
    _check_attention(x, *arguments)
    named = zip(TRUNCATED_DCT_ATTENTION.input_names[1:], tensors, strict=True)
    weights = {name: tensor for name, tensor in named if tensor is not None}
    sizes = {"kh": len(weights["basis_h"]), "kw": len(weights["basis_w"]), "recurrence": recurrence, "scale": scale}
    sizes |= {"query_channels": len(weights["query_weight"]), "value_channels": len(weights["value_weight"])}
    return _launched_map("TruncatedDctAttention", x, weights, mode=_MODES.index(mode), **sizes)


def _mask_on_cpu(x: Tensor, *tensors: Tensor) -> Tensor:
    _check_inputs(SPECTRAL_MASK, x, *tensors)
    return _like(x).copy_(formulas.spectral_mask(x.float(), *tensors))


def _mask_on_cuda(x: Tensor, *tensors: Tensor) -> Tensor:
    _check_inputs(SPECTRAL_MASK, x, *tensors)
    weights = dict(zip(SPECTRAL_MASK.input_names[1:], tensors, strict=True))
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    return _launched_map("SpectralMask", x, weights, **modes)


def _indices_on_cpu(logits: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    _check_upsampling(logits, height, width, dtype)
    large = F.interpolate(logits.float(), (height, width), mode="bilinear", align_corners=False)
    return large.argmax(1).to(dtype)


def _indices_on_cuda(logits: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    _check_upsampling(logits, height, width, dtype)
    stored, form = _stored(logits)
    y = logits.new_empty((logits.shape[0], height, width), dtype=dtype)
    batch, classes, low_height, low_width = logits.shape
    sizes = {"batch": batch, "classes": classes, "low_height": low_height, "low_width": low_width}
    sizes |= {"height": height, "width": width, "index_type": _INDEX_TYPES[dtype]}
    if y.numel():
        _launch("UpsampleArgmax", x=stored, y=y, type=_TYPES[logits.dtype], format=form, **sizes)
    return y


def _launched_map(name: str, x: Tensor, weights: dict[str, Tensor], **values: Any) -> Tensor:
    """Run a kernel that makes a map y out of the map x."""
    stored, form = _stored(x)
    y = torch.empty_like(stored)
    sizes = dict(zip(("batch", "channels", "height", "width"), x.shape, strict=True))
    kept = {key: weight.contiguous() for key, weight in weights.items()}
    if y.numel():
        _launch(name, x=stored, y=y, type=_TYPES[x.dtype], format=form, **sizes, **kept, **values)
    return y.contiguous(memory_format=_memory_format(x))


def _launch(name: str, x: Tensor, **values: Any) -> None:
    with _device(x.device) as (kernels, stream):
        params = kernels.params(name, **{key: _address(value) for key, value in {"x": x, **values}.items()})
        size = kernels.workspace_bytes(name, params)
        workspace = torch.empty(size, dtype=torch.uint8, device=x.device)
        kernels.launch(name, params, workspace.data_ptr(), stream)


def _address(value: Any) -> Any:
    return value.data_ptr() if isinstance(value, Tensor) else value


@contextmanager
def _device(device: torch.device) -> Iterator[tuple[Kernels, int]]:
    """Make the device the current one; yield its kernels and the handle of its current stream."""
    with torch.cuda.device(device):
        major, minor = torch.cuda.get_device_capability(device)
        yield load_kernels(f"{major}.{minor}"), torch.cuda.current_stream(device).cuda_stream


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _memory_format(x: Tensor) -> torch.memory_format:
    return torch.channels_last if _is_channels_last(x) else torch.contiguous_format


def _like(x: Tensor) -> Tensor:
    """Return what an operator's result lies in: channels-last where x is, else contiguous."""
    return torch.empty_like(x, memory_format=_memory_format(x))


def _stored(x: Tensor) -> tuple[Tensor, int]:
    """Return x as a kernel takes it, and its format: channels-last halves without padding are kHWC8 as they are."""
    is_hwc8 = _is_channels_last(x) and x.dtype == torch.float16 and x.shape[1] % _VECTOR_CHANNELS == 0
    if is_hwc8 and x.data_ptr() % _VECTOR_BYTES == 0:
        return x, HWC8
    return x.contiguous(), LINEAR


def _check_attention(x: Tensor, *arguments: Any) -> None:
    tensors, (mode, recurrence, _) = arguments[:10], arguments[10:]
    _check_inputs(TRUNCATED_DCT_ATTENTION, x, *tensors)
    if mode not in _MODES:
        raise InputError(f"mode is {mode!r}; it can be {' or '.join(_MODES)}")
    if recurrence < 1:
        raise InputError(f"recurrence is {recurrence}; give 1 or more")
    values = tensors[6].shape[0]
    if tensors[8] is None and values != x.shape[1]:
        raise InputError(f"without out_weight there are as many values as channels: {x.shape[1]}, not {values}")


def _check_upsampling(logits: Tensor, height: int, width: int, dtype: torch.dtype) -> None:
    _check_inputs(UPSAMPLE_ARGMAX, logits)
    if height < 1 or width < 1:
        raise InputError(f"the mask's size is {height} x {width}; both have to be 1 or more")
    if dtype not in _INDEX_TYPES:
        raise InputError(f"the mask's dtype is {dtype}; it can be torch.uint8 or torch.int32")
    if logits.shape[1] > 255:
        raise InputError(f"logits have {logits.shape[1]} classes; the operator takes up to 255")


def _check_inputs(operator: Operator, x: Tensor, *tensors: Tensor | None) -> None:
    """Hold devices, types and shapes against the operator's table; InputError names the first that does not fit."""
    sizes: dict[str, int] = {}
    for item, tensor in zip(operator.inputs, (x, *tensors), strict=True):
        if tensor is None:
            continue
        if item is operator.inputs[0]:
            if tensor.dtype not in _TYPES:
                raise InputError(f"{item.name} is {tensor.dtype}; {operator.name} takes float32 and float16")
        elif tensor.dtype != torch.float32:
            raise InputError(f"{item.name} is {tensor.dtype}, and {operator.name} takes it as float32; pass .float()")
        if tensor.device != x.device:
            raise InputError(f"{item.name} is on {tensor.device}, and {operator.inputs[0].name} on {x.device}")
        letters = item.shape.split()
        if tensor.dim() != len(letters):
            raise InputError(f"{item.name} has the shape {list(tensor.shape)}, and it has to be [{item.shape}]")
        if "M" in letters:  # pairs of modes
            sizes["M"] = sizes["MH"] * sizes["MW"]
        for letter, length in zip(letters, tensor.shape, strict=True):
            if sizes.setdefault(letter, length) != length:
                raise InputError(
                    f"{item.name} has the shape {list(tensor.shape)}, and it has to be [{item.shape}] with "
                    f"{letter} = {sizes[letter]}"
                )


def _fake_attention(x: Tensor, *arguments: Any) -> Tensor:
    _check_attention(x, *arguments)
    return _like(x)


def _fake_mask(x: Tensor, *tensors: Tensor) -> Tensor:
    _check_inputs(SPECTRAL_MASK, x, *tensors)
    return _like(x)


def _fake_indices(logits: Tensor, height: int, width: int, dtype: torch.dtype) -> Tensor:
    _check_upsampling(logits, height, width, dtype)
    return logits.new_empty((logits.shape[0], height, width), dtype=dtype)


# The schema's attributes; the forms for a CPU, for a GPU, and for tensors without storage.
_FORMS: dict[Operator, tuple[str, str, Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]] = {
    TRUNCATED_DCT_ATTENTION: (
        *("truncated_dct_attention", ", str mode, int recurrence, float scale"),
        *(_attention_on_cpu, _attention_on_cuda, _fake_attention),
    ),
    SPECTRAL_MASK: ("spectral_mask", "", _mask_on_cpu, _mask_on_cuda, _fake_mask),
    UPSAMPLE_ARGMAX: (
        *("upsample_argmax", ", SymInt height, SymInt width, ScalarType dtype"),
        *(_indices_on_cpu, _indices_on_cuda, _fake_indices),
    ),
}


def _register() -> None:
    for operator, (name, attributes, on_cpu, on_cuda, fake) in _FORMS.items():
        inputs = ", ".join(f"Tensor{'?' if item == 'out_weight' else ''} {item}" for item in operator.input_names)
        schema = f"({inputs}{attributes}) -> Tensor"
        defined = torch.library.custom_op(
            f"{DOMAIN}::{name}", on_cpu, mutates_args=(), schema=schema, device_types="cpu"
        )
        defined.register_kernel("cuda")(on_cuda)
        defined.register_fake(fake)


_register()
