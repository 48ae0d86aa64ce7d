from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefsa.data import CAMVID, CITYSCAPES, open_dataset
from edgefsa.errors import DataError, InputError, UnreadableError

SIZE_HW = (12, 16)


def write_frame(path: Path, value: int = 100, size_hw: tuple[int, int] = SIZE_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size_hw, 3), value, np.uint8))


def write_label(path: Path, value: int = 3, size_hw: tuple[int, int] = SIZE_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(size_hw, value, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder data set of four frames with labels."""
    for index in range(4):
        write_frame(tmp_path / "images" / f"{index}.png", 10 * index)
        write_label(tmp_path / "labels" / f"{index}.png", index)
    return tmp_path


def test_folder_gives_frames_and_labels_by_name(folder: Path) -> None:
    data = open_dataset(f"folder:{folder}")
    assert len(data) == 4 and data.class_set is CAMVID
    assert data.sample_names == ("0", "1", "2", "3")
    sample = data[2]
    assert sample.name == "2"
    assert sample.frame.dtype == np.uint8 and sample.frame.shape == (*SIZE_HW, 3) and sample.frame[0, 0, 0] == 20
    assert sample.label is not None and sample.label.dtype == np.uint8 and (sample.label == 2).all()
    assert [item.name for item in data] == ["0", "1", "2", "3"]
    assert data[-1].name == "3" and data[1:3].sample_names == ("1", "2")
    with pytest.raises(IndexError):
        data[4]


def test_channel_order_is_bgr(tmp_path: Path) -> None:
    (tmp_path / "red.png").parent.mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / "red.png"), np.full((4, 4, 3), (0, 0, 255), np.uint8))
    assert open_dataset(f"images:{tmp_path}")[0].frame[0, 0].tolist() == [0, 0, 255]


def test_folder_prefers_the_splits_own_images(folder: Path) -> None:
    write_frame(folder / "train" / "images" / "t.png")
    write_label(folder / "train" / "labels" / "t.png")
    assert open_dataset(f"folder:{folder}", "train").sample_names == ("t",)
    assert len(open_dataset(f"folder:{folder}", "val")) == 4


def test_classes_txt_names_the_classes(folder: Path) -> None:
    (folder / "classes.txt").write_text("floor\nwall\n\n table \nlamp\n", encoding="utf-8")
    data = open_dataset(f"folder:{folder}")
    assert data.class_set.names == ("floor", "wall", "table", "lamp") and data.class_set.ignore_index == 255
    assert data[3].label is not None
    write_label(folder / "labels" / "3.png", 255)
    assert data[3].label is not None  # unlabelled
    (folder / "classes.txt").write_text("\n".join(CITYSCAPES.names), encoding="utf-8-sig")  # as Notepad does
    assert open_dataset(f"folder:{folder}").class_set is CITYSCAPES


def test_255_is_no_class_whatever_the_class_set_ignores(folder: Path) -> None:
    label = np.array([[0, 10, 11, 255]], np.uint8).repeat(3, axis=0).repeat(4, axis=1)
    cv2.imwrite(str(folder / "labels" / "0.png"), label.repeat(4, axis=0))
    found = open_dataset(f"folder:{folder}")[0].label
    assert found is not None and found[0, ::4].tolist() == [0, 10, 11, 11]


def test_a_frame_is_read_without_its_label(folder: Path) -> None:
    (folder / "labels" / "2.png").write_bytes(b"no picture")
    data = open_dataset(f"folder:{folder}")
    assert data.frame(2)[0, 0, 0] == 20
    with pytest.raises(UnreadableError, match=r"labels/2\.png"):
        data[2]


def test_limit_spreads_over_the_files(folder: Path) -> None:
    for index in range(4, 10):
        write_frame(folder / "images" / f"{index}.png")
        write_label(folder / "labels" / f"{index}.png")
    assert open_dataset(f"folder:{folder}", limit=5).sample_names == ("0", "2", "4", "6", "8")
    assert len(open_dataset(f"folder:{folder}", limit=99)) == 10
    with pytest.raises(InputError, match="limit of 0"):
        open_dataset(f"folder:{folder}", limit=0)


def test_images_are_found_below_the_folder_without_labels(tmp_path: Path) -> None:
    write_frame(tmp_path / "b.PNG")
    write_frame(tmp_path / "deep" / "er" / "a.jpg")
    write_frame(tmp_path / "deep" / "a.png")
    write_frame(tmp_path / "deep" / "a.jpg")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    data = open_dataset(f"images:{tmp_path}")
    assert set(data.sample_names) == {"b", "deep/er/a", "deep/a.png", "deep/a.jpg"}  # names stay apart
    assert all(sample.label is None for sample in data)


def test_camvid_layouts(tmp_path: Path) -> None:
    write_frame(tmp_path / "ours" / "val" / "images" / "x.jpg")
    write_label(tmp_path / "ours" / "val" / "labels" / "x.png", 11)
    write_frame(tmp_path / "segnet" / "test" / "y.png")
    write_label(tmp_path / "segnet" / "testannot" / "y.png", 10)
    ours, segnet = open_dataset(f"camvid:{tmp_path}/ours"), open_dataset(f"camvid:{tmp_path}/segnet", "test")
    assert ours[0].name == "x" and ours[0].label is not None and ours[0].label[0, 0] == 11
    assert segnet[0].name == "y" and segnet[0].label is not None and segnet[0].label[0, 0] == 10


def test_camvid_from_the_data_folder(camvid_dir: Path) -> None:
    train, val = open_dataset(f"camvid:{camvid_dir}", "train"), open_dataset(f"camvid:{camvid_dir}", "val")
    assert (len(train), len(val)) == (367, 101)
    sample = val[0]
    assert sample.frame.shape == (360, 480, 3) and sample.label is not None and sample.label.shape == (360, 480)
    assert train.fingerprint() != val.fingerprint()


def test_cityscapes_training_ids_and_full_ids(tmp_path: Path) -> None:
    for city, kind, value in (("aachen", "labelTrainIds", 13), ("bonn", "labelIds", 26), ("ulm", "labelIds", 9)):
        write_frame(tmp_path / "leftImg8bit" / "val" / city / f"{city}_0_0_leftImg8bit.png")
        write_label(tmp_path / "gtFine" / "val" / city / f"{city}_0_0_gtFine_{kind}.png", value)
    data = open_dataset(f"cityscapes:{tmp_path}")
    assert data.class_set is CITYSCAPES
    assert data.sample_names == ("aachen/aachen_0_0", "bonn/bonn_0_0", "ulm/ulm_0_0")
    # 26 is the full id of a car (training id 13); 9, parking, has no training id.
    assert [int(sample.label[0, 0]) for sample in data if sample.label is not None] == [13, 13, 255]


def test_cityscapes_without_its_folders_or_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no leftImg8bit/val"):
        open_dataset(f"cityscapes:{tmp_path}")
    write_frame(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_0_0_leftImg8bit.png")
    with pytest.raises(DataError, match=r"ulm_0_0_leftImg8bit\.png has no label"):
        open_dataset(f"cityscapes:{tmp_path}")


@pytest.mark.parametrize("kind", ["camvid", "folder", "images", "cityscapes"])
def test_a_folder_that_is_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder that exists"):
        open_dataset(f"{kind}:{tmp_path}/nowhere")


def test_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images"):
        open_dataset(f"images:{tmp_path}")
    with pytest.raises(DataError, match="neither val/images nor images"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"labels is missing; put one label"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="has no images"):
        open_dataset(f"folder:{tmp_path}")


def test_unknown_split_names_those_that_exist(tmp_path: Path) -> None:
    write_frame(tmp_path / "train" / "images" / "a.png")
    with pytest.raises(DataError, match=r"neither val/images nor images \(there is train\)"):
        open_dataset(f"camvid:{tmp_path}")


def test_missing_label_names_the_image(folder: Path) -> None:
    (folder / "labels" / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png has no label"):
        open_dataset(f"folder:{folder}")


def test_label_out_of_range_names_file_and_value(folder: Path) -> None:
    label = np.full(SIZE_HW, 3, np.uint8)
    label[5, 5] = 42
    cv2.imwrite(str(folder / "labels" / "1.png"), label)
    with pytest.raises(DataError, match=r"1\.png holds class 42; camvid has 0 to 10 and 11"):
        open_dataset(f"folder:{folder}")[1]


def test_label_of_another_view(folder: Path) -> None:
    write_label(folder / "labels" / "1.png", 3, (8, 6))
    with pytest.raises(DataError, match=r"1\.png is 8x6, its image 12x16"):
        open_dataset(f"folder:{folder}")[1]


def test_colour_label(folder: Path) -> None:
    write_frame(folder / "labels" / "1.png")
    with pytest.raises(DataError, match=r"1\.png holds the colour \(100, 100, 100\), which is no class \(192 such"):
        open_dataset(f"folder:{folder}")[1]


@pytest.mark.parametrize("content", [b"this is no picture", b"", b"\xff\xd8\xff\xe0 broken"])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fake.jpg").write_bytes(content)
    data = open_dataset(f"images:{tmp_path}")
    with pytest.raises(DataError, match=r"fake\.jpg is (not a picture|empty|damaged)") as caught:
        data[0]
    assert "\n" not in str(caught.value)


def test_classes_txt_that_cannot_be_used(folder: Path) -> None:
    (folder / "classes.txt").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(DataError, match="cannot be read as text"):
        open_dataset(f"folder:{folder}")
    (folder / "classes.txt").write_text("floor\nwall\nfloor\n")
    with pytest.raises(DataError, match=r"classes\.txt: the class name 'floor' is given more than once"):
        open_dataset(f"folder:{folder}")
    (folder / "classes.txt").write_text("\n\n")
    with pytest.raises(DataError, match="0 classes"):
        open_dataset(f"folder:{folder}")


@pytest.mark.parametrize("spec", ["", "camvid", "camvid:", "video:x", "/some/path", "synthetic:x", "synthetic:-1"])
def test_specs_that_name_no_data_set(spec: str) -> None:
    with pytest.raises(InputError):
        open_dataset(spec)


def test_fingerprint_changes_with_the_data(folder: Path) -> None:
    prints = [open_dataset(f"folder:{folder}").fingerprint()]
    assert open_dataset(f"folder:{folder}").fingerprint() == prints[0]
    prints.append(open_dataset(f"folder:{folder}", limit=2).fingerprint())
    for part in ("images", "labels"):  # one byte each, at the same size
        path = folder / part / "0.png"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        prints.append(open_dataset(f"folder:{folder}").fingerprint())
    (folder / "images" / "1.png").rename(folder / "images" / "4.png")
    (folder / "labels" / "1.png").rename(folder / "labels" / "4.png")
    prints.append(open_dataset(f"folder:{folder}").fingerprint())
    (folder / "images" / "3.png").unlink()
    prints.append(open_dataset(f"folder:{folder}").fingerprint())
    assert len(set(prints)) == len(prints)
    assert all(len(value) == 64 and set(value) <= set("0123456789abcdef") for value in prints)


def test_fingerprint_changes_with_the_convention(folder: Path) -> None:
    before = open_dataset(f"folder:{folder}").fingerprint()
    (folder / "dataset.toml").write_text("# nothing but what is so anyway\n")
    assert open_dataset(f"folder:{folder}").fingerprint() == before
    (folder / "dataset.toml").write_text('zero = "unlabelled"\n')
    assert open_dataset(f"folder:{folder}").fingerprint() != before


def test_fingerprint_names_a_file_that_went_away(folder: Path) -> None:
    data = open_dataset(f"folder:{folder}")
    (folder / "labels" / "2.png").unlink()
    with pytest.raises(DataError, match=r"cannot read .*2\.png: no such file"):
        data.fingerprint()


def test_fingerprint_does_not_depend_on_the_place(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = tmp_path_factory.mktemp("moved") / "copy"
    folder.rename(moved)
    first = open_dataset(f"folder:{moved}").fingerprint()
    moved.rename(folder)
    assert open_dataset(f"folder:{folder}").fingerprint() == first


def test_synthetic_splits_are_apart_and_repeatable() -> None:
    train, val = open_dataset("synthetic", "train"), open_dataset("synthetic", "val")
    assert (len(train), len(val)) == (400, 32)
    assert train.class_set is CAMVID
    assert val.fingerprint() == open_dataset("synthetic", "val").fingerprint()
    prints = {data.fingerprint() for data in (train, val, open_dataset("synthetic:1", "val"), val[:5])}
    assert len(prints) == 4
    assert len(open_dataset("synthetic:3", "val", limit=50)) == 50
    assert open_dataset("synthetic", "val", limit=5).fingerprint() == val[:5].fingerprint()
    with pytest.raises(DataError, match="no split 'all'"):
        open_dataset("synthetic", "all")


def test_a_synthetic_sample_is_rendered_when_asked_for() -> None:
    data = open_dataset("synthetic:7", limit=2)
    sample = data[0]
    assert sample.frame.shape == (360, 480, 3) and sample.label is not None and sample.label.shape == (360, 480)
    assert not np.array_equal(sample.frame, data[1].frame)


def test_data_sets_travel_to_worker_processes(folder: Path) -> None:
    for spec in (f"folder:{folder}", "synthetic"):
        data = open_dataset(spec)
        assert pickle.loads(pickle.dumps(data)).fingerprint() == data.fingerprint()
