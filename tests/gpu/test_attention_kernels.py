"""The kernels of the truncated-DCT attention and its steps on a GPU, against the formulas in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.kernels.launchers import FLOAT, HALF, HWC8, INT8, LINEAR
from edgefsa.models import FrequencySelfAttention
from edgefsa.models.bases import band_from, dct_bases
from edgefsa.models.formulas import truncated_dct_attention
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


@dataclass(frozen=True)
class Form:
    """An attention: layout of the parameters, mode, passes and kept frequencies."""

    name: str
    mode: str
    recurrence: int
    k: Any

    def layer(self, channels: int) -> FrequencySelfAttention:
        torch.manual_seed(1)
        layer = FrequencySelfAttention(
            channels, k=self.k, mode=self.mode, recurrence=self.recurrence, form=self.name  # type: ignore[arg-type]
        ).eval()  # fmt: skip
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        return layer


FORMS = [
    Form("ccnet", "dot_product", 1, 8),
    Form("mmseg", "dot_product", 2, (0, 5, 0, 3)),
    Form("mmseg", "linsoftmax", 1, 8),
    Form("ccnet", "dot_product", 1, (0, 9, 0, 16)),
    Form("mmseg", "linsoftmax", 2, (0, 3, 0, 17)),
    Form("ccnet", "dot_product", 2, (0, 32, 0, 32)),
]
# Odd, prime and single sizes.
SMALL = [(1, 16, 32, 48), (3, 19, 17, 23), (2, 65, 8, 1), (1, 3, 1, 40)]
# Of a network; rows in several blocks and a basis that is staged in parts; more rows than a block can hold.
LARGE = [(1, 512, 64, 128), (2, 24, 130, 1048), (2, 256, 900, 16), (1, 8, 70, 4100)]
SHAPES = [*SMALL, *(pytest.param(shape, marks=pytest.mark.large) for shape in LARGE)]


def attended(
    launcher: Launcher, x: Tensor, layout: int, form: Form, offset: int = 0, **scales: float
) -> tuple[Tensor, Tensor]:
    """Run the attention on x, int8 if `scales` are given; return y [N, C, H, W], and the formula's in float64."""
    operator = form.layer(x.shape[1]).operator(*x.shape[2:])
    weights = launcher.weights(operator)
    given = laid_out(x, layout, offset)
    y = unwritten_like(given, offset)
    launcher.run("TruncatedDctAttention", x=given, y=y, **settings_of(x, layout, operator, weights), **scales)
    wide = {name: tensor.double() for name, tensor in weights.items()}
    real = x.double() * scales.get("x_scale", 1.0)
    return plain(y, x.shape[1], layout), truncated_dct_attention(real, **wide, **operator.attributes)


def settings_of(x: Tensor, layout: int, operator: Any, weights: dict[str, Tensor]) -> dict[str, Any]:
    kinds = {torch.float32: FLOAT, torch.float16: HALF, torch.int8: INT8}
    attributes = operator.attributes
    return {
        **{"type": kinds[x.dtype], "format": layout, **dims_of(tuple(x.shape)), **weights},
        **{"kh": weights["basis_h"].shape[0], "kw": weights["basis_w"].shape[0]},
        "query_channels": weights["query_weight"].shape[0],
        "value_channels": weights["value_weight"].shape[0],
        "mode": int(attributes["mode"] == "linsoftmax"),
        **{"recurrence": attributes["recurrence"], "scale": float(attributes["scale"])},
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_attention(launcher: Launcher, shape: tuple[int, ...], kind: int, layout: int, form: Form) -> None:
    y, wanted = attended(launcher, launcher.random_map(shape, kind), layout, form)
    assert relative_l2(y, wanted) < TOLERANCE[kind]


@pytest.mark.parametrize("shape", [(1, 16, 32, 48), (3, 19, 17, 23), (2, 8, 9, 12)], ids=str)
@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_int8(launcher: Launcher, shape: tuple[int, ...], offset: int, form: Form) -> None:
    x, x_scale = launcher.random_map(shape, INT8), 0.02
    _, wanted = attended(launcher, x, LINEAR, form, x_scale=x_scale, y_scale=1.0)
    y_scale = float(wanted.abs().max()) / 150
    y, wanted = attended(launcher, x, LINEAR, form, offset, x_scale=x_scale, y_scale=y_scale)
    assert_rounded(y, wanted, y_scale)


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize("kind", [FLOAT, HALF])
@pytest.mark.parametrize("form", FORMS[:3], ids=str)
def test_maps_at_any_address(launcher: Launcher, kind: int, offset: int, form: Form) -> None:
    y, wanted = attended(launcher, launcher.random_map((2, 16, 17, 48), kind), LINEAR, form, offset)
    assert relative_l2(y, wanted) < TOLERANCE[kind]


def test_channels_last_maps_off_16_bytes_are_refused(launcher: Launcher) -> None:
    with pytest.raises(InputError, match="does not serve"):
        attended(launcher, launcher.random_map((1, 8, 6, 8), HALF), HWC8, FORMS[0], offset=1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "layout"), [*LAYOUTS, (INT8, LINEAR)])
