"""Each form of a data set gives what our own gives: frames, class indices, mIoU; a wrong guess names its option."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefsa.data import CAMVID, CITYSCAPES, open_dataset
from edgefsa.data.colours import CAMVID_MAP, camvid_table, read_colour_table
from edgefsa.data.convention import Convention, open_convention
from edgefsa.data.survey import Survey
from edgefsa.errors import DataError, InputError, UnreadableError
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate
from tests.unit.data import conventions
from tests.unit.data.conventions import CONVENTIONS, SIZE_HW, UNLABELLED, name_classes, pictures, plain, say, write
from tests.unit.segment.fakes import NAMES, FakeSession


def miou(spec: str) -> float:
    with Segmenter(FakeSession(SIZE_HW)) as segmenter:
        return evaluate(segmenter, open_dataset(spec)).miou


def notes_of(spec: str) -> str:
    """Everything that is said of a data set when all of it is read."""
    dataset = open_dataset(spec)
    survey = Survey(dataset)
    survey.read_all()
    return "\n".join([*dataset.notes, *dataset.split_notes, *survey.notes()])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Our own form of the pictures."""
    plain(tmp_path / "plain", pictures())
    return tmp_path / "plain"


@pytest.mark.parametrize("form", CONVENTIONS)
def test_every_form_equals_our_own(form: str, root: Path, tmp_path: Path) -> None:
    CONVENTIONS[form](tmp_path / "data", pictures())
    ours, theirs = open_dataset(f"folder:{root}"), open_dataset(f"folder:{tmp_path / 'data'}")
    assert [name.casefold() for name in theirs.class_set.names] == list(NAMES)
    assert theirs.sample_names == ours.sample_names
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(other.frame, mine.frame)
        np.testing.assert_array_equal(other.label, mine.label)
    assert 0.7 < miou(f"folder:{root}") < 0.95
    assert miou(f"folder:{tmp_path / 'data'}") == miou(f"folder:{root}")


