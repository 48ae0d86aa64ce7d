"""The spectral mask against the Fourier transform in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgefsa.errors import InputError
from edgefsa.models import SpectralMask
from edgefsa.models.bases import disc_bases
from edgefsa.models.costs import macs_of
from tests.reference.dense import fourier_mask
from tests.reference.golden import relative_l2

LAMBDAS = (0.7, 0.8, 0.9)


def compare(height: int, width: int, radius: int, base_size: int | None, channels: int = 7) -> float:
    origin = "feature" if base_size is None else "official"
    layer = SpectralMask(channels, radius=radius, lambdas=LAMBDAS, mask_origin=origin, base_size=base_size)
    x = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    groups = [len(part) for part in torch.empty(channels).chunk(3)]
    lambdas = np.repeat(LAMBDAS[: len(groups)], groups)
    return relative_l2(layer(x), fourier_mask(x.numpy(), radius, lambdas, base_size))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (4, 5), (5, 4), (6, 6), (9, 14), (45, 60)])
@pytest.mark.parametrize("radius", [0, 1, 2, 3])
def test_a_few_modes_do_what_the_transform_does(size: tuple[int, int], radius: int) -> None:
    assert compare(*size, radius, base_size=None) < 1e-13


@pytest.mark.parametrize("size", [(14, 14), (15, 14), (14, 17), (23, 31), (9, 12), (11, 13), (40, 7)])
@pytest.mark.parametrize("base_size", [14, 7])
@pytest.mark.parametrize("radius", [1, 2])
def test_a_padded_or_cropped_mask_too(size: tuple[int, int], base_size: int, radius: int) -> None:
    assert compare(*size, radius, base_size) < 1e-13


def test_an_odd_difference_moves_the_official_mask() -> None:
    x = torch.randn(1, 6, 45, 60, generator=torch.Generator().manual_seed(3))
    official = SpectralMask(6, mask_origin="official", base_size=28)(x)
    assert relative_l2(official, SpectralMask(6)(x)) > 1e-2


def test_float32_is_as_good_as_float32_can_be() -> None:
    x = torch.randn(1, 6, 64, 96, generator=torch.Generator().manual_seed(3))
    layer = SpectralMask(6)
    assert relative_l2(layer(x), layer(x.double())) < 5e-7
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, layer(x.bfloat16().float()).bfloat16())


@pytest.mark.parametrize(("channels", "groups"), [(64, [22, 22, 20]), (320, [107, 107, 106]), (4, [2, 2])])
def test_channels_are_split_as_torch_chunk_does(channels: int, groups: list[int]) -> None:
    gain = SpectralMask(channels).operator(8, 8).tensors["gain"]
    expected = torch.cat([torch.full((count,), value) for count, value in zip(groups, LAMBDAS, strict=False)])
    assert torch.equal(gain, expected)


def test_the_operator_is_small_and_separable() -> None:
    operator = SpectralMask(8, radius=2).operator(45, 60)
    assert operator.name == "SpectralMask" and operator.attributes == {}
    assert {name: tuple(tensor.shape) for name, tensor in operator.tensors.items()} == {
        "gain": (8,),
        "basis_h": (45, 5),
        "basis_w": (60, 5),
        "coupling_gain": (25, 25),
        "coupling_base": (25, 25),
    }
    modes = disc_bases(45, 60, 2)
    assert np.trace(modes.inside) == pytest.approx(9) and np.trace(modes.edge) == pytest.approx(4)
    np.testing.assert_allclose(modes.basis_h.T @ modes.basis_h, np.eye(5), atol=1e-14)


def test_it_costs_far_less_than_a_transform() -> None:
    channels, height, width = 64, 128, 256
    x = torch.empty(1, channels, height, width, device="meta")
    macs = macs_of(lambda: SpectralMask(channels)(x))
    # Each way along the columns of all pixels and then along the rows of five, or the other way round.
    by_hand = channels * (2 * 5 * height * width + 5 * 5 * (height + width) + 2 * 25 * 25)
    assert macs == by_hand
    assert macs < 0.1 * 2 * 2 * 2.5 * channels * height * width * np.log2(height * width)


def test_gradients_and_export() -> None:
    layer = SpectralMask(3)
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    y = x.detach().float()
    assert torch.equal(torch.export.export(layer, (y,)).module()(y), layer(y))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mask_origin": "official"}, "base_size"),
        ({"base_size": 56}, "base_size"),
        ({"mask_origin": "centre"}, "'centre'"),
        ({"radius": -1}, "radius=-1"),
        ({"radius": 1.5}, "radius=1.5"),
        ({"radius": True}, "radius=True"),
        ({"mask_origin": "official", "base_size": 56.0}, "base_size=56.0"),
        ({"mask_origin": "official", "base_size": 0}, "base_size=0"),
    ],
)
def test_bad_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        SpectralMask(6, **options)
    assert named in str(caught.value) and "\n" not in str(caught.value)
