"""The two frequency layers in PyTorch against the forms that the authors' code has, taking turns in one run.

Attention: C = 512, 128 x 256, k = 8, recurrence 2, against products with a dense HW x k^2 basis in every pass.
Spectral mask: 64 x 128 x 256, r = 2, three lambda groups, against fft2 and ifft2 with the mask already shifted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from _common import save
from torch import Tensor, nn

from edgefsa.console import table
from edgefsa.models import FrequencySelfAttention, SpectralMask
from edgefsa.models.bases import dct_bases
from edgefsa.models.costs import macs_of
from edgefsa.verify.latency import measure

HEIGHT, WIDTH = 128, 256
ATTENTION_CHANNELS, MASK_CHANNELS, RECURRENCE, K, RADIUS = 512, 64, 2, 8, 2
LAMBDAS = (0.7, 0.8, 0.9)
MAX_RELATIVE_L2 = 1e-5


def dense_attention(layer: FrequencySelfAttention) -> Callable[[Tensor], Tensor]:
    """Return the same block with the basis as one matrix, made before the clock starts."""
    rows, columns = dct_bases(HEIGHT, WIDTH, layer.band, layer.basis)
    basis = torch.from_numpy(np.kron(rows, columns).T.copy()).float()
    inverse = basis.T.contiguous()

    def forward(x: Tensor) -> Tensor:
        for _ in range(layer.recurrence):
            tokens = x.flatten(2) @ basis
            query, key, value = layer.query_conv(tokens), layer.key_conv(tokens), layer.value_conv(tokens)
            attended = value @ (key.mT @ query / basis.shape[0]) @ inverse + layer.out_bias
            x = layer.gamma * attended.view_as(x) + x
        return x

    return forward


def fourier_masks() -> Tensor:
    """Return the mask of each group, [3, H, W], with the DC coefficient first as fft2 gives it."""
    row, column = torch.arange(HEIGHT)[:, None] - HEIGHT // 2, torch.arange(WIDTH)[None] - WIDTH // 2
    distance = (row**2 + column**2).sqrt()
    masks = [torch.where(distance < RADIUS, low, torch.where(distance > RADIUS, 1 - low, 1 / 3)) for low in LAMBDAS]
    return torch.fft.ifftshift(torch.stack(masks), dim=(1, 2))


def complex_filter(masks: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the filter with complex transforms, as the authors have it."""

    def forward(x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(x, norm="ortho")
        for part, mask in zip(spectrum.chunk(len(LAMBDAS), 1), masks, strict=True):
            part.mul_(mask)
        return torch.fft.ifft2(spectrum, norm="ortho").real

    return forward


def real_filter(masks: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the filter with transforms of real input, half the work, which the authors do not use."""

    def forward(x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x, norm="ortho")
        for part, mask in zip(spectrum.chunk(len(LAMBDAS), 1), masks, strict=True):
            part.mul_(mask[:, : WIDTH // 2 + 1])
        return torch.fft.irfft2(spectrum, s=(HEIGHT, WIDTH), norm="ortho")

    return forward


def transform_macs(real: bool) -> int:
    """Count two Fourier transforms of n pixels, 2.5 n log2 n each and half of that for real input, and the mask."""
    pixels = HEIGHT * WIDTH
    macs = MASK_CHANNELS * (2 * 2.5 * pixels * np.log2(pixels) + 2 * pixels)
    return int(macs / 2 if real else macs)


@dataclass(frozen=True)
class Contestant:
    """A form of a layer, what it runs on, and its multiply-accumulates."""

    forward: Callable[[Tensor], Tensor]
    x: Tensor
    macs: int

    def run(self) -> Tensor:
        """Compute it once."""
        return self.forward(self.x)


def contestants() -> dict[str, Contestant]:
    """Return both layers in our form and in the others."""
    torch.manual_seed(0)
    attention = FrequencySelfAttention(ATTENTION_CHANNELS, k=K, recurrence=RECURRENCE).eval()
    nn.init.ones_(attention.gain)
    nn.init.normal_(attention.out_bias)
    dense, masks = dense_attention(attention), fourier_masks()
    mask = SpectralMask(MASK_CHANNELS, radius=RADIUS, lambdas=LAMBDAS)
    wide, narrow = (torch.randn(1, channels, HEIGHT, WIDTH) for channels in (ATTENTION_CHANNELS, MASK_CHANNELS))
    return {
        "attention": Contestant(attention, wide, macs_of(lambda: attention(wide))),
        "attention, dense": Contestant(dense, wide, macs_of(lambda: dense(wide))),
        "mask": Contestant(mask, narrow, macs_of(lambda: mask(narrow)) + narrow.numel()),
        "mask, fft2": Contestant(complex_filter(masks), narrow, transform_macs(real=False)),
        "mask, rfft2": Contestant(real_filter(masks), narrow, transform_macs(real=True)),
    }


# (operator, our form, the form it is held against)
COMPARISONS = (
    ("attention, against the dense basis", "attention", "attention, dense"),
    ("spectral mask, against fft2 and ifft2", "mask", "mask, fft2"),
    ("spectral mask, against rfft2 and irfft2", "mask", "mask, rfft2"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    forms = contestants()
    with torch.inference_mode():
        outputs = {name: form.run() for name, form in forms.items()}
        stats = measure({name: form.run for name, form in forms.items()}, rounds=arguments.rounds, warmup=5)
    rows = [
        {
            "operator": operator,
            "shape": list(forms[ours].x.shape),
            "threads": arguments.threads,
            "ours_ms": round(stats[ours].median, 3),
            "reference_ms": round(stats[reference].median, 3),
            "times_faster": round(stats[reference].median / stats[ours].median, 2),
            "ours_macs": forms[ours].macs,
            "reference_macs": forms[reference].macs,
            "relative_l2": float((outputs[ours] - outputs[reference]).norm() / outputs[reference].norm()),
        }
        for operator, ours, reference in COMPARISONS
    ]
    header = ["operator", "ours ms", "reference ms", "times faster", "ours MMACs", "reference MMACs"]
    cells = [
        [
            str(row["operator"]),
            *(f"{row[key]:.2f}" for key in ("ours_ms", "reference_ms", "times_faster")),
            *(f"{row[key] / 1e6:.1f}" for key in ("ours_macs", "reference_macs")),
        ]
        for row in rows
    ]
    print(table(header, cells))
    wrong = [row["operator"] for row in rows if not row["relative_l2"] <= MAX_RELATIVE_L2]
    if wrong:
        sys.exit(f"these give other numbers than what they are compared with: {', '.join(map(str, wrong))}")
    save("frequency-cpu", f"python benchmarks/frequency.py --threads {arguments.threads}", rows)


if __name__ == "__main__":
    main()
