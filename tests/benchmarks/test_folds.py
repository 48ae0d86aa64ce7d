"""Recipes on drives that were left out: which frames are where, and a whole run of the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgefsa.errors import InputError
from edgefsa.train import TrainSettings
from tests.unit.train.conftest import tiny_model

__all__ = ["tiny_model"]


@pytest.fixture(scope="session")
def two_drives(small_camvid: str, tmp_path_factory) -> Path:
    """The small frames under names of two drives."""
    root = tmp_path_factory.mktemp("drives")
    for path in Path(small_camvid.removeprefix("camvid:")).rglob("*.png"):
        drive = "A" if int(path.stem) % 2 else "B"
        place = root / path.relative_to(Path(small_camvid.removeprefix("camvid:"))).with_name(f"{drive}_{path.name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return root


def test_a_fold_parts_frames_and_labels_by_drive(program, two_drives, tmp_path: Path) -> None:
    folds = program("folds")
    fold = folds.make_fold(tmp_path, folds.frames_by_drive(two_drives), "A")
    names = {split: sorted(path.name for path in (fold / split / "images").iterdir()) for split in ("train", "val")}
    assert names["val"] == ["A_1.png", "A_3.png", "A_5.png", "A_7.png"]
    assert names["train"] == ["B_0.png", "B_2.png", "B_4.png", "B_6.png", "B_8.png"]
    for split, images in names.items():
        assert sorted(path.name for path in (fold / split / "labels").iterdir()) == images
    image = fold / "val/images/A_7.png"
    assert image.read_bytes() == (two_drives / "val/images/A_7.png").read_bytes()


def test_recipes_are_trained_once_and_compared(
    program, two_drives, tiny_model, tmp_path: Path, capsys, monkeypatch
) -> None:
    folds = program("folds")
    tiny = {"batch_size": 3, "workers": 0, "precision": "fp32"}
    monkeypatch.setattr(folds, "RECIPES", {"base": folds.Recipe(tiny), "rare": folds.Recipe(tiny, {"rare": 1.0})})
    flags = ["--data", f"camvid:{two_drives}", "--model", "tiny", "--epochs", "1", "--size", "48x64"]
    flags += ["--runs", str(tmp_path)]
    folds.main(["base", "rare", *flags, "--results", str(tmp_path)])
    record = json.loads((tmp_path / "folds-camvid.json").read_text())
    assert [(row["recipe"], row["drive"], row["frames"]) for row in record["rows"]] == [
        ("base", "A", 4), ("rare", "A", 4), ("base", "B", 5), ("rare", "B", 5)
    ]  # fmt: skip
    shown = capsys.readouterr().out
    mean = sum(row["accuracy"]["miou"] for row in record["rows"] if row["recipe"] == "base") / 2
    assert f"{100 * mean:.2f}" in shown
    made = (tmp_path / "base-A" / "weights.safetensors").stat().st_mtime_ns
    folds.main([*flags, "--results", str(tmp_path), "--drives", "A", "base"])
    assert (tmp_path / "base-A" / "weights.safetensors").stat().st_mtime_ns == made
    flags[flags.index("--epochs") + 1] = "2"
    with pytest.raises(InputError, match="base-A was trained as tiny for 1"):
        folds.main(["base", *flags])


def test_what_has_no_folds_is_refused(program, tmp_path: Path) -> None:
    folds = program("folds")
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "images" / "A_1.png").touch()
    with pytest.raises(InputError, match="holds frames of 1 drives in train/ and val/; give two or more"):
        folds.frames_by_drive(tmp_path)
    with pytest.raises(InputError, match="no recipe is called 'wine'; choose of base, rare"):
        folds.main(["wine", "--data", f"camvid:{tmp_path}"])


def test_a_schedule_is_laid_out_over_the_time_there_is(program, two_drives, tiny_model, tmp_path: Path) -> None:
    train_for = program("train_for")
    flags = ["tiny", "--data", f"camvid:{two_drives}", "--size", "48x64", "--batch", "3", "--workers", "0"]
    flags += ["--val-limit", "1", "--trial", "1", "-o", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"0\.001 minutes are too short: an epoch takes"):
        train_for.main([*flags, "--minutes", "0.001"])
    assert not (tmp_path / "run" / "plan.json").exists()
    (tmp_path / "run" / "plan.json").write_text(json.dumps({"epochs": 2}))
    train_for.main(flags)
    record = json.loads((tmp_path / "run" / "weights.json").read_text())
    assert record["epochs"] == 2 and record["steps"] == 6  # nine frames of both splits in batches of three
    assert (record["data"][0]["split"], record["data"][0]["frames"]) == ("train + val", 9)
    train_for.main([*flags, "--epochs", "1", "--scenes", "1", "-o", str(tmp_path / "mixed")])
    record = json.loads((tmp_path / "mixed" / "weights.json").read_text())
    trained = [(item["data"], item["split"], item["share"]) for item in record["data"] if item["share"]]
    own = f"camvid:{two_drives.name}"
    assert trained == [(own, "train + val", pytest.approx(2 / 3)), ("synthetic", "train", pytest.approx(1 / 3))]
    assert record["steps"] == 5


def test_epochs_fit_by_the_trial(program, monkeypatch, tmp_path: Path) -> None:
    train_for = program("train_for")
    clock = iter([0.0, 13.0])
    monkeypatch.setattr(train_for.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(train_for, "train", lambda settings, say: SimpleNamespace(seconds=10.0))
    settings = TrainSettings("tiny", ("camvid:x",), tmp_path)
    assert train_for.epochs_that_fit(settings, 2, 600.0) == int((0.93 * 600 - 13) / 5)