def test_the_pictures_are_what_the_engine_is_to_find(root: Path) -> None:
    labels = np.stack([label for _, _, label in pictures()])
    guesses = np.stack([frame[..., 0] // 64 for _, frame, _ in pictures()])
    counted, ious = labels != UNLABELLED, []
    for index in range(len(NAMES)):
        true, found = (labels == index) & counted, (guesses == index) & counted
        ious.append((true & found).sum() / (true | found).sum())
    assert miou(f"folder:{root}") == pytest.approx(np.mean(ious))


@pytest.mark.parametrize(("split", "there"), [("train", "training"), ("val", "valid"), ("test", "testing")])
def test_every_split_is_found_under_its_other_names(tmp_path: Path, split: str, there: str) -> None:
    conventions.in_folders(f"{there}/images", f"{there}/labels")(tmp_path, pictures())
    data = open_dataset(f"folder:{tmp_path}", split)
    assert len(data) == 3 and data.has_splits and not data.split_notes


def test_flat_folders_say_that_every_split_is_the_same(tmp_path: Path, root: Path) -> None:
    CONVENTIONS["flat"](tmp_path / "flat", pictures())
    assert "training, calibration and evaluation take the same frames" in notes_of(f"folder:{tmp_path / 'flat'}")
    assert notes_of(f"folder:{root}") == ""


def test_classes_that_nobody_named_are_said_to_be_camvids(root: Path) -> None:
    (root / "classes.txt").unlink()
    assert "no classes.txt: its classes are taken to be CamVid's 11" in notes_of(f"folder:{root}")


def test_labels_in_two_folders_are_said(root: Path) -> None:
    (root / "val" / "masks").mkdir()
    assert f"labels are taken from {root}/val/labels, not from {root}/val/masks" in notes_of(f"folder:{root}")


def test_scaled_labels_are_said_and_other_views_refused(root: Path) -> None:
    label = root / "val" / "labels" / "frame1.png"
    write(label, cv2.imread(str(label), cv2.IMREAD_UNCHANGED)[::2, ::2])
    assert "1 of 3 labels have another size than their frame (frame1: 24x32 for 48x64)" in notes_of(f"folder:{root}")
    write(label, np.zeros((48, 40), np.uint8))
    with pytest.raises(DataError, match=r"frame1\.png is 48x40, its image 48x64 .* must show the same view"):
        notes_of(f"folder:{root}")


def test_zero_that_is_no_class(root: Path) -> None:
    label = root / "val" / "labels" / "frame0.png"
    write(label, np.full(SIZE_HW, 4, np.uint8))
    with pytest.raises(DataError, match=r'frame0\.png holds class 4; .* zero = "unlabelled" where .*dataset\.toml'):
        open_dataset(f"folder:{root}")[0]
    say(root, 'zero = "unlabelled"')
    label_of_zero = open_dataset(f"folder:{root}")[0].label
    assert label_of_zero is not None and (label_of_zero == 3).all()


def test_labels_of_0_and_255_are_said_to_hold_one_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    binary = [(name, frame, rng.choice([0, 255], SIZE_HW).astype(np.uint8)) for name, frame, _ in pictures()]
    plain(tmp_path, binary)
    name_classes(tmp_path, ("ground", "plant"))
    notes = notes_of(f"folder:{tmp_path}")
    assert "the labels hold 'ground' alone: the value 255 is no class and not counted" in notes
    assert f"write values = [0, 255] into {tmp_path}/dataset.toml" in notes
    say(tmp_path, "values = [0, 255]")
    assert notes_of(f"folder:{tmp_path}") == ""
    for (_, _, stored), sample in zip(binary, open_dataset(f"folder:{tmp_path}"), strict=True):
        np.testing.assert_array_equal(sample.label, stored // 255)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("zero = 0", 'zero is 0; give "class" or "unlabelled"'),
        ('label_orientation = "left"', 'label_orientation is \'left\'; give "upright" or "raw"'),
        ("bits = 7", "bits is 7; give a number from 8 to 16"),
        ("values = [0, 1]", "values names 2 values for 4 classes"),
        ("values = [0, 1, 2, 300]", "values is .*; give a list of numbers from 0 to 255"),
        ('values = [1, 2, 3, 4]\nzero = "unlabelled"', "has both values and zero"),
        ('unlabelled = "all"', 'give a list of numbers from 0 to 255 or "rest"'),
        ('classes = "road"', "classes is 'road'; give a list of names"),
        ('images = "a"', "names only one of images and labels"),
        ("suffix = 3", "the key 'suffix' is unknown; it may have classes, colours"),
        ("map = 3", "map is 3; give a table of names"),
        ("zero = ", r"dataset\.toml is not TOML"),
    ],
)
def test_a_dataset_toml_that_cannot_be_used(root: Path, lines: str, message: str) -> None:
    say(root, lines)
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(f"folder:{root}")[0]
    assert "dataset.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_the_example_in_the_docs_has_every_key(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "dataset.toml").write_text(example)
    _, found = open_convention(tmp_path)
    plain = Convention(found.path)
    same = [item.name for item in fields(Convention) if getattr(found, item.name) == getattr(plain, item.name)]
    assert same == ["path", "values"] and "# values = " in example


def test_a_toml_file_elsewhere_names_the_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "half.toml").write_text('root = "plain"\nclasses = ["a", "b", "c", "d"]\n')
    data = open_dataset(f"folder:{tmp_path / 'half.toml'}")
    assert data.class_set.names == ("a", "b", "c", "d") and len(data) == 3
    (tmp_path / "half.toml").write_text('classes = ["a"]\n')
    with pytest.raises(InputError, match='write root = "DIR" into it'):
        open_dataset(f"folder:{tmp_path / 'half.toml'}")


