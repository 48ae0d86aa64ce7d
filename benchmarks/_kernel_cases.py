"""The contestants of `kernels.py`: each kernel on PyTorch's tensors, its formula, and the forms it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from _kernel_forms import attention_forms, fourier
from _kernel_sizes import (
    CLASSES,
    FLOAT_VARIANTS,
    HALF_LINEAR,
    INT8_LINEAR,
    LAMBDAS,
    MAP_VARIANTS,
    RADIUS,
    RECURRENCE,
    UPSAMPLING,
    K,
    Size,
    Variant,
    bytes_moved,
)
from torch import Tensor

from edgefsa.kernels.launchers import HWC8, INDEX_INT32, Kernels
from edgefsa.kernels.modules import folded_weights
from edgefsa.models import FrequencySelfAttention, SpectralMask
from edgefsa.models.formulas import spectral_mask, truncated_dct_attention

Run = Callable[[], object]
DEVICE = "cuda"
REGION = 16  # low-resolution pixels on a side of what one class has to itself
X_SCALE = 0.03  # of int8 maps
# Kind of error -> the largest that a right kernel has. A unit is one step of the stored bytes.
RELATIVE, DIFFERING, UNITS = "relative L2", "share of other classes", "units beyond half a one"
LARGEST_ERRORS = {RELATIVE: 5e-3, DIFFERING: 5e-3, UNITS: 0.1}


@dataclass
class Case:
    """One kernel in one variant: `run` launches it, `result` and `wanted` show whether it is right.

    `forms` are PyTorch programs that compute the same. `unit` is the scale of an int8 result.
    """

    kernel: str
    variant: Variant
    bytes: int
    run: Run
    result: Callable[[], Tensor]
    wanted: Callable[[], Tensor]
    forms: dict[str, Run] = field(default_factory=dict)
    unit: float | None = None

    @property
    def name(self) -> str:
        """Kernel and variant."""
        return f"{self.kernel}, {self.variant.label}"

    def error(self) -> tuple[str, float]:
        """Run it once and compare with the formula in float32; returns the kind of error, and the error."""
        self.run()
        if DEVICE != "cpu":
            torch.cuda.synchronize()
        found, wanted = self.result(), self.wanted()
        if not wanted.is_floating_point():
            return DIFFERING, float((found != wanted).float().mean())
        if self.unit is not None:
            deviation = (found.float() - (wanted / self.unit).clamp(-128, 127)).abs().max()
            return UNITS, max(float(deviation) - 0.5, 0.0)
        return RELATIVE, float((found.float() - wanted).norm() / wanted.norm())


def cases(kernels: Kernels, size: Size, is_compiled: bool = False) -> list[Case]:
    """Return every kernel at one size in every variant that it has; with `is_compiled` against torch.compile too."""
    torch.manual_seed(0)
    x = torch.randn(size.shape, dtype=torch.float16, device=DEVICE)
    found = []
    for variant in MAP_VARIANTS:
        maps = Maps(kernels, size, variant, x)
        found += [*_attention_cases(maps, is_compiled), _mask_case(maps)]
    for variant in FLOAT_VARIANTS:
        found += _upsample_cases(kernels, size, variant)
    return found


def _launcher(kernels: Kernels, name: str, **values: Any) -> Run:
    params = kernels.params(name, **values)
    workspace = torch.empty(max(kernels.workspace_bytes(name, params), 1), dtype=torch.uint8, device=DEVICE)

    def run(kept: tuple[Any, ...] = (workspace, *values.values())) -> None:
        stream = 0 if DEVICE == "cpu" else torch.cuda.current_stream().cuda_stream
        kernels.launch(name, params, workspace.data_ptr(), stream)

    return run


def _stored(x: Tensor, variant: Variant) -> Tensor:
    if variant.format != HWC8:
        return x
    return F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 8)).permute(0, 2, 3, 1).contiguous()


def _plain(stored: Tensor, variant: Variant, channels: int) -> Tensor:
    return stored if variant.format != HWC8 else stored.permute(0, 3, 1, 2)[:, :channels]


class Maps:
    """A map in one variant, and the kernels that make another map out of it."""

    def __init__(self, kernels: Kernels, size: Size, variant: Variant, x: Tensor) -> None:
        self.kernels, self.size, self.variant = kernels, size, variant
        is_int8 = variant is INT8_LINEAR
        self.halves = x
        self.x = (x.float() / X_SCALE).round().clamp(-128, 127).to(torch.int8) if is_int8 else _stored(x, variant)
        self.real = X_SCALE * self.x.float() if is_int8 else x.float()
        dims = dict(zip(("batch", "channels", "height", "width"), size.shape, strict=True))
        self.settings = {**dims, "type": variant.type, "format": variant.format}

    def case(self, kernel: str, name: str, wanted: Callable[[], Tensor], **values: Any) -> Case:
        """Return the case of a kernel that writes a map."""
        y = torch.empty_like(self.x)
        scales, unit = {}, None
        if self.variant is INT8_LINEAR:
            unit = float(wanted().abs().max()) / 127
            scales = {"x_scale": X_SCALE, "y_scale": unit}
        run = _launcher(self.kernels, name, x=self.x, y=y, **self.settings, **values, **scales)
        moved = bytes_moved(self.size, self.variant)[kernel]
        channels = self.size.channels
        return Case(kernel, self.variant, moved, run, lambda: _plain(y, self.variant, channels), wanted, unit=unit)


def _attention_cases(maps: Maps, is_compiled: bool) -> list[Case]:
    size, real = maps.size, maps.real
    layer = FrequencySelfAttention(size.channels, k=K, recurrence=RECURRENCE).eval().to(DEVICE)
    torch.nn.init.ones_(layer.gain)
    torch.nn.init.normal_(layer.out_bias)
    operator = layer.operator(size.height, size.width)
    weights = {name: tensor.to(DEVICE) for name, tensor in operator.tensors.items()}
    basis_h, basis_w, shift = (weights[name] for name in ("basis_h", "basis_w", "shift"))
    shared = {"kh": K, "kw": K, "basis_h": basis_h, "basis_w": basis_w}
    tokens = torch.zeros(size.batch, size.channels, (K * K + 4) // 4 * 4, device=DEVICE)
    scales = {"x_scale": X_SCALE} if maps.variant is INT8_LINEAR else {}

    def coefficients() -> Tensor:
        return (basis_h @ real @ basis_w.mT).flatten(2)

    def inverse() -> Tensor:
        return real + basis_h.mT @ coefficients().unflatten(2, (K, K)) @ basis_w + shift[:, None, None]

    def attended() -> Tensor:
        return truncated_dct_attention(real, **weights, **operator.attributes)

    transform = Case(
        "truncated DCT",
        maps.variant,
        bytes_moved(size, maps.variant)["truncated DCT"],
        _launcher(maps.kernels, "TruncatedDct", x=maps.x, coefficients=tokens, **maps.settings, **shared, **scales),
        lambda: tokens[..., : K * K],
        coefficients,
    )
    change = F.pad(coefficients(), (0, tokens.shape[2] - K * K))
    back = maps.case("inverse DCT", "InverseDct", inverse, **shared, change=change, shift=shift, shift_gain=1.0)
    folded = {name: tensor.float().contiguous() for name, tensor in folded_weights(weights).items()}
    channels = {f"{name}_channels": len(folded[f"{name}_weight"]) for name in ("query", "value")}
    block = {**shared, **folded, **channels, "mode": 0, "recurrence": RECURRENCE}
    whole = maps.case(
        "attention block", "TruncatedDctAttention", attended, **block, scale=float(operator.attributes["scale"])
    )
    if maps.variant is HALF_LINEAR:
        whole.forms = attention_forms(operator, maps.halves, DEVICE, is_compiled)
    return [transform, back, whole]


def _mask_case(maps: Maps) -> Case:
    size = maps.size
    operator = SpectralMask(size.channels, radius=RADIUS, lambdas=LAMBDAS).operator(size.height, size.width)
    weights = {name: tensor.to(DEVICE) for name, tensor in operator.tensors.items()}
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    case = maps.case("spectral mask", "SpectralMask", lambda: spectral_mask(maps.real, **weights), **modes, **weights)
    if maps.variant is HALF_LINEAR:
        case.forms = {"torch.fft": fourier(size, maps.halves, DEVICE)}
    return case


def _upsample_cases(kernels: Kernels, size: Size, variant: Variant) -> list[Case]:
    """Of logits with regions, as a segmentation has them, and of noise, in which every pixel is a border."""
    shape = (size.batch, CLASSES, size.height, size.width)
    noise = torch.randn(shape, dtype=torch.float16, device=DEVICE)
    rows, columns = (torch.arange(extent, device=DEVICE) // REGION for extent in shape[2:])
    owner = (5 * rows[:, None] + 3 * columns + rows[:, None] * columns) % CLASSES
    regions = noise + 10 * F.one_hot(owner, CLASSES).permute(2, 0, 1).half()
    named = {"upsample + argmax": regions, "upsample + argmax of noise": noise}
    return [_upsample_case(kernels, size, variant, name, logits) for name, logits in named.items()]


def _upsample_case(kernels: Kernels, size: Size, variant: Variant, name: str, logits: Tensor) -> Case:
    large = (UPSAMPLING * size.height, UPSAMPLING * size.width)
    y = torch.empty(size.batch, *large, dtype=torch.int32, device=DEVICE)
    run = _launcher(
        kernels, "UpsampleArgmax", x=_stored(logits, variant), y=y, index_type=INDEX_INT32, type=variant.type,
        format=variant.format, batch=size.batch, classes=CLASSES,
        low_height=size.height, low_width=size.width, height=large[0], width=large[1],
    )  # fmt: skip

    def indices() -> Tensor:
        return F.interpolate(logits.float(), large, mode="bilinear").argmax(1).int()

    def form() -> Tensor:
        return F.interpolate(logits, large, mode="bilinear").argmax(1)

    forms: dict[str, Run] = {"interpolate and argmax": form} if variant is HALF_LINEAR else {}
    return Case(name, variant, bytes_moved(size, variant)[name], run, lambda: y, indices, forms)
