"""The two small networks: sizes, training, options, names, costs and checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgefsa.models import NonLocalAttention, count_macs, create_model, load_checkpoint
from edgefsa.models.checkpoint import AUXILIARY_PREFIXES
from edgefsa.models.costs import count_params
from edgefsa.models.frequency import FrequencySelfAttention, SpectralMask
from edgefsa.models.spanet_edge import CHANNELS, DEPTHS

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("fsanet-edge", {}),
    ("fsanet-edge", {"attention": "nonlocal"}),
    ("fsanet-edge", {"attention": "none"}),
    ("spanet-edge", {}),
    ("spanet-edge", {"masked": False}),
]
ODD_SIZES = [(32, 32), (33, 47), (41, 64), (63, 97), (129, 35)]


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


def with_gains(name: str, **options: Any) -> nn.Module:
    """Random weights, and a frequency or non-local block that adds something."""
    torch.manual_seed(0)
    model = create_model(name, **options)
    for module in model.modules():
        if isinstance(module, (FrequencySelfAttention, NonLocalAttention)):
            nn.init.ones_(module.gain)
    return model


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_smallest_size_that_is_accepted_is_computed(name: str, options: dict[str, Any]) -> None:
    model = with_gains(name, num_classes=3, **options).eval()
    small, step = model.config.size_min, model.config.size_multiple
    for height, width in ((small, small), (small, small + 3 * step)):
        logits = model(torch.randn(2, 3, height, width))
        assert logits.shape == (2, 3, -(-height // 4), -(-width // 4)) and logits.isfinite().all()


@pytest.mark.parametrize("size_hw", ODD_SIZES)
@pytest.mark.parametrize("masked", [True, False])
def test_spanet_edge_takes_odd_sizes(size_hw: tuple[int, int], masked: bool) -> None:
    model = with_gains("spanet-edge", num_classes=3, masked=masked).eval()
    x = torch.randn(1, 3, *size_hw)
    with torch.no_grad():
        logits = model(x)
        assert logits.shape == (1, 3, -(-size_hw[0] // 4), -(-size_hw[1] // 4))
        # Each pixel reaches the logits: none is cut off at an odd edge.
        changed = x.clone()
        changed[..., -1, -1] += 10
        assert (model(changed) - logits)[..., -1, -1].abs().max() > 0


@pytest.mark.parametrize("size_hw", [(8, 8), (24, 40), (72, 104), (360, 488)])
def test_fsanet_edge_takes_multiples_of_eight(size_hw: tuple[int, int]) -> None:
    for attention in ("frequency", "nonlocal", "none"):
        image = torch.empty(1, 3, *size_hw, device="meta")
        assert on_meta("fsanet-edge", attention=attention).eval()(image).shape[2:] == (size_hw[0] // 4, size_hw[1] // 4)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_training_gives_auxiliary_logits_and_gradients_everywhere(name: str, options: dict[str, Any]) -> None:
    model = with_gains(name, num_classes=4, **options).train()
    logits, auxiliary = model(torch.randn(2, 3, 64, 72))
    assert logits.shape == (2, 4, 16, 18) and auxiliary.shape == (2, 4, 4, 5)
    (logits.square().mean() + auxiliary.square().mean()).backward()
    idle = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []
    assert isinstance(model.eval()(torch.randn(1, 3, 64, 72)), torch.Tensor)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_training_in_bfloat16(name: str, options: dict[str, Any]) -> None:
    model = create_model(name, num_classes=4, **options).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits, auxiliary = model(torch.randn(2, 3, 64, 72))
    assert logits.dtype == torch.bfloat16
    (logits.float().square().mean() + auxiliary.float().square().mean()).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.parameters())
    for module in model.modules():
        if isinstance(module, (FrequencySelfAttention, NonLocalAttention)):
            assert module.gamma.grad.abs() > 0


def test_options_of_fsanet_edge_change_the_block_and_nothing_else() -> None:
    models = {kind: on_meta("fsanet-edge", attention=kind) for kind in ("frequency", "nonlocal", "none")}
    shapes = {kind: {key: value.shape for key, value in model.state_dict().items()} for kind, model in models.items()}
    assert shapes["nonlocal"] == shapes["frequency"]
    block = {key for key in shapes["frequency"] if key.startswith("attention.")}
    assert block == {
        *("attention.out_bias", "attention.gamma"),
        *(f"attention.{part}_conv.weight" for part in ("query", "key", "value")),
    }
    assert shapes["none"] == {key: shape for key, shape in shapes["frequency"].items() if key not in block}
    for kind, model in models.items():
        assert model.config.options["attention"] == kind
        assert on_meta("fsanet-edge", **model.config.options).config == model.config


def test_spanet_edge_without_masks_has_the_same_parameters() -> None:
    plain, masked = (on_meta("spanet-edge", masked=flag) for flag in (False, True))
    assert [(k, v.shape) for k, v in plain.state_dict().items()] == [
        (k, v.shape) for k, v in masked.state_dict().items()
    ]
    masks = [module for module in masked.modules() if isinstance(module, SpectralMask)]
    assert [mask.channels for mask in masks] == [64] * 2 + [128] * 4 + [144] * 2
    assert [mask.radius for mask in masks] == [2] * 2 + [1] * 6
    assert not any(isinstance(module, SpectralMask) for module in plain.modules())
    assert (plain.config.options["masked"], masked.config.options["masked"]) == (False, True)


def test_names_that_checkpoints_have() -> None:
    expected = {
        "fsanet-edge": "stem layer1 layer2 layer3 layer4 reduce attention fuse narrow refine classifier auxiliary_head",
        "spanet-edge": "stem layer1 stages neck decode_head auxiliary_head",
    }
    for name, parts in expected.items():
        assert [child for child, _ in on_meta(name).named_children()] == parts.split()
    shapes = {key: tuple(value.shape) for key, value in on_meta("spanet-edge").state_dict().items()}
    block = "stages.1.3"
    assert {key.removeprefix(f"{block}."): shape for key, shape in shapes.items() if key.startswith(f"{block}.")} == {
        **{f"norm1.{part}": (128,) for part in ("weight", "bias", "running_mean", "running_var")},
        **{f"token_mixer.{part}.weight": (128, 128, 1, 1) for part in ("proj_in", "proj_out")},
        **{f"token_mixer.{part}.bias": (128,) for part in ("proj_in", "proj_out", "conv.0", "conv.1")},
        **{f"token_mixer.pws.{index}.bias": (128,) for index in range(3)},
        **{f"token_mixer.pws.{index}.weight": (128, width, 1, 1) for index, width in enumerate((43, 43, 42))},
        **{"token_mixer.conv.0.weight": (128, 1, 1, 7), "token_mixer.conv.1.weight": (128, 1, 7, 1)},
        **{"mlp.0.weight": (384, 128, 1, 1), "mlp.3.weight": (128, 384, 1, 1)},
        **{f"mlp.1.{part}": (384,) for part in ("weight", "bias", "running_mean", "running_var")},
        **{f"mlp.4.{part}": (128,) for part in ("weight", "bias", "running_mean", "running_var")},
        **dict.fromkeys(("norm1.num_batches_tracked", "mlp.1.num_batches_tracked", "mlp.4.num_batches_tracked"), ()),
    }


def test_both_networks_fit_in_eight_megabytes_of_halves() -> None:
    models = [on_meta(name) for name in ("fsanet-edge", "spanet-edge")]
    assert sum(2 * count_params(model) for model in models) < 8_000_000
    for model in models:
        assert count_params(model) < sum(value.numel() for value in model.parameters())


def test_macs_of_the_blocks_by_hand() -> None:
    size_hw, (height, width), channels, narrow, k = (360, 480), (23, 30), 96, 12, 8
    without, frequency, full = (
        count_macs(on_meta("fsanet-edge", attention=kind), size_hw) for kind in ("none", "frequency", "nonlocal")
    )
    pixels, tokens = height * width, k * k
    projections = channels * (narrow + narrow + channels)
    assert full - without == pixels * projections + pixels**2 * (narrow + channels)
    transforms = (2 * height * width * k + (height + width) * k * k) * channels
    attended = tokens * projections + tokens**2 * (narrow + channels) + tokens * channels**2
    assert frequency - without == transforms + attended
    assert frequency - without < (full - without) / 10


def test_macs_of_the_masks_are_a_hundredth_of_the_network() -> None:
    masked, plain = (count_macs(on_meta("spanet-edge", masked=flag), (360, 480)) for flag in (True, False))
    assert 0 < masked - plain < plain / 100
    # A block has three 1x1 convolutions of C to C and two between C and 3 C.
    pointwise = sum(
        depth * (-(-360 // stride) * -(-480 // stride)) * width**2 * 9
        for depth, width, stride in zip(DEPTHS[1:], CHANNELS[1:], (8, 16, 32), strict=True)
    )
    assert pointwise < plain < 4 * pointwise


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_checkpoint_without_the_auxiliary_head(name: str, options: dict[str, Any]) -> None:
    trained, model = with_gains(name, **options).eval(), create_model(name, **options).eval()
    state = trained.state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith(AUXILIARY_PREFIXES)}
    assert len(kept) < len(state)
    load_checkpoint(model, kept)
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(x), trained(x))


def test_a_trained_non_local_checkpoint_loads_into_the_frequency_form() -> None:
    full, frequency = with_gains("fsanet-edge", attention="nonlocal"), create_model("fsanet-edge", k=4)
    load_checkpoint(frequency, full.state_dict())
    assert torch.equal(frequency.attention.value_conv.weight, full.attention.value_conv.weight)