def test_wrong_guesses_name_the_option(root: Path) -> None:
    labels = root / "val" / "labels"
    (labels / "frame2.png").rename(labels / "frame2-truth.png")
    with pytest.raises(DataError, match=r'has no label .*\(1 of 3 images have none\).* label_suffix = "ENDING" into'):
        open_dataset(f"folder:{root}")
    (labels / "frame2-truth.png").rename(labels / "frame2.png")
    write(labels / "frame0.png", conventions.in_colour(pictures()[0][2]))
    with pytest.raises(DataError, match=r'holds colours, and no table .*label_colors\.txt .*colours = "FILE" into'):
        open_dataset(f"folder:{root}")[0]
    write(labels / "frame0.png", np.full(SIZE_HW, 77, np.uint8))
    with pytest.raises(DataError, match=r"frame0\.png holds class 77; .*unlabelled = \[77\], or values = "):
        open_dataset(f"folder:{root}")[0]
    say(root, "values = [0, 1, 2, 3]")
    with pytest.raises(DataError, match=r'values = \[\.\.\.\] with 77 in it, or unlabelled = \[77\] or "rest"'):
        open_dataset(f"folder:{root}")[0]
    say(root, 'images = "a/{split}"', 'labels = "b/{split}"')
    with pytest.raises(DataError, match=r"has no a/\{split\} with b/\{split\} for the split 'val'; mend images"):
        open_dataset(f"folder:{root}")


def test_labels_in_jpeg_are_refused(root: Path) -> None:
    labels = root / "val" / "labels"
    for path in sorted(labels.iterdir()):
        write(path.with_suffix(".jpg"), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        path.unlink()
    with pytest.raises(DataError, match=r"frame0\.jpg is a label in JPEG, which changes its values"):
        open_dataset(f"folder:{root}")


def test_a_colour_that_no_table_lists(tmp_path: Path) -> None:
    conventions.label_colors_txt(tmp_path / "data", pictures())
    label = tmp_path / "data" / "LabeledApproved_full" / "frame1_L.png"
    painted = cv2.imread(str(label))
    painted[20, 30] = (3, 2, 1)
    write(label, painted)
    with pytest.raises(DataError, match=r"frame1_L\.png holds the colour \(1, 2, 3\), which is no class \(1 such"):
        open_dataset(f"folder:{tmp_path / 'data'}")[1]


@pytest.mark.parametrize("text", ["", "1 2 road\n", "300 0 0 road\n", "road\n", "\ufffe"])
def test_a_colour_table_that_cannot_be_used(root: Path, text: str) -> None:
    (root / "label_colors.txt").write_text(text)
    with pytest.raises(DataError, match=r"label_colors\.txt: .* write R G B NAME, a class a line"):
        open_dataset(f"folder:{root}")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,128::\nbackground:1,2,3::\nVoid:0,0,0::\n"),
        ("class_dict.csv", " name , r, g, b\nroad, 128, 64, 128\nbackground, 1, 2, 3\nVoid,0,0,0\n"),
        ("label_colors.txt", "128 64 128\troad\r\n1 2 3\t\tbackground\r\n\r\n0 0 0 Void"),
    ],
)
def test_colour_tables_as_tools_write_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    table = read_colour_table(tmp_path / name)
    assert table.names == ("road", "background", "Void")
    assert table.colours_rgb == ((128, 64, 128), (1, 2, 3), (0, 0, 0))


def test_a_table_with_a_name_that_is_no_class(root: Path) -> None:
    (root / "label_colors.txt").write_text("0 0 0 dark\n1 1 1 dusk\n")
    np.testing.assert_array_equal(open_dataset(f"folder:{root}")[0].label, pictures()[0][2])  # indices need no table
    write(root / "val" / "labels" / "frame0.png", conventions.in_colour(pictures()[0][2]))
    with pytest.raises(
        DataError, match=r"names 'dusk', which is none of the 4 classes .*under \[map\] in dataset\.toml"
    ):
        open_dataset(f"folder:{root}")


