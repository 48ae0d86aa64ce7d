"""Models by name: their outputs, options, sizes, parameters and costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from edgefsa.data.classes import MAX_CLASSES
from edgefsa.errors import InputError
from edgefsa.models import FrequencySelfAttention, SpectralMask, count_macs, create_model, list_models
from edgefsa.models.costs import count_params, counted
from edgefsa.models.weights import shipped_weights

NAMES = [f"fsanet-{size}" for size in ("edge", "r18", "r34", "r50", "r101")]
NAMES += [f"spanet-{size}" for size in ("edge", "s", "m", "mx", "b", "bx")]


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **options)


def output_shape(model: nn.Module, height: int, width: int) -> list[int]:
    return list(model.eval()(torch.empty(1, 3, height, width, device="meta")).shape)


@pytest.mark.parametrize("name", NAMES)
def test_segmentation_logits(name: str) -> None:
    model = on_meta(name, num_classes=5)
    stride = 8 if name.startswith("fsanet-r") else 4
    assert output_shape(model, 360, 480) == [1, 5, 360 // stride, 480 // stride]
    assert (model.config.name, model.config.num_classes, model.config.size_hw) == (name, 5, (360, 480))
    assert model.config.mean_rgb == (123.675, 116.28, 103.53)


@pytest.mark.parametrize("name", NAMES)
def test_options_build_the_same_model_again(name: str) -> None:
    model = on_meta(name, num_classes=5)
    again = on_meta(name, **model.config.options)
    assert again.config == model.config
    shapes, shapes_again = ({k: v.shape for k, v in item.state_dict().items()} for item in (model, again))
    assert shapes_again == shapes


@pytest.mark.parametrize("form", ["ccnet", "mmseg"])
def test_fsanet_takes_sizes_of_one_more_than_a_multiple_of_eight(form: str) -> None:
    assert output_shape(on_meta("fsanet-r18", form=form), 97, 129) == [1, 11, 13, 17]


@pytest.mark.parametrize("options", [{"form": "ccnet"}, {"form": "mmseg", "mode": "linsoftmax", "recurrence": 2}])
def test_training_gives_auxiliary_logits_and_gradients_everywhere(options: dict[str, Any]) -> None:
    model = create_model("fsanet-r18", num_classes=4, **options)
    for module in model.modules():
        if isinstance(module, FrequencySelfAttention):
            nn.init.ones_(module.gain)
    logits, auxiliary = model.train()(torch.randn(2, 3, 33, 41))
    assert logits.shape == auxiliary.shape
    (logits.square().mean() + auxiliary.square().mean()).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert idle == []
    assert isinstance(model.eval()(torch.randn(1, 3, 33, 41)), torch.Tensor)


def test_spanet_features_and_classifier() -> None:
    features = on_meta("spanet-s", features_only=True)(torch.empty(2, 3, 360, 480, device="meta"))
    shapes = [(2, 64, 90, 120), (2, 128, 45, 60), (2, 320, 23, 30), (2, 512, 12, 15)]
    assert [tuple(item.shape) for item in features] == shapes
    assert output_shape(on_meta("spanet-m", head="classifier"), 224, 224) == [1, 1000]


@pytest.mark.parametrize(("name", "millions"), [("s", 28.7), ("m", 41.8), ("mx", 54.9), ("b", 75.9), ("bx", 99.8)])
def test_spanet_has_the_size_that_its_authors_report(name: str, millions: float) -> None:
    # They count the fixed masks too, about 0.1 to 0.2 million.
    params = count_params(on_meta(f"spanet-{name}", head="classifier"))
    assert millions - 0.25 < params / 1e6 < millions + 0.05


def test_macs_are_what_the_authors_report() -> None:
    assert count_macs(on_meta("spanet-s", head="classifier"), (224, 224)) == pytest.approx(4.6e9, rel=0.02)
    assert count_macs(on_meta("spanet-s", num_classes=150), (512, 512)) == pytest.approx(46e9, rel=0.01)


def test_macs_of_a_convolution_net_by_hand() -> None:
    trunk = on_meta("fsanet-r18")
    total = count_macs(trunk, (64, 64))
    by_hand = 0
    sizes: dict[nn.Module, int] = {}
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, _, y: sizes.__setitem__(m, y.shape[2] * y.shape[3]))
    trunk.eval()(torch.empty(1, 3, 64, 64, device="meta"))
    by_hand = sum(module.weight.numel() * pixels for module, pixels in sizes.items())
    # 8 x 8 tokens at stride 8: the attention's share is transforms of 128 channels and four 1x1 projections.
    attention = 4 * 128 * 8 * 8 * 8 + 64 * 4 * 128 * 64 + 64 * 64 * (64 + 64)
    assert total - by_hand == pytest.approx(attention, rel=0.01)


def test_the_merged_projection_is_the_three_convolutions() -> None:
    mixer = create_model("spanet-s", features_only=True).network[4][0].token_mixer
    x = torch.randn(1, 320, 5, 6)
    weight, bias = mixer.merged_projection()
    separate = sum(conv(part) for conv, part in zip(mixer.pws, x.chunk(3, 1), strict=True))
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, bias), separate)


def test_mask_origin_reaches_every_mask() -> None:
    def bases(**options: Any) -> list[int | None]:
        return [m.base_size for m in on_meta("spanet-s", **options).modules() if isinstance(m, SpectralMask)]

    assert bases(mask_origin="official") == [56] * 4 + [28] * 4 + [14] * 12 + [7] * 4
    assert bases(mask_origin="official", base_image_size=512)[0] == 128
    assert bases() == [None] * 24


def test_models_are_listed_with_their_facts() -> None:
    infos = {info.name: info for info in list_models()}
    assert list(infos) == NAMES
    edge = infos["fsanet-edge"].as_dict()
    assert set(edge) == {"name", "family", "params", "macs", "size_hw", "num_classes", "trained"}
    assert edge["family"] == "fsanet" and edge["size_hw"] == [360, 480] and edge["num_classes"] == 11
    assert edge["trained"] is True and infos["spanet-bx"].as_dict()["trained"] is False
    assert json.loads(json.dumps(edge)) == edge
    assert infos["spanet-bx"].family == "spanet" and infos["spanet-bx"].params > 100_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_facts_are_those_of_the_models(name: str) -> None:
    (recorded,) = (info.as_dict() for info in list_models() if info.name == name)
    assert recorded == {**counted(name), "trained": shipped_weights(on_meta(name).config) is not None}, (
        "record them again: python -m edgefsa.models.costs"
    )


def test_listing_needs_no_torch() -> None:
    code = "import sys, edgefsa; assert edgefsa.list_models() and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("fsanet-huge", {}, "fsanet-huge"),
        ("fsanet-edge", {"depth": 3}, "depth"),
        ("fsanet-edge", {"num_classes": 0}, "num_classes=0"),
        ("fsanet-r18", {"num_classes": 2.5}, "num_classes=2.5"),
        ("fsanet-edge", {"num_classes": True}, "num_classes=True"),
        ("fsanet-edge", {"num_classes": 256}, "num_classes=256"),
        ("fsanet-r18", {"num_classes": 300}, "num_classes=300"),
        ("spanet-s", {"num_classes": 300}, "num_classes=300"),
        ("spanet-s", {"num_classes": 0}, "num_classes=0"),
        ("spanet-s", {"num_classes": "19"}, "num_classes='19'"),
        ("fsanet-edge", {"k": "8888"}, "k='8888'"),
        ("fsanet-edge", {"k": 8.0}, "k=8.0"),
        ("fsanet-edge", {"k": None}, "k=None"),
        ("fsanet-edge", {"k": True}, "k=True"),
        ("fsanet-edge", {"k": [0, "8", 0, 8]}, "k='8'"),
        ("fsanet-edge", {"k": (0, 8, False, 8)}, "k=False"),
        ("fsanet-edge", {"k": (0, 8.0, 0, 8)}, "k=8.0"),
        ("fsanet-edge", {"recurrence": "2"}, "recurrence='2'"),
        ("fsanet-edge", {"recurrence": 1.5}, "recurrence=1.5"),
        ("fsanet-edge", {"recurrence": True}, "recurrence=True"),
        ("fsanet-edge", {"mode": None}, "mode=None"),
        ("fsanet-r18", {"use_scale": "yes"}, "use_scale='yes'"),
        ("fsanet-r18", {"qkv_bias": 1}, "qkv_bias=1"),
        ("spanet-s", {"features_only": "no"}, "features_only='no'"),
        ("spanet-s", {"mask_origin": "official", "base_image_size": "x"}, "base_image_size='x'"),
        ("spanet-s", {"mask_origin": "official", "base_image_size": 224.0}, "base_image_size=224.0"),
        ("fsanet-r18", {"form": "timm"}, "timm"),
        ("spanet-s", {"mask_origin": "centre"}, "centre"),
        ("spanet-s", {"head": "upernet"}, "upernet"),
        ("spanet-s", {"base_image_size": 16}, "base_image_size=16"),
        ("fsanet-edge", {"attention": "full"}, "attention='full'"),
        ("fsanet-edge", {"attention": "nonlocal", "mode": "softmax"}, "mode='softmax'"),
        ("spanet-edge", {"masked": "no"}, "masked='no'"),
        ("spanet-edge", {"num_classes": 256}, "num_classes=256"),
        ("spanet-edge", {"k": 8}, "'k'"),
    ],
)
def test_bad_names_and_options(name: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as caught:
        on_meta(name, **options)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_as_many_classes_as_a_mask_holds_and_more_for_a_classifier() -> None:
    for name in ("fsanet-edge", "fsanet-r18", "spanet-edge", "spanet-s"):
        assert on_meta(name, num_classes=MAX_CLASSES).config.num_classes == MAX_CLASSES == 255
    assert on_meta("spanet-s", head="classifier", num_classes=21841).config.num_classes == 21841


@pytest.mark.parametrize(
    ("given", "recorded"),
    [((0, 6, 0, 6), 6), ([0, -1, 0, -1], -1), ([0, 6, 0, 4], (0, 6, 0, 4)), ((1, 6, 0, 6), (1, 6, 0, 6)), (6, 6)],
)
@pytest.mark.parametrize("name", ["fsanet-edge", "fsanet-r18"])
def test_k_is_recorded_in_one_spelling(name: str, given: Any, recorded: Any) -> None:
    config = on_meta(name, k=given).config
    assert config.options["k"] == recorded
    through_json = on_meta(name, **json.loads(json.dumps(config.options)))
    assert (
        through_json.config == config and attention_of(through_json).band == attention_of(on_meta(name, k=given)).band
    )


def attention_of(model: nn.Module) -> FrequencySelfAttention:
    return next(module for module in model.modules() if isinstance(module, FrequencySelfAttention))


@pytest.mark.parametrize(
    ("name", "size_hw"),
    [("fsanet-edge", (361, 480)), ("fsanet-edge", (0, 480)), ("fsanet-r18", (0, 0)), ("spanet-s", (31, 64))]
    + [("spanet-edge", (31, 64)), ("spanet-edge", (0, 0)), ("fsanet-edge", (64, 100))],
)
def test_sizes_that_a_model_cannot_take(name: str, size_hw: tuple[int, int]) -> None:
    model = on_meta(name)
    named = "{}x{}".format(*size_hw)
    for refuse in (
        lambda: model.config.check_size(size_hw),
        lambda: model.eval()(torch.empty(1, 3, *size_hw, device="meta")),
        lambda: count_macs(model, size_hw),
    ):
        with pytest.raises(InputError, match=named) as caught:
            refuse()
        assert "\n" not in str(caught.value)


def test_an_input_that_is_no_batch_of_rgb() -> None:
    with pytest.raises(InputError, match="takes"):
        on_meta("fsanet-edge")(torch.empty(1, 4, 64, 64, device="meta"))
