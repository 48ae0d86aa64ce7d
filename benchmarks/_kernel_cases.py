"""The contestants of `kernels.py`: each kernel on PyTorch's tensors, its formula, and the forms it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from _kernel_sizes import CLASSES, LAMBDAS, RADIUS, RECURRENCE, UPSAMPLING, K, Size
from torch import Tensor

from edgefsa.kernels.launchers import HALF, INDEX_INT32, LINEAR, Kernels
from edgefsa.models import FrequencySelfAttention, SpectralMask
from edgefsa.models.formulas import spectral_mask, truncated_dct_attention

Run = Callable[[], object]
DEVICE = "cuda"
REGION = 16  # low-resolution pixels on a side of what one class has to itself


@dataclass
class Case:
    """One kernel: `run` launches it, `result` and `wanted` tell whether it is right, `forms` compute the same."""

    run: Run
    result: Callable[[], Tensor]
    wanted: Callable[[], Tensor]
    x: Tensor
    forms: dict[str, Run] = field(default_factory=dict)

    def copy(self) -> Tensor:
        """Copy the input: what the memory can do at this size."""
        return torch.clone(self.x)

    def relative_l2(self) -> float:
        """Run it once and compare with the formula in float32; for class indices the share that differs."""
        self.run()
        torch.cuda.synchronize()
        found, wanted = self.result(), self.wanted()
        if not wanted.is_floating_point():
            return float((found != wanted).float().mean())
        return float((found.float() - wanted).norm() / wanted.norm())


def cases(kernels: Kernels, size: Size) -> dict[str, Case]:
    """Return every kernel at one size; the tensors live as long as the cases."""
    torch.manual_seed(0)
    x = torch.randn(size.shape, dtype=torch.float16, device=DEVICE)
    return {
        **_attention_cases(kernels, size, x),
        **_mask_case(kernels, size, x),
        **_upsample_cases(kernels, size),
        **_frame_case(kernels, size),
    }


def _launcher(kernels: Kernels, name: str, workspace: bool = True, **values: object) -> Run:
    params = kernels.params(name, **values)
    bytes_needed = kernels.workspace_bytes(name, params) if workspace else 0
    scratch = torch.empty(max(bytes_needed, 1), dtype=torch.uint8, device=DEVICE)

    def run() -> None:
        kernels.launch(name, params, scratch.data_ptr(), torch.cuda.current_stream().cuda_stream)

    run.kept = [scratch, *values.values()]  # type: ignore[attr-defined]
    return run


def _attention_cases(kernels: Kernels, size: Size, x: Tensor) -> dict[str, Case]:
    layer = FrequencySelfAttention(size.channels, k=K, recurrence=RECURRENCE).eval().to(DEVICE)
    torch.nn.init.ones_(layer.gain)
    torch.nn.init.normal_(layer.out_bias)
    operator = layer.operator(size.height, size.width)
    weights = {name: tensor.to(DEVICE) for name, tensor in operator.tensors.items()}
    basis_h, basis_w = weights["basis_h"], weights["basis_w"]
    dims = dict(zip(("batch", "channels", "height", "width"), size.shape, strict=True))
    shared = {**dims, "kh": K, "kw": K, "type": HALF, "format": LINEAR, "basis_h": basis_h, "basis_w": basis_w}
    stride = (K * K + 4) // 4 * 4
    tokens = torch.zeros(size.batch, size.channels, stride, device=DEVICE)
    y, back = torch.empty_like(x), torch.empty_like(x)
    block = {**shared, **weights, "query_channels": weights["query_weight"].shape[0], "mode": 0}
    block |= {"value_channels": weights["value_weight"].shape[0], "recurrence": RECURRENCE}
    block |= {"scale": float(operator.attributes["scale"])}
    shift = weights["shift"]

    def coefficients() -> Tensor:
        return (basis_h @ x.float() @ basis_w.mT).flatten(2)

    def inverse() -> Tensor:
        change = tokens[..., : K * K].unflatten(2, (K, K))
        return x.float() + basis_h.mT @ change @ basis_w + shift[:, None, None]

    def attended() -> Tensor:
        return truncated_dct_attention(x.float(), **weights, **operator.attributes)

    return {
        "truncated DCT": Case(
            _launcher(kernels, "TruncatedDct", x=x, coefficients=tokens, **shared),
            lambda: tokens[..., : K * K],
            coefficients,
            x,
        ),
        "inverse DCT": Case(
            _launcher(kernels, "InverseDct", False, x=x, y=back, change=tokens, shift=shift, shift_gain=1.0, **shared),
            lambda: back,
            inverse,
            x,
        ),
        "attention block": Case(
            _launcher(kernels, "TruncatedDctAttention", x=x, y=y, **block),
            lambda: y,
            attended,
            x,
            _forms(layer, size, x),
        ),
    }


def _forms(layer: FrequencySelfAttention, size: Size, x: Tensor) -> dict[str, Run]:
    """The block as the authors' code has it, and our separable formula compiled; both in FP16."""
    operator = layer.operator(size.height, size.width)
    half = {name: tensor.to(DEVICE, torch.float16) for name, tensor in operator.tensors.items()}
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

    torch._dynamo.reset()  # each size is compiled for itself, not as one with the sizes before
    compiled = torch.compile(truncated_dct_attention, dynamic=False)
    return {
        "dense PyTorch": dense,
        "separable, torch.compile": lambda: compiled(x, **half, **operator.attributes),
    }


