"""The kernels of the spectral mask and of upsampling with argmax on a GPU, against float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.kernels.launchers import FLOAT, HALF, HWC8, INDEX_HALF, INDEX_INT32, INDEX_UINT8, INT8, LINEAR
from edgefsa.models import SpectralMask
from edgefsa.models.formulas import spectral_mask
from tests.gpu.launching import (
    LAYOUTS,
    TOLERANCE,
    Launcher,
    assert_repeats,
    assert_rounded,
    dims_of,
    laid_out,
    plain,
    relative_l2,
    unwritten_like,
)

SMALL = [(1, 16, 32, 48), (3, 19, 17, 23), (2, 65, 8, 1), (1, 3, 1, 40), (1, 2, 70, 600)]
# Of networks, and planes beyond the shared memory of any GPU, which take two passes.
LARGE = [(1, 512, 64, 128), (2, 64, 256, 512), (1, 9, 900, 1040)]
SHAPES = [*SMALL, *(pytest.param(shape, marks=pytest.mark.large) for shape in LARGE)]
KINDS = {torch.float32: FLOAT, torch.float16: HALF, torch.int8: INT8}


def masked(
    launcher: Launcher, x: Tensor, layout: int, radius: int, offset: int = 0, **scales: float
) -> tuple[Tensor, Tensor]:
    """Run the spectral mask on x, int8 if `scales` are given; return y [N, C, H, W], and the formula's in float64."""
    weights = launcher.weights(SpectralMask(x.shape[1], radius=radius).operator(*x.shape[2:]))
    given = laid_out(x, layout, offset)
    y = unwritten_like(given, offset)
    launcher.run("SpectralMask", x=given, y=y, **mask_settings(x, layout, weights), **scales)
    wide = {name: tensor.double() for name, tensor in weights.items()}
    return plain(y, x.shape[1], layout), spectral_mask(x.double() * scales.get("x_scale", 1.0), **wide)


def mask_settings(x: Tensor, layout: int, weights: dict[str, Tensor]) -> dict[str, object]:
    modes = {"modes_h": weights["basis_h"].shape[1], "modes_w": weights["basis_w"].shape[1]}
    return {"type": KINDS[x.dtype], "format": layout, **dims_of(tuple(x.shape)), **modes, **weights}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("radius", [1, 2])
def test_the_spectral_mask(launcher: Launcher, shape: tuple[int, ...], kind: int, layout: int, radius: int) -> None:
    y, wanted = masked(launcher, launcher.random_map(shape, kind), layout, radius)
    assert relative_l2(y, wanted) < TOLERANCE[kind]


@pytest.mark.parametrize(
    "shape", [(1, 16, 32, 48), (3, 19, 17, 23), pytest.param((1, 2, 512, 1024), marks=pytest.mark.large)], ids=str
)
@pytest.mark.parametrize("offset", [0, 1, 8])
def test_the_spectral_mask_in_int8(launcher: Launcher, shape: tuple[int, ...], offset: int) -> None:
    x_scale, y_scale = 0.03, 0.008
    x = launcher.random_map(shape, INT8)
    y, wanted = masked(launcher, x, LINEAR, 2, offset, x_scale=x_scale, y_scale=y_scale)
    assert_rounded(y, wanted, y_scale)


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize("kind", [FLOAT, HALF])
def test_masked_maps_at_any_address(launcher: Launcher, kind: int, offset: int) -> None:
    y, wanted = masked(launcher, launcher.random_map((2, 5, 17, 48), kind), LINEAR, 2, offset)
    assert relative_l2(y, wanted) < TOLERANCE[kind]


def test_channels_last_maps_off_16_bytes_are_refused(launcher: Launcher) -> None:
    with pytest.raises(InputError, match="does not serve"):
        masked(launcher, launcher.random_map((1, 8, 6, 8), HALF), HWC8, 1, offset=1)


@pytest.mark.graph
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
def test_a_cuda_graph_repeats_the_mask(launcher: Launcher, kind: int, layout: int) -> None:
    x = launcher.random_map((2, 16, 32, 48), kind)
    weights = launcher.weights(SpectralMask(16).operator(32, 48))
    given = laid_out(x, layout)
    y = unwritten_like(given)
    values = {"x": given, "y": y, **mask_settings(x, layout, weights)}
    assert_repeats(launcher, "SpectralMask", values, laid_out(2 * x, layout))


INDICES = {INDEX_INT32: torch.int32, INDEX_UINT8: torch.uint8, INDEX_HALF: torch.float16}
UPSAMPLINGS = [
    ((2, 19, 8, 12), (32, 48)),
    ((1, 2, 5, 7), (9, 30)),
    ((3, 65, 1, 3), (4, 3)),
    ((1, 11, 9, 35), (23, 71)),
    ((1, 255, 2, 3), (6, 7)),
    ((1, 6, 16, 34), (5, 11)),
    pytest.param((2, 19, 64, 128), (512, 1024), marks=pytest.mark.large),
]


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("smooth", [False, True], ids=["noise", "regions"])
@pytest.mark.parametrize(("shape", "size"), UPSAMPLINGS, ids=str)
def test_the_largest_class(
    launcher: Launcher, shape: tuple[int, ...], size: tuple[int, int], kind: int, layout: int, index: int, smooth: bool
) -> None:
    logits = launcher.random_map(shape, kind)
    if smooth:  # one class owns most cells, as in a segmentation
        logits[:, 1] += 20 * (torch.arange(shape[3], device=launcher.device) // 4 % 2)
    y = torch.full((shape[0], *size), 255, dtype=INDICES[index], device=launcher.device)
    launcher.run(
        "UpsampleArgmax", x=laid_out(logits, layout), y=y, index_type=index, type=kind, format=layout, batch=shape[0],
        classes=shape[1], low_height=shape[2], low_width=shape[3], height=size[0], width=size[1],
    )  # fmt: skip
    large = torch.nn.functional.interpolate(logits.double(), size, mode="bilinear")
    chosen = large.gather(1, y.long()[:, None])[:, 0]
    # Where two classes are equal to rounding, either is right.
    assert float((large.amax(1) - chosen).max()) < 1e-5 * max(1.0, float(logits.abs().max()))
    assert float((y == large.argmax(1)).double().mean()) > 0.999
