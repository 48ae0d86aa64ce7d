"""The weights of a model without a checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgefsa.artifacts import sha256_of_file
from edgefsa.models import create_model, load_default_weights, weights


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(weights, "WEIGHTS_DIRECTORY", tmp_path)
    return tmp_path


def test_shipped_weights_are_loaded_for_the_default_options(shipped: Path) -> None:
    state = {key: torch.full_like(value, 2) for key, value in create_model("fsanet-edge").state_dict().items()}
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_file(halves, shipped / "fsanet-edge.safetensors")
    model = create_model("fsanet-edge")
    info = load_default_weights(model)
    assert info["kind"] == "trained" and info["source"] == "fsanet-edge.safetensors"
    assert info["sha256"] == sha256_of_file(shipped / "fsanet-edge.safetensors")
    assert (model.classifier.weight == 2).all()
    for k in ((0, 8, 0, 8), [0, 8, 0, 8]):
        assert load_default_weights(create_model("fsanet-edge", k=k))["kind"] == "trained"
    assert load_default_weights(create_model("fsanet-edge", k=(0, 8, 0, 7)))["kind"] == "random"
    assert load_default_weights(create_model("fsanet-edge", num_classes=19))["kind"] == "random"
    assert load_default_weights(create_model("fsanet-edge", recurrence=2))["kind"] == "random"
    assert load_default_weights(create_model("fsanet-edge", attention="nonlocal"))["kind"] == "random"
    assert load_default_weights(create_model("spanet-edge"))["kind"] == "random"


@pytest.mark.parametrize(
    ("name", "options"), [("fsanet-edge", {}), ("spanet-edge", {}), ("spanet-edge", {"masked": False})]
)
def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone(
    name: str, options: dict[str, Any], shipped: Path
) -> None:
    infos, models = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = create_model(name, **options)
        state = torch.get_rng_state()
        infos.append(load_default_weights(model))
        assert torch.equal(torch.get_rng_state(), state)
        models.append(model.state_dict())
    assert infos[0] == infos[1] and infos[0]["kind"] == "random" and len(infos[0]["sha256"]) == 64
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_random_weights_leave_no_part_idle(shipped: Path) -> None:
    for form in ("ccnet", "mmseg"):
        model = create_model("fsanet-r18", form=form).eval()
        load_default_weights(model)
        attention = model.head.fsa if form == "ccnet" else model.decode_head.nl_block
        x = torch.rand(1, 128, 12, 15)
        assert (attention(x) - x).abs().max() > 1e-4
    full = create_model("fsanet-edge", attention="nonlocal")
    load_default_weights(full)
    assert (full.attention.gamma == 1).all()


def test_what_is_shipped_fits_and_is_small_and_has_its_record() -> None:
    paths = sorted(weights.WEIGHTS_DIRECTORY.glob("*.safetensors"))
    assert [path.stem for path in paths] == [path.stem for path in sorted(weights.WEIGHTS_DIRECTORY.glob("*.json"))]
    assert "fsanet-edge" in [path.stem for path in paths]
    for path in paths:
        model = create_model(path.stem)
        info = load_default_weights(model)
        record = json.loads(path.with_suffix(".json").read_text())
        assert record["sha256"] == info["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (record["model"], record["options"]) == (path.stem, model.config.options)
        assert info["kind"] == "trained" and path.stat().st_size <= 8_000_000
        assert all(value.isfinite().all() for value in model.state_dict().values())
