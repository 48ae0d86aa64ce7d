"""Checkpoints in every layout, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgefsa.errors import CheckpointError
from edgefsa.models import FrequencySelfAttention, create_model, load_checkpoint
from edgefsa.models.checkpoint import AUXILIARY_PREFIXES

State = dict[str, Tensor]


def small(**options: Any) -> nn.Module:
    return create_model("fsanet-r18", num_classes=3, **options)


def filled(model: nn.Module, seed: int = 7) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value.clone()
        for key, value in model.state_dict().items()
    }


def assert_loaded(model: nn.Module, state: State) -> None:
    actual = model.state_dict()
    assert all(torch.equal(actual[key], value) for key, value in state.items())


def refused(model: nn.Module, source: Any) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, source)
    assert_loaded(model, before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["ccnet", "mmseg"])
def test_wrapped_and_prefixed_files(wrap: Any, prefix: str, form: str, tmp_path: Path) -> None:
    model = small(form=form)
    state = filled(model)
    torch.save(wrap({prefix + key: value for key, value in state.items()}), tmp_path / "weights.pth")
    load_checkpoint(model, tmp_path / "weights.pth")
    assert_loaded(model, state)


def test_safetensors_in_half_precision(tmp_path: Path) -> None:
    model = create_model("fsanet-edge")
    state = filled(model)
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halves, tmp_path / "weights.safetensors")
    load_checkpoint(model, str(tmp_path / "weights.safetensors"))
    assert_loaded(model, {key: value.float() for key, value in halves.items() if value.is_floating_point()})
    assert model.classifier.weight.dtype == torch.float32


def test_backbone_prefixes_come_and_go() -> None:
    ccnet, mmseg = small(form="ccnet"), small(form="mmseg")
    state = filled(ccnet)
    trunk = ("conv", "bn", "layer")
    load_checkpoint(ccnet, {f"backbone.{key}" if key.startswith(trunk) else key: v for key, v in state.items()})
    assert_loaded(ccnet, state)
    state = filled(mmseg)
    load_checkpoint(mmseg, {"module." + key.removeprefix("backbone."): value for key, value in state.items()})
    assert_loaded(mmseg, state)


def test_auxiliary_heads_and_batch_counters_may_be_absent() -> None:
    for form in ("ccnet", "mmseg"):
        model = small(form=form)
        kept = {key: value for key, value in filled(model).items() if not key.startswith(AUXILIARY_PREFIXES)}
        kept = {key: value for key, value in kept.items() if not key.endswith("num_batches_tracked")}
        load_checkpoint(model, kept)
        assert_loaded(model, kept)
    incomplete = filled(small(form="mmseg"))
    del incomplete["auxiliary_head.conv_seg.bias"]
    assert "auxiliary_head.conv_seg.bias" in refused(small(form="mmseg"), incomplete)


def test_spanet_masks_are_left_aside_and_a_backbone_is_taken_out_of_a_network() -> None:
    network = create_model("spanet-s", num_classes=3)
    state = filled(network)
    state["backbone.network.0.0.token_mixer.sps.1.filter"] = torch.rand(1, 56, 56)
    load_checkpoint(network, {"state_dict": state})
    backbone = create_model("spanet-s", features_only=True)
    load_checkpoint(backbone, {"state_dict": state})
    prefix = "backbone."
    inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    assert_loaded(backbone, {key: value for key, value in inner.items() if not key.endswith(".filter")})
    layer = FrequencySelfAttention(16)
    assert "sharp.filter" in refused(layer, filled(layer) | {"sharp.filter": torch.rand(3)})


def test_a_backbone_leaves_neck_and_heads_aside_without_a_prefix_too() -> None:
    state = filled(create_model("spanet-s", num_classes=3))
    bare = {key.removeprefix("backbone."): value for key, value in state.items()}
    assert "decode_head.conv_seg.weight" in bare and any(key.startswith("neck.") for key in bare)
    backbone = create_model("spanet-s", features_only=True)
    load_checkpoint(backbone, bare | {"auxiliary_head.conv_seg.bias": torch.rand(3)})
    assert_loaded(backbone, {key: bare[key] for key in backbone.state_dict()})
    assert "1 left over (surplus.weight)" in refused(backbone, bare | {"surplus.weight": torch.rand(3)})


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone."])
def test_a_tensor_that_is_there_twice(prefix: str) -> None:
    layer = FrequencySelfAttention(16)
    message = refused(small(form="ccnet"), filled(small(form="ccnet")) | {f"{prefix}bn1.bias": torch.rand(64)})
    assert "1 there twice (bn1.bias)" in message and "once" in message
    assert "1 there twice (gamma)" in refused(layer, {f"{prefix}gamma": torch.rand(1)} | filled(layer))


def unusable() -> dict[str, tuple[Tensor, str]]:
    values = torch.rand(1, 16, 1)
    return {
        "complex": (values.to(torch.complex64), "complex64"),
        "sparse": (values.to_sparse(), "not dense"),
        "meta": (values.to("meta"), "without values"),
        "NaN": (values.masked_fill(values > 0, torch.nan), "NaN"),
        "infinite": (torch.cat([values[:, :-1], torch.full((1, 1, 1), -torch.inf)], 1), "infinite"),
        "beyond float32": (values.double() + 1e300, "infinite"),
    }


@pytest.mark.parametrize("kind", list(unusable()))
def test_tensors_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    tensor, reason = unusable()[kind]
    layer = FrequencySelfAttention(16)
    state = filled(layer) | {"out_bias": tensor}
    torch.save(state, tmp_path / "bad.pth")
    for source in (state, tmp_path / "bad.pth"):
        message = refused(layer, source)
        assert "1 not usable (out_bias: " in message and reason in message and "of another shape" not in message


def test_a_counter_that_is_not_finite() -> None:
    message = refused(small(), filled(small()) | {"backbone.stem.1.num_batches_tracked": torch.tensor(torch.nan)})
    assert "backbone.stem.1.num_batches_tracked: NaN" in message


def test_a_layer_alone() -> None:
    layer = FrequencySelfAttention(16)
    state = filled(layer)
    load_checkpoint(layer, state)
    assert_loaded(layer, state)


def test_one_error_lists_all_that_does_not_fit() -> None:
    model = small()
    state = filled(model)
    del state["backbone.layer1.0.conv1.weight"], state["backbone.layer2.0.bn1.bias"]
    state["surplus.weight"] = torch.rand(2)
    state["decode_head.conv_seg.weight"] = torch.rand(19, 128, 1, 1)
    message = refused(model, state)
    for part in (
        "2 missing (backbone.layer1.0.conv1.weight, backbone.layer2.0.bn1.bias)",
        "1 left over (surplus.weight)",
        "1 of another shape (decode_head.conv_seg.weight [19, 128, 1, 1] for [3, 128, 1, 1])",
        "fsanet-r18",
    ):
        assert part in message


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    torch.save(create_model("fsanet-edge").state_dict(), tmp_path / "edge.pth")
    message = refused(small(), tmp_path / "edge.pth")
    assert "edge.pth" in message and "fsanet-r18" in message and "more" in message


def test_damaged_files(tmp_path: Path) -> None:
    model = create_model("fsanet-edge")
    torch.save(filled(model), tmp_path / "good.pth")
    save_file(filled(model), tmp_path / "good.safetensors")
    for name in ("good.pth", "good.safetensors"):
        data = (tmp_path / name).read_bytes()
        for kept in (0, 5, 100, len(data) // 2, len(data) - 10):
            broken = tmp_path / f"broken{Path(name).suffix}"
            broken.write_bytes(data[:kept])
            assert broken.name in refused(model, broken)
    for suffix in (".pth", ".safetensors"):
        (tmp_path / f"text{suffix}").write_text("these are no weights\n" * 20)
        assert f"text{suffix}" in refused(model, tmp_path / f"text{suffix}")
        assert "no such file" in refused(model, tmp_path / f"absent{suffix}")
    assert str(tmp_path) in refused(model, tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, {"state_dict": {}}])
def test_files_without_tensors(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "empty.pth")
    assert "empty.pth" in refused(small(), tmp_path / "empty.pth")