def test_indices_count_the_rows_of_a_table_that_names_the_classes(root: Path) -> None:
    """With Void in row 1 the classes behind it keep their values, and take the indices that are left."""
    (root / "classes.txt").unlink()
    (root / "label_colors.txt").write_text("1 1 1 dark\n0 0 0 Void\n2 2 2 dim\n3 3 3 light\n")
    data = open_dataset(f"folder:{root}")
    assert data.class_set.names == ("dark", "dim", "light") and "Void counts as no class" in data.notes[0]
    assert data.class_set.palette_rgb == ((1, 1, 1), (2, 2, 2), (3, 3, 3))
    stored = pictures()[0][2]
    expected = np.array([0, 255, 1, 2] + [255] * 252, np.uint8)[stored]
    np.testing.assert_array_equal(data[0].label, expected)


def test_camvids_own_colours_join_into_its_eleven_classes(tmp_path: Path) -> None:
    table = camvid_table()
    colours = np.array(table.colours_rgb, np.uint8)
    label = np.repeat(colours[None], 4, axis=0)
    write(tmp_path / "701_StillsRaw_full" / "a.png", np.zeros((4, len(colours), 3), np.uint8))
    write(tmp_path / "LabeledApproved_full" / "a_L.png", label[..., ::-1])
    (sample,) = open_dataset(f"camvid:{tmp_path}")
    expected = [CAMVID.names.index(CAMVID_MAP[name]) if name != "Void" else 11 for name in table.names]
    assert sample.label is not None and sample.label[0].tolist() == expected
    assert len(set(table.colours_rgb)) == 33  # 32 classes, and the sidewalk of the SegNet split
    for index, colour in enumerate(CAMVID.palette_rgb):
        assert expected[table.colours_rgb.index(colour)] == index


def test_cityscapes_painted_labels(tmp_path: Path) -> None:
    name_classes(tmp_path, CITYSCAPES.names)
    painted = np.array([[*CITYSCAPES.palette_rgb, (0, 0, 0)]], np.uint8)
    write(tmp_path / "leftImg8bit" / "val" / "ulm" / "a_leftImg8bit.png", np.zeros((1, 20, 3), np.uint8))
    write(tmp_path / "gtFine" / "val" / "ulm" / "a_gtFine_color.png", painted[..., ::-1])
    (sample,) = open_dataset(f"folder:{tmp_path}")
    assert sample.name == "ulm/a" and sample.label is not None
    assert sample.label[0].tolist() == [*range(19), 255]


def test_frames_of_12_bits_in_16(root: Path) -> None:
    """The brightest value of the set decides for all its frames, and is said; one that does not fit is no damage."""
    images = root / "val" / "images"
    for index, (name, frame, _) in enumerate(pictures()):
        write(images / f"{name}.png", (frame.astype(np.uint16) * (16 if index else 4)))
    data = open_dataset(f"folder:{root}")
    assert data.notes == (
        "16-bit frames are read as 12 bits a value, by the largest value of 32 at most; if that is wrong, "
        f"write bits = N into {root}/dataset.toml",
    )
    for index, ((_, frame, _), sample) in enumerate(zip(pictures(), data, strict=True)):
        expected = np.rint(frame.astype(int) * (16 if index else 4) / 4095 * 255)
        np.testing.assert_array_equal(sample.frame, expected)
    say(root, "bits = 10")
    with pytest.raises(DataError, match=rf"frame1\.png holds values of more than 10 bits; write bits = 12 into {root}"):
        open_dataset(f"folder:{root}")[1]
    say(root, "bits = 16")
    assert open_dataset(f"folder:{root}").notes == () and open_dataset(f"folder:{root}")[1].frame.max() < 16


def test_a_damaged_file_is_unreadable_and_a_wrong_one_is_not(root: Path) -> None:
    label = root / "val" / "labels" / "frame0.png"
    label.write_bytes(label.read_bytes()[:60])
    with pytest.raises(UnreadableError, match=r"labels/frame0\.png"):
        open_dataset(f"folder:{root}")[0]
    (root / "val" / "images" / "frame1.png").write_bytes(b"")
    survey = Survey(open_dataset(f"folder:{root}"))
    survey.read_all()
    assert survey.frames == 1 and len(survey.unreadable) == 2
