"""A run's weights take the place of the shipped ones, with how they came about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgefsa.artifacts import sha256_of_file
from edgefsa.errors import InputError
from edgefsa.models.weights import WEIGHTS_DIRECTORY

NAME = "spanet-edge"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of the shipped weights and their record."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(WEIGHTS_DIRECTORY / f"{NAME}{suffix}", tmp_path)
    return tmp_path


@pytest.fixture
def run_folder(shipped: Path) -> Path:
    """A run that began with them: other values, an auxiliary head more, and its record."""
    folder = shipped / "run"
    folder.mkdir()
    tensors = {name: value + 1 for name, value in load_file(shipped / f"{NAME}.safetensors").items()}
    save_file({**tensors, "auxiliary.weight": torch.ones(3)}, folder / "weights.safetensors", {"edgefsa": "{}"})
    record = json.loads((shipped / f"{NAME}.json").read_text())
    settings = {name: value for name, value in record["recipe"].items() if not name.endswith("stage")}
    settings |= {"initial weights": sha256_of_file(shipped / f"{NAME}.safetensors"), "learning rate": 0.001}
    record |= {"recipe": settings, "sha256": sha256_of_file(folder / "weights.safetensors"), "steps": 7}
    del record["initialisation"]
    record["data"][0]["data"] = "camvid:street"
    (folder / "weights.json").write_text(json.dumps(record))
    return folder


def changed(folder: Path, **settings) -> None:
    path = folder / "weights.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "recipe": {**record["recipe"], **settings}}))


def test_tensors_and_record_are_replaced_and_earlier_stages_kept(program, shipped: Path, run_folder: Path) -> None:
    before = load_file(shipped / f"{NAME}.safetensors")
    old = json.loads((shipped / f"{NAME}.json").read_text())
    target = program("ship").ship(run_folder, shipped)
    after = load_file(target)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name] + 1) for name in before)
    record = json.loads((shipped / f"{NAME}.json").read_text())
    assert record["sha256"] == sha256_of_file(target) != old["sha256"]
    earlier = [text for name, text in record["recipe"].items() if name.endswith(" stage")]
    numbers = {3: "four", 4: "five", 5: "six", 6: "seven"}
    assert (record["steps"], record["initialisation"]) == (7, f"from scratch, in {numbers[len(earlier)]} stages")
    assert earlier[:-1] == [text for name, text in old["recipe"].items() if name.endswith(" stage")]
    rate, size = old["recipe"]["learning rate"], " x ".join(map(str, old["recipe"]["crop hw"]))
    assert earlier[-1].startswith(f"{old['steps']} steps of {old['recipe']['batch size']} views of {size} (")
    assert "of synthetic train), adamw " in earlier[-1] and earlier[-1].endswith(f" {rate:g}")
    assert record["recipe"]["learning rate"] == 0.001
    assert record["data"][0]["data"] == "camvid"


def test_a_run_from_random_weights_has_no_earlier_stage(program, shipped: Path, run_folder: Path) -> None:
    changed(run_folder, **{"initial weights": None})
    program("ship").main([str(run_folder), "--weights", str(shipped)])
    record = json.loads((shipped / f"{NAME}.json").read_text())
    assert record["initialisation"] == "from scratch" and "first stage" not in record["recipe"]


def test_what_does_not_fit_is_refused_and_nothing_changes(program, shipped: Path, run_folder: Path) -> None:
    ship = program("ship").ship
    content = [(shipped / f"{NAME}{suffix}").read_bytes() for suffix in (".safetensors", ".json")]
    tensors = load_file(run_folder / "weights.safetensors")
    save_file({"auxiliary.weight": tensors["auxiliary.weight"]}, run_folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"lacks 322 tensors of the shipped weights"):
        ship(run_folder, shipped)
    changed(run_folder, **{"initial weights": "ab" * 32})
    with pytest.raises(
        InputError, match=r"began with weights of SHA-256 abababababab\.\.\., which are not the shipped"
    ):
        ship(run_folder, shipped)
    record = json.loads((run_folder / "weights.json").read_text())
    (run_folder / "weights.json").write_text(json.dumps({**record, "options": {"masked": False}}))
    with pytest.raises(InputError, match=r"has the options \{'masked': False\}, the shipped weights"):
        ship(run_folder, shipped)
    (run_folder / "weights.json").unlink()
    with pytest.raises(InputError, match=r"holds no weights\.json; name the folder of a finished run"):
        ship(run_folder, shipped)
    assert content == [(shipped / f"{NAME}{suffix}").read_bytes() for suffix in (".safetensors", ".json")]
