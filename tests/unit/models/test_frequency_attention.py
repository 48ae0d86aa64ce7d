"""Frequency self-attention against the dense form in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.models import FrequencySelfAttention
from edgefsa.models.bases import dct_bases
from edgefsa.models.costs import macs_of
from tests.reference.dense import AttentionWeights, attention_update, dense_attention, dense_basis
from tests.reference.golden import relative_l2

CHANNELS = 12


def layer_with_weights(seed: int = 0, **options: Any) -> FrequencySelfAttention:
    torch.manual_seed(seed)
    layer = FrequencySelfAttention(CHANNELS, **options).eval()
    for name, value in [*layer.named_parameters(), *layer.named_buffers()]:
        if "num_batches" not in name:
            torch.nn.init.uniform_(value, 0.5, 1.5) if "running_var" in name else torch.nn.init.normal_(value, std=0.5)
    return layer


def random_map(height: int, width: int, count: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(count, CHANNELS, height, width, generator=torch.Generator().manual_seed(seed))


def dense(layer: FrequencySelfAttention, x: Tensor, recurrence: int | None = None) -> Any:
    height, width = x.shape[2:]
    basis = dense_basis(height, width, layer.band, layer.basis == "official")
    operator = layer.operator(height, width)
    weights = AttentionWeights.of(operator.tensors)
    query_scale = operator.attributes["scale"] * height * width
    passes = layer.recurrence if recurrence is None else recurrence
    return dense_attention(x.double().numpy(), basis, weights, layer.mode, passes, query_scale)


@pytest.mark.parametrize("mode", ["dot_product", "linsoftmax"])
@pytest.mark.parametrize("recurrence", [1, 2, 3])
@pytest.mark.parametrize("basis", ["orthonormal", "official"])
@pytest.mark.parametrize("k", [3, (1, 4, 0, 5), 8])
def test_separable_passes_among_coefficients_are_the_dense_form(mode: str, recurrence: int, basis: str, k: Any) -> None:
    options = {"mode": mode, "recurrence": recurrence, "basis": basis, "k": k}
    layer = layer_with_weights(form="mmseg", use_scale=True, qkv_bias=True, **options)
    x = random_map(7, 10)
    with torch.no_grad():
        assert relative_l2(layer(x), dense(layer, x)) < 3e-6


def test_ccnet_parameters_are_the_formula_of_the_paper() -> None:
    layer = layer_with_weights(form="ccnet", k=4)
    x = random_map(9, 6).double()
    basis = torch.from_numpy(dense_basis(9, 6, (0, 4, 0, 4), official=False))
    tokens = x.flatten(2) @ basis
    query, key, value = (
        conv.weight.squeeze(2).double() @ tokens for conv in (layer.query_conv, layer.key_conv, layer.value_conv)
    )
    attended = value @ (key.mT @ query) / 54 @ basis.T + layer.out_bias.double()
    expected = x + layer.gamma.double() * attended.view_as(x)
    with torch.no_grad():
        assert relative_l2(layer(x.float()), expected) < 1e-6
        assert relative_l2(layer.double()(x), expected) < 1e-12


def test_mmseg_norm_is_folded_with_its_shift_in_space() -> None:
    layer = layer_with_weights(form="mmseg", k=4)
    x = random_map(6, 8)
    raw = AttentionWeights.of(
        {**layer.operator(6, 8).tensors, "out_weight": layer.conv_out.conv.weight.squeeze(2).data}
    )
    update = attention_update(x.double().numpy(), dense_basis(6, 8, layer.band, False), raw, layer.mode)
    with torch.no_grad():
        expected = x.double() + layer.conv_out.bn.double()(torch.from_numpy(update).flatten(2)).view(x.shape)
        assert relative_l2(layer.float()(x), expected) < 1e-6


def test_low_frequencies_attend_as_pixels_of_the_low_passed_map_do() -> None:
    # The paper's claim: with an orthonormal basis this is self-attention over all pixels of low-passed features.
    layer = layer_with_weights(form="ccnet", k=3)
    x = random_map(8, 5).double()
    basis = torch.from_numpy(dense_basis(8, 5, (0, 3, 0, 3), official=False))
    pixels = x.flatten(2) @ basis @ basis.T
    query, key, value = (
        conv.weight.squeeze(2).double() @ pixels for conv in (layer.query_conv, layer.key_conv, layer.value_conv)
    )
    attended = value @ (key.mT @ query) / 40 + layer.out_bias.double()
    with torch.no_grad():
        assert relative_l2(layer.double()(x), x + layer.gamma * attended.view_as(x)) < 1e-12


@pytest.mark.parametrize("mode", ["dot_product", "linsoftmax"])
def test_training_normalises_over_the_batch(mode: str) -> None:
    layer = layer_with_weights(form="mmseg", k=4, recurrence=2, mode=mode, qkv_bias=True).train()
    x = random_map(6, 7, count=3)
    tensors = layer.operator(6, 7).tensors | {"out_weight": layer.conv_out.conv.weight.squeeze(2).data}
    tensors = tensors | {"shift": torch.zeros(CHANNELS)}
    norm = torch.nn.BatchNorm1d(CHANNELS).double()
    norm.load_state_dict(layer.conv_out.bn.state_dict())
    expected = x.double().numpy()
    for _ in range(2):
        update = attention_update(expected, dense_basis(6, 7, layer.band, False), AttentionWeights.of(tensors), mode)
        expected = expected + norm(torch.from_numpy(update).flatten(2)).detach().numpy().reshape(x.shape)
    assert relative_l2(layer(x).detach(), expected) < 1e-5
    assert relative_l2(layer.conv_out.bn.running_mean, norm.running_mean) < 1e-5


@pytest.mark.parametrize("mode", ["dot_product", "linsoftmax"])
@pytest.mark.parametrize("form", ["ccnet", "mmseg"])
def test_gradients(mode: str, form: str) -> None:
    layer = layer_with_weights(form=form, mode=mode, k=2, recurrence=2).double()
    x = random_map(3, 4, count=1).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))


def test_a_fresh_layer_changes_nothing_in_either_form() -> None:
    x = random_map(6, 8)
    for form in ("ccnet", "mmseg"):
        layer = FrequencySelfAttention(CHANNELS, form=form).eval()
        assert torch.equal(layer.gain, torch.zeros_like(layer.gain))
        with torch.no_grad():
            assert relative_l2(layer(x), x) < 1e-6


def test_constant_and_zero_maps_stay_finite() -> None:
    layer = layer_with_weights(mode="linsoftmax", recurrence=2)
    for value in (0.0, 3.0):
        assert layer(torch.full((1, CHANNELS, 5, 5), value)).isfinite().all()


def test_autocast_leaves_the_attention_in_float32() -> None:
    layer = layer_with_weights(k=4)
    x = random_map(16, 16).bfloat16()
    with torch.no_grad():
        expected = layer(x.float())
        with torch.autocast("cpu", torch.bfloat16):
            actual = layer(x)
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, expected.bfloat16())


def test_the_operator_describes_the_node() -> None:
    layer = layer_with_weights(form="mmseg", k=(0, 3, 0, 5), recurrence=2, use_scale=True)
    operator = layer.operator(10, 20)
    assert operator.name == "TruncatedDctAttention"
    assert {name: tuple(tensor.shape) for name, tensor in operator.tensors.items()} == {
        "basis_h": (3, 10),
        "basis_w": (5, 20),
        "query_weight": (6, 12),
        "query_bias": (6,),
        "key_weight": (6, 12),
        "key_bias": (6,),
        "value_weight": (6, 12),
        "value_bias": (6,),
        "out_weight": (12, 6),
        "shift": (12,),
    }
    assert operator.attributes == {
        "mode": "dot_product",
        "recurrence": 2,
        "scale": pytest.approx(1 / (200 * np.sqrt(6))),
    }
    assert all(tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in operator.tensors.values())


def test_torch_export_takes_it() -> None:
    for mode in ("dot_product", "linsoftmax"):
        layer = layer_with_weights(mode=mode, recurrence=2)
        x = random_map(9, 12)
        with torch.no_grad():
            assert torch.equal(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_two_passes_share_one_transform() -> None:
    # C = 512, 128 x 256, k = 8: the dense form multiplies HW x 64 twice in each pass.
    def macs(recurrence: int) -> int:
        with torch.device("meta"):
            layer, x = FrequencySelfAttention(512, recurrence=recurrence).eval(), torch.empty(1, 512, 128, 256)
        return macs_of(lambda: layer(x))

    dense_transforms = 2 * 2 * 512 * 128 * 256 * 64
    assert macs(2) < dense_transforms / 10
    assert macs(2) < 1.2 * macs(1)


@pytest.mark.parametrize("size", [(9, 6), (5, 5), (2, 3)])
def test_bases_are_orthonormal_cosines(size: tuple[int, int]) -> None:
    rows, columns = dct_bases(*size, (0, -1, 0, -1), "orthonormal")
    assert rows.shape == (size[0], size[0]) and columns.shape == (size[1], size[1])
    np.testing.assert_allclose(rows @ rows.T, np.eye(size[0]), atol=1e-14)
    np.testing.assert_allclose(columns @ columns.T, np.eye(size[1]), atol=1e-14)
    assert (np.diff(rows[1]) < 0).all()


def test_the_official_column_basis_is_scaled_by_the_height() -> None:
    rows, columns = dct_bases(6, 24, (0, 4, 0, 4), "official")
    np.testing.assert_allclose(np.diag(rows @ rows.T), np.ones(4), atol=1e-14)
    np.testing.assert_allclose(np.diag(columns @ columns.T), [1, 4, 4, 4], atol=1e-13)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"k": (0, 8)}, "k=(0, 8)"),
        ({"k": 0}, "k=0"),
        ({"k": (3, 2, 0, 8)}, "(3, 2, 0, 8)"),
        ({"mode": "gaussian"}, "'gaussian'"),
        ({"basis": "fourier"}, "'fourier'"),
        ({"form": "timm"}, "'timm'"),
        ({"recurrence": 0}, "recurrence=0"),
        ({"recurrence": 2.0}, "recurrence=2.0"),
        ({"k": "8"}, "k='8'"),
        ({"k": (0, 8, 0, -2)}, "k=-2"),
        ({"k": True}, "k=True"),
        ({"form": "mmseg", "use_scale": "yes"}, "use_scale='yes'"),
        ({"form": "mmseg", "qkv_bias": None}, "qkv_bias=None"),
        ({"use_scale": True}, "use_scale"),
    ],
)
def test_bad_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        FrequencySelfAttention(CHANNELS, **options)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_a_band_above_a_small_map() -> None:
    with pytest.raises(InputError, match="side of 3 has no DCT frequency 4"):
        layer_with_weights(k=(4, 8, 0, 8))(random_map(3, 9))
