"""The shipped weights are the ones that their record describes, and they know a street when they see one."""

from __future__ import annotations

import json

import pytest

from edgefsa.artifacts import sha256_of_file
from edgefsa.data.readers import open_dataset
from edgefsa.models import create_model, load_default_weights
from edgefsa.models.weights import WEIGHTS_DIRECTORY
from edgefsa.train.evaluate import evaluate_model

NAMES = ("fsanet-edge", "spanet-edge")


def shipped_miou(name: str, spec: str, limit: int) -> float:
    model = create_model(name)
    assert load_default_weights(model)["kind"] == "trained"
    return evaluate_model(model.eval(), open_dataset(spec, "val", limit)).miou


@pytest.mark.parametrize("name", NAMES)
def test_the_record_belongs_to_the_file(name: str):
    path = WEIGHTS_DIRECTORY / f"{name}.safetensors"
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == sha256_of_file(path)
    assert record["options"] == create_model(name).config.options
    assert "research use only" in record["notice"]


def test_all_shipped_weights_together_stay_small():
    files = list(WEIGHTS_DIRECTORY.glob("*.safetensors"))
    assert {path.stem for path in files} == set(NAMES)
    assert sum(path.stat().st_size for path in files) < 8e6


@pytest.mark.parametrize(("name", "least"), [("fsanet-edge", 0.65), ("spanet-edge", 0.45)])
def test_synthetic_streets_are_segmented(name: str, least: float):
    assert shipped_miou(name, "synthetic", 6) > least


@pytest.mark.parametrize(("name", "least"), [("fsanet-edge", 0.65), ("spanet-edge", 0.55)])
def test_real_streets_are_segmented(camvid_dir, name: str, least: float):
    assert shipped_miou(name, f"camvid:{camvid_dir}", 8) > least
