"""Which data sets a run takes, and what keeps training frames out of val."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgefsa.data import readers
from edgefsa.data.readers import open_dataset
from edgefsa.errors import DataError, InputError
from edgefsa.machine.memory import Memory
from edgefsa.media.pictures import write_image
from edgefsa.train import data as train_data
from edgefsa.train.data import name_without_folders, open_training_data
from edgefsa.train.settings import TrainSettings
from tests.unit.train.conftest import write_colour_data


def settings(*data: str, **changes) -> TrainSettings:
    return TrainSettings("tiny", data, Path("out"), **changes)


def test_val_is_the_first_data_set_unless_others_are_named(colour_data):
    data = open_training_data(settings(colour_data, "synthetic"))
    assert [(item.name, item.split) for item in data.train] == [(colour_data, "train"), ("synthetic", "train")]
    assert {name: (item.name, item.split) for name, item in data.val.items()} == {"camvid": (colour_data, "val")}
    assert data.shares == (1.0, 1.0)
    named = open_training_data(settings(colour_data, val_data=("synthetic:1", "synthetic:2"), val_limit=3)).val
    assert {name: len(item) for name, item in named.items()} == {"synthetic": 3, "synthetic 2": 3}


def test_fingerprints_are_those_of_the_data_sets(colour_data):
    found = open_training_data(settings(colour_data)).fingerprints()
    expected = {f"{split} camvid": open_dataset(colour_data, split).fingerprint() for split in ("train", "val")}
    assert found == expected


def test_frames_that_are_both_trained_and_evaluated_on_are_refused(tmp_path):
    for part in ("images", "labels"):
        write_image(tmp_path / "all" / part / "a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "all" / "classes.txt").write_text("one\ntwo\n")
    spec = f"folder:{tmp_path / 'all'}"
    with pytest.raises(DataError, match=r"the same frames for training and for val \(1, a first\); put them"):
        open_training_data(settings(spec)).check_apart()
    write_colour_data(tmp_path / "other", {0: (0, 0, 0), 1: (200, 200, 200)}, 255)
    (tmp_path / "other" / "classes.txt").write_text("one\ntwo\n")
    data = open_training_data(settings(spec, val_data=(f"folder:{tmp_path / 'other'}",)))
    data.check_apart()
    assert list(data.fingerprints()) == ["train folder", "val folder"]
    assert data.class_set.names == ("one", "two")


def test_one_frame_in_both_is_enough(colour_data, tmp_path):
    root = Path(colour_data.removeprefix("camvid:"))
    for part in ("images", "labels"):
        shutil.copy(root / "train" / part / "5.png", root / "val" / part / "5.png")
    with pytest.raises(DataError, match=r"the same frames for training and for val \(1, 5 first\)"):
        open_training_data(settings(colour_data)).check_apart()
    few = open_training_data(settings(colour_data, val_limit=2))
    few.check_apart()
    assert few.val["camvid"].sample_names == ("0", "1")  # named as frames of train are, with other contents
    flat = f"folder:{root / 'train'}"
    with pytest.raises(DataError, match=r"the same frames for training and for val \(2, 0 first\)"):
        open_training_data(settings(flat, val_limit=2)).check_apart()


def test_names_that_are_spelt_otherwise_are_one_class(tmp_path):
    for name, classes in (("a", "One Way\ntwo\n"), ("b", "one_way\nTWO\n")):
        write_colour_data(tmp_path / name, {0: (0, 0, 0), 1: (200, 200, 200)}, 255)
        (tmp_path / name / "classes.txt").write_text(classes)
    data = open_training_data(settings(f"folder:{tmp_path / 'a'}", val_data=(f"folder:{tmp_path / 'b'}",)))
    assert data.class_set.names == data.val["folder"].class_set.names == ("One Way", "two")


def test_every_file_that_cannot_be_read_is_named_before_the_run(colour_data):
    root, said = Path(colour_data.removeprefix("camvid:")), []
    open_training_data(settings(colour_data)).check_files(said.append)
    assert not said
    damaged = [root / "train/images/2.png", root / "train/labels/4.png", root / "val/images/1.png"]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"^3 files cannot be trained or evaluated on; mend or remove them: ") as caught:
        open_training_data(settings(colour_data)).check_files(said.append)
    assert all(str(path) in str(caught.value) for path in damaged) and "\n" not in str(caught.value)


def test_what_was_guessed_of_the_data_is_said(colour_data):
    root, said = Path(colour_data.removeprefix("camvid:")), []
    open_training_data(settings(f"folder:{root}")).check_files(said.append)
    assert said == [f"note: {root} has no classes.txt: its classes are taken to be CamVid's 11"] * 2


def test_data_sets_of_different_classes_do_not_mix(colour_data, tmp_path):
    write_colour_data(tmp_path / "other", {0: (0, 0, 0), 1: (200, 200, 200)}, 255)
    (tmp_path / "other" / "classes.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"camvid:.* and folder:.* have different classes"):
        open_training_data(settings(colour_data, f"folder:{tmp_path / 'other'}"))


@pytest.mark.parametrize(
    ("spec", "name"), [("camvid:/home/me/camvid/", "camvid:camvid"), ("synthetic:7", "synthetic:7")]
)
def test_a_name_that_travels_has_no_folders(spec, name):
    assert name_without_folders(spec) == name


def test_training_samples_are_decoded_once_where_memory_allows(colour_data, monkeypatch):
    files: list[Path] = []
    real = readers.read_picture
    monkeypatch.setattr(readers, "read_picture", lambda path, **more: files.append(path) or real(path, **more))
    free = Memory(total_mb=64, available_mb=64, swap_mb=0, swap_free_mb=0, zram_mb=0)
    monkeypatch.setattr(train_data, "memory", lambda: free)
    (train,) = open_training_data(settings(colour_data)).kept_in_memory().train
    frames = [train[index].frame for index in range(len(train))]
    files.clear()
    assert all(train[index].frame is frame for index, frame in enumerate(frames)) and not files
    monkeypatch.setattr(train_data, "memory", lambda: dataclasses.replace(free, available_mb=0.0))
    (train,) = open_training_data(settings(colour_data)).kept_in_memory(2).train
    files.clear()
    assert train[0].frame is not train[0].frame and len(files) == 2


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_nothing_is_kept_where_loading_processes_would_each_hold_all(colour_data, monkeypatch, method):
    monkeypatch.setattr(train_data.multiprocessing, "get_start_method", lambda allow_none: method)
    data = open_training_data(settings(colour_data))
    assert data.kept_in_memory() is data