def _mask_case(kernels: Kernels, size: Size, x: Tensor) -> dict[str, Case]:
    layer = SpectralMask(size.channels, radius=RADIUS, lambdas=LAMBDAS)
    weights = {name: tensor.to(DEVICE) for name, tensor in layer.operator(size.height, size.width).tensors.items()}
    dims = dict(zip(("batch", "channels", "height", "width"), size.shape, strict=True))
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    y = torch.empty_like(x)
    run = _launcher(kernels, "SpectralMask", x=x, y=y, type=HALF, format=LINEAR, **dims, **modes, **weights)
    forms: dict[str, Run] = {"torch.fft": _fourier(size, x)}
    return {"spectral mask": Case(run, lambda: y, lambda: spectral_mask(x.float(), **weights), x, forms)}


def _fourier(size: Size, x: Tensor) -> Run:
    """The filter with complex transforms, as the authors have it; the mask is shifted before the clock starts."""
    row = np.arange(size.height)[:, None] - size.height // 2
    distance = np.hypot(row, np.arange(size.width)[None] - size.width // 2)
    masks = [np.where(distance < RADIUS, low, np.where(distance > RADIUS, 1 - low, 1 / 3)) for low in LAMBDAS]
    group = np.arange(size.channels) // -(-size.channels // len(LAMBDAS))
    shifted = np.fft.ifftshift(np.stack(masks), axes=(1, 2))[group]
    mask = torch.from_numpy(shifted).to(DEVICE, torch.float32)

    def filtered() -> Tensor:
        return torch.fft.ifft2(torch.fft.fft2(x.float()) * mask).real.half()

    return filtered


def _upsample_cases(kernels: Kernels, size: Size) -> dict[str, Case]:
    """Of logits with regions, as a segmentation has them, and of noise, in which every pixel is a border."""
    shape = (size.batch, CLASSES, size.height, size.width)
    noise = torch.randn(shape, dtype=torch.float16, device=DEVICE)
    rows, columns = (torch.arange(extent, device=DEVICE) // REGION for extent in shape[2:])
    owner = (5 * rows[:, None] + 3 * columns + rows[:, None] * columns) % CLASSES
    regions = noise + 10 * F.one_hot(owner, CLASSES).permute(2, 0, 1).half()
    return {
        "upsample + argmax": _upsample_case(kernels, size, regions),
        "upsample + argmax of noise": _upsample_case(kernels, size, noise),
    }


def _upsample_case(kernels: Kernels, size: Size, logits: Tensor) -> Case:
    large = (UPSAMPLING * size.height, UPSAMPLING * size.width)
    y = torch.empty(size.batch, *large, dtype=torch.int32, device=DEVICE)
    run = _launcher(
        kernels, "UpsampleArgmax", False, x=logits, y=y, index_type=INDEX_INT32, type=HALF, format=LINEAR,
        batch=size.batch, classes=CLASSES,
        low_height=size.height, low_width=size.width, height=large[0], width=large[1],
    )  # fmt: skip

    def indices() -> Tensor:
        return F.interpolate(logits.float(), large, mode="bilinear").argmax(1).int()

    def form() -> Tensor:
        return F.interpolate(logits, large, mode="bilinear").argmax(1)

    return Case(run, lambda: y, indices, logits, {"interpolate and argmax": form})


def _frame_case(kernels: Kernels, size: Size) -> dict[str, Case]:
    large = (UPSAMPLING * size.height, UPSAMPLING * size.width)
    frames = torch.randint(0, 256, (size.batch, *large, 3), dtype=torch.uint8, device=DEVICE)
    image = torch.empty(size.batch, 3, *large, dtype=torch.float16, device=DEVICE)
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    run = _launcher(
        kernels, "FramePreparation", False, frames=frames, image=image, type=HALF, format=LINEAR, batch=size.batch,
        frame_height=large[0], frame_width=large[1], height=large[0], width=large[1], mean_rgb=mean, std_rgb=std,
    )  # fmt: skip
    offset, scale = (torch.tensor(values, device=DEVICE).view(3, 1, 1) for values in (mean, std))

    def normalised() -> Tensor:
        return (frames.flip(3).permute(0, 3, 1, 2).float() - offset) / scale

    def form() -> Tensor:
        return normalised().half()

    return {"frame preparation": Case(run, lambda: image, normalised, frames, {"eager PyTorch": form})}