@pytest.mark.parametrize("k", [(8, 8), (5, 16), (32, 32)], ids=str)
def test_the_coefficients(
    launcher: Launcher, shape: tuple[int, ...], kind: int, layout: int, k: tuple[int, int]
) -> None:
    """The first step alone: behind the residual a wrong coefficient can hide."""
    basis_h, basis_w = bases_of(launcher, shape, k)
    x, gain = launcher.random_map(shape, kind), 0.5 if kind == INT8 else 1.0
    kept = len(basis_h) * len(basis_w)
    found = torch.full((*shape[:2], (kept + 4) // 4 * 4), float("nan"), device=launcher.device)
    launcher.run(
        "TruncatedDct", x=laid_out(x, layout), coefficients=found, type=kind, format=layout, **dims_of(shape),
        kh=len(basis_h), kw=len(basis_w), basis_h=basis_h, basis_w=basis_w, x_scale=gain,
    )  # fmt: skip
    wanted = gain * (basis_h.double() @ x.double() @ basis_w.double().mT).flatten(2)
    assert relative_l2(found[..., :kept], wanted) < 1e-5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("k", [(8, 8), (5, 16), (32, 32)], ids=str)
def test_the_inverse(launcher: Launcher, shape: tuple[int, ...], kind: int, layout: int, k: tuple[int, int]) -> None:
    """The last step alone."""
    basis_h, basis_w = bases_of(launcher, shape, k)
    kh, kw = len(basis_h), len(basis_w)
    x, shift = launcher.random_map(shape, kind), torch.randn(shape[1], device=launcher.device)
    change = torch.randn(*shape[:2], (kh * kw + 4) // 4 * 4, device=launcher.device)
    given = laid_out(x, layout)
    y = unwritten_like(given)
    launcher.run(
        "InverseDct", x=given, y=y, change=change, type=kind, format=layout, **dims_of(shape),
        kh=kh, kw=kw, basis_h=basis_h, basis_w=basis_w, shift=shift, shift_gain=2.0,
    )  # fmt: skip
    tokens = change[..., : kh * kw].unflatten(2, (kh, kw)).double()
    added = basis_h.double().mT @ tokens @ basis_w.double()
    wanted = x.double() + added + 2 * shift.double()[:, None, None]
    assert relative_l2(plain(y, shape[1], layout), wanted) < TOLERANCE[kind]


def bases_of(launcher: Launcher, shape: tuple[int, ...], k: tuple[int, int]) -> tuple[Tensor, Tensor]:
    rows, columns = dct_bases(shape[2], shape[3], band_from((0, k[0], 0, k[1])), "orthonormal")
    return (
        torch.from_numpy(rows).to(launcher.device, torch.float32),
        torch.from_numpy(columns).to(launcher.device, torch.float32),
    )


@pytest.mark.graph
@pytest.mark.parametrize(("kind", "layout"), LAYOUTS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_cuda_graph_repeats_the_whole_attention(launcher: Launcher, kind: int, layout: int, form: Form) -> None:
    shape = (2, 16, 70, 48)
    operator = form.layer(shape[1]).operator(*shape[2:])
    weights = launcher.weights(operator)
    x = launcher.random_map(shape, kind)
    given = laid_out(x, layout)
    y = unwritten_like(given)
    values = {"x": given, "y": y, **settings_of(x, layout, operator, weights)}
    assert_repeats(launcher, "TruncatedDctAttention", values, laid_out(2 * x, layout))
