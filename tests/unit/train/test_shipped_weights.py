"""The shipped weights are the ones that their record describes, and they know a street when they see one."""

from __future__ import annotations

import json

from edgefsa.artifacts import sha256_of_file
from edgefsa.data.readers import open_dataset
from edgefsa.models import create_model, load_default_weights
from edgefsa.models.weights import WEIGHTS_DIRECTORY
from edgefsa.train.evaluate import evaluate_model

NAME = "fsanet-edge"


def shipped_miou(spec: str, limit: int) -> float:
    model = create_model(NAME)
    assert load_default_weights(model)["kind"] == "trained"
    return evaluate_model(model.eval(), open_dataset(spec, "val", limit)).miou


def test_the_record_belongs_to_the_file():
    path = WEIGHTS_DIRECTORY / f"{NAME}.safetensors"
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == sha256_of_file(path)
    assert record["options"] == create_model(NAME).config.options
    assert "research use only" in record["notice"]
    assert path.stat().st_size < 8e6


def test_synthetic_streets_are_segmented():
    assert shipped_miou("synthetic", 6) > 0.6


def test_real_streets_are_segmented(camvid_dir):
    assert shipped_miou(f"camvid:{camvid_dir}", 8) > 0.55
