"""Every golden case of FsaNet and SPANet: the authors' keys load, and the outputs are the authors'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgefsa.models import FrequencySelfAttention, SpectralMask, create_model, load_checkpoint
from tests.reference import golden

BLOCK_ERROR, NETWORK_ERROR = 1e-5, 1e-4
Index = dict[str, dict[str, Any]]
ATTENTION = ("fsa_dot_square", "fsa_dot_recurrent", "fsa_linsoftmax_square", "fsa_linsoftmax_nonsquare")
MASKS = tuple(f"spf_{kind}_{group}" for kind in ("even", "pad_even", "odd", "r1_odd") for group in ("l7", "l8", "l9"))
CCNET = ("fsanet_r101_ccnet_dot",)
MMSEG = ("fsanet_mmseg_dot", "fsanet_mmseg_lin")
SPANET_FEATURES = ("spanet_s_dense_224", "spanet_s_dense_wide", "spanet_s_dense_odd")
SPANET_CLASSIFIER = ("spanet_s_cls",)


def test_no_case_is_left_out(golden_index: Index) -> None:
    tested = {*ATTENTION, *MASKS, *CCNET, *MMSEG, *SPANET_FEATURES, *SPANET_CLASSIFIER}
    # The second version of SPANet is another network, which edgefsa does not have.
    assert tested == {case for case in golden_index if not case.startswith("spanetv2")}


@pytest.mark.parametrize("case", ATTENTION)
def test_attention_block(case: str, golden_index: Index, shared_dir: Path) -> None:
    settings = golden_index[case]
    layer = FrequencySelfAttention(settings["channels"], basis="official", **attention_options(settings)).eval()
    load_checkpoint(layer, golden.state_dict(shared_dir / "golden", case))
    with torch.no_grad():
        actual = layer(golden.image(settings))
    assert golden.relative_l2(actual, golden.outputs(shared_dir / "golden", case)[0]) <= BLOCK_ERROR


@pytest.mark.parametrize("case", MASKS)
def test_spectral_mask(case: str, golden_index: Index, shared_dir: Path) -> None:
    settings = golden_index[case]
    layer = SpectralMask(
        settings["input_shape"][1],
        radius=settings["radius"],
        lambdas=(settings["lamb"],),
        mask_origin="official",
        base_size=settings["base"],
    )
    actual = layer(golden.image(settings))
    assert golden.relative_l2(actual, golden.outputs(shared_dir / "golden", case)[0]) <= BLOCK_ERROR


@pytest.mark.parametrize("case", CCNET)
def test_fsanet_in_the_ccnet_form(case: str, golden_index: Index, shared_dir: Path) -> None:
    settings = golden_index[case]
    model = fsanet("fsanet-r101", settings, form="ccnet")
    load_checkpoint(model, golden.state_dict(shared_dir / "golden", case))
    with torch.no_grad():
        third, fourth = model.features(golden.image(settings))
        actual = model.head(fourth), model.dsn(third)
    for ours, theirs in zip(actual, golden.outputs(shared_dir / "golden", case), strict=True):
        assert golden.relative_l2(ours, theirs) <= NETWORK_ERROR


@pytest.mark.parametrize("case", MMSEG)
def test_fsanet_in_the_mmseg_form(case: str, golden_index: Index, shared_dir: Path) -> None:
    settings = golden_index[case]
    options = {"use_scale": settings["use_scale"], "qkv_bias": settings["qkv_bias"]}
    model = fsanet("fsanet-r50", settings, form="mmseg", **options)
    load_checkpoint(model, golden.state_dict(shared_dir / "golden", case))
    with torch.no_grad():
        actual = model(golden.image(settings))
    assert golden.relative_l2(actual, golden.outputs(shared_dir / "golden", case)[0]) <= NETWORK_ERROR


@pytest.mark.parametrize("case", SPANET_FEATURES)
def test_spanet_features(case: str, golden_index: Index, shared_dir: Path) -> None:
    settings = golden_index[case]
    model = create_model("spanet-s", features_only=True, mask_origin="official").eval()
    load_checkpoint(model, golden.state_dict(shared_dir / "golden", case))
    with torch.no_grad():
        actual = model(golden.image(settings))
    expected = golden.outputs(shared_dir / "golden", case)
    assert len(actual) == len(expected) == 4
    for index, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        stride = settings["outputs"][f"output_{index}"]["channel_stride"]
        assert golden.relative_l2(ours[:, ::stride], theirs) <= NETWORK_ERROR


@pytest.mark.parametrize("case", SPANET_CLASSIFIER)
def test_spanet_classifier(case: str, golden_index: Index, shared_dir: Path) -> None:
    model = create_model("spanet-s", head="classifier").eval()
    load_checkpoint(model, golden.state_dict(shared_dir / "golden", case))
    with torch.no_grad():
        actual = model(golden.image(golden_index[case]))
    assert golden.relative_l2(actual, golden.outputs(shared_dir / "golden", case)[0]) <= NETWORK_ERROR
    assert np.argmax(actual) == np.argmax(golden.outputs(shared_dir / "golden", case)[0])


def attention_options(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("k", "mode", "recurrence")}


def fsanet(name: str, settings: dict[str, Any], **options: Any) -> torch.nn.Module:
    options |= attention_options(settings) | {"num_classes": settings["num_classes"]}
    return create_model(name, basis="official", **options).eval()
