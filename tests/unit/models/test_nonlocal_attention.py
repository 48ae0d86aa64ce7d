"""The full non-local block against its formula among pixels, and against the frequency form with all coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.models import FrequencySelfAttention, NonLocalAttention
from edgefsa.models.costs import macs_of
from tests.reference.golden import relative_l2

CHANNELS = 12
MODES = ("dot_product", "linsoftmax")
FORMS: dict[str, dict[str, Any]] = {
    "ccnet": {"form": "ccnet"},
    "mmseg": {"form": "mmseg"},
    "mmseg scaled": {"form": "mmseg", "use_scale": True},
}


def block_with_weights(seed: int = 0, **options: Any) -> NonLocalAttention:
    torch.manual_seed(seed)
    block = NonLocalAttention(CHANNELS, **options).eval()
    for name, value in [*block.named_parameters(), *block.named_buffers()]:
        if "num_batches" not in name:
            torch.nn.init.uniform_(value, 0.5, 1.5) if "running_var" in name else torch.nn.init.normal_(value, std=0.5)
    return block


def random_map(height: int, width: int, count: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(count, CHANNELS, height, width, generator=torch.Generator().manual_seed(seed))


def by_formula(block: NonLocalAttention, x: Tensor, passes: int, use_scale: bool = False) -> np.ndarray:
    """Each pixel of each map by itself, in float64, from the state dict."""
    state = {name: value.double().numpy() for name, value in block.state_dict().items()}
    ccnet = "gamma" in state
    names = ("query_conv", "key_conv", "value_conv") if ccnet else ("theta.conv", "phi.conv", "g.conv")
    out = []
    for sample in x.double().numpy():
        pixels = sample.reshape(CHANNELS, -1)
        for _ in range(passes):
            query, key, value = (
                state[f"{name}.weight"][:, :, 0] @ pixels + state.get(f"{name}.bias", np.zeros(1))[:, None]
                for name in names
            )
            columns = []
            for q in query.T:
                if block.mode == "dot_product":
                    weights = q @ key / (len(q) ** 0.5 if use_scale else 1) / pixels.shape[1]
                else:
                    weights = 1 + (q @ key) / (np.linalg.norm(q) * np.linalg.norm(key, axis=0))
                    weights = weights / weights.sum()
                columns.append(value @ weights)
            attended = np.stack(columns, 1)
            if ccnet:
                pixels = pixels + state["gamma"] * (attended + state["out_bias"][0])
            else:
                made = state["conv_out.conv.weight"][:, :, 0] @ attended
                mean, variance, gain, shift = (
                    state[f"conv_out.bn.{name}"][:, None] for name in ("running_mean", "running_var", "weight", "bias")
                )
                pixels = pixels + (made - mean) / np.sqrt(variance + 1e-5) * gain + shift
        out.append(pixels.reshape(sample.shape))
    return np.stack(out)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recurrence", [1, 3])
@pytest.mark.parametrize("options", [*FORMS.values(), {"form": "mmseg", "qkv_bias": True}], ids=str)
def test_every_pixel_attends_to_every_pixel(mode: str, recurrence: int, options: dict[str, Any]) -> None:
    block = block_with_weights(mode=mode, recurrence=recurrence, **options)
    x = random_map(5, 7)
    expected = by_formula(block, x, recurrence, options.get("use_scale", False))
    with torch.no_grad():
        assert relative_l2(block(x), expected) < 3e-6
        assert relative_l2(block.double()(x.double()), expected) < 1e-12


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("recurrence", [1, 3])
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("k", [-1, (0, 6, 0, 9)])
def test_the_frequency_form_with_all_coefficients_is_the_block(
    mode: str, recurrence: int, options: dict[str, Any], k: Any
) -> None:
    block = block_with_weights(mode=mode, recurrence=recurrence, **options).double()
    layer = FrequencySelfAttention(CHANNELS, mode=mode, recurrence=recurrence, k=k, **options).double().eval()
    layer.load_state_dict(block.state_dict())
    x = random_map(6, 9).double()
    with torch.no_grad():
        assert relative_l2(layer(x), block(x)) < 1e-12
        assert relative_l2(block(x), x) > 0.1


@pytest.mark.parametrize("mode", MODES)
def test_in_training_the_two_normalise_alike_over_the_batch(mode: str) -> None:
    block = block_with_weights(form="mmseg", mode=mode, recurrence=2).double().train()
    layer = FrequencySelfAttention(CHANNELS, form="mmseg", mode=mode, recurrence=2, k=-1).double().train()
    layer.load_state_dict(block.state_dict())
    x = random_map(4, 5, count=3).double()
    assert relative_l2(layer(x).detach(), block(x).detach()) < 1e-11
    assert relative_l2(layer.conv_out.bn.running_var, block.conv_out.bn.running_var) < 1e-11
    assert block.conv_out.bn.num_batches_tracked == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_gradients(mode: str, options: dict[str, Any]) -> None:
    block = block_with_weights(mode=mode, recurrence=2, **options).double()
    x = random_map(3, 4, count=1).double().requires_grad_()
    assert torch.autograd.gradcheck(block, (x,))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["ccnet", "mmseg"])
def test_it_computes_in_float32_at_least(mode: str, form: str) -> None:
    block = block_with_weights(mode=mode, form=form)
    x = random_map(16, 16).bfloat16()
    with torch.no_grad():
        expected = block(x.float()).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(block(x), expected)
        # Stored in 16 bits it rounds its weights and nothing else.
        narrow = block.bfloat16()
        rounded = narrow(x)
        assert rounded.dtype == torch.bfloat16
        assert torch.equal(rounded, narrow.float()(x.float()).bfloat16())


def test_a_fresh_block_changes_nothing_and_constant_maps_stay_finite() -> None:
    x = random_map(4, 6)
    for form in ("ccnet", "mmseg"):
        fresh = NonLocalAttention(CHANNELS, form=form).eval()
        assert not fresh.gain.any()
        with torch.no_grad():
            assert relative_l2(fresh(x), x) < 1e-6
    block = block_with_weights(mode="linsoftmax", recurrence=2)
    for value in (0.0, 3.0):
        assert block(torch.full((1, CHANNELS, 5, 5), value)).isfinite().all()


@pytest.mark.parametrize("options", [{}, {"form": "mmseg"}, {"form": "mmseg", "qkv_bias": True}], ids=str)
def test_names_and_shapes_are_those_of_the_frequency_form(options: dict[str, Any]) -> None:
    block, layer = (kind(16, **options).state_dict() for kind in (NonLocalAttention, FrequencySelfAttention))
    assert [(name, value.shape) for name, value in block.items()] == [(n, v.shape) for n, v in layer.items()]
    assert ("theta.conv.weight" in block) == (options != {}) and ("g.conv.bias" in block) == ("qkv_bias" in options)


def test_its_cost_grows_with_the_square_of_the_pixels() -> None:
    def macs(height: int, width: int) -> int:
        with torch.device("meta"):
            block, x = NonLocalAttention(64).eval(), torch.empty(1, 64, height, width)
        return macs_of(lambda: block(x))

    pixels = 20 * 30
    assert macs(20, 30) == pixels * 64 * (8 + 8 + 64) + pixels**2 * (8 + 64)
    assert macs(40, 60) > 14 * macs(20, 30)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mode": "gaussian"}, "mode='gaussian'"),
        ({"form": "timm"}, "form='timm'"),
        ({"recurrence": 0}, "recurrence=0"),
        ({"use_scale": True}, "use_scale"),
        ({"form": "mmseg", "qkv_bias": 1}, "qkv_bias=1"),
    ],
)
def test_bad_options(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        NonLocalAttention(CHANNELS, **options)
    assert named in str(caught.value) and "\n" not in str(caught.value)
