"""Frames that their EXIF orientation turns, with labels drawn on either side of the turn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgefsa.data import open_dataset
from edgefsa.data.survey import Survey
from edgefsa.errors import DataError
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import evaluate
from tests.unit.data.conventions import SIZE_HW, name_classes, pictures, say, write
from tests.unit.segment.fakes import FakeSession

ORIENTATION = 0x0112
UNTURN = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def with_orientation(array: np.ndarray, code: int) -> Image.Image:
    picture = Image.fromarray(array)
    picture.getexif()[ORIENTATION] = code
    return picture


def upright(array: np.ndarray, code: int) -> np.ndarray:
    """What Pillow makes of a picture with this orientation."""
    return np.asarray(ImageOps.exif_transpose(with_orientation(array, code)))


def write_camera_data(root: Path, code: int, *, label_stored: bool) -> None:
    """JPEG files of a camera held another way: upright once they are turned; labels on either side of the turn."""
    name_classes(root, ("dark", "dim", "light", "bright"))
    (root / "val" / "images").mkdir(parents=True)
    for name, frame, label in pictures():
        stored = upright(frame, UNTURN[code])
        picture = Image.fromarray(np.ascontiguousarray(stored[..., ::-1]))
        exif = picture.getexif()
        exif[ORIENTATION] = code
        picture.save(root / "val" / "images" / f"{name}.jpg", exif=exif, quality=98, subsampling=0)
        write(root / "val" / "labels" / f"{name}.png", upright(label, UNTURN[code]) if label_stored else label)


@pytest.mark.parametrize("code", range(1, 9))
@pytest.mark.parametrize("label_stored", [False, True])
def test_labels_on_either_side_of_the_turn(tmp_path: Path, code: int, label_stored: bool) -> None:
    write_camera_data(tmp_path, code, label_stored=label_stored)
    if label_stored:
        say(tmp_path, 'label_orientation = "raw"')
    data = open_dataset(f"folder:{tmp_path}")
    for (_, frame, label), sample in zip(pictures(), data, strict=True):
        assert sample.orientation == code
        assert np.abs(sample.frame.astype(int) - frame).mean() < 3
        np.testing.assert_array_equal(sample.label, label)


def miou_and_notes(root: Path) -> tuple[float, str]:
    with Segmenter(FakeSession(SIZE_HW)) as segmenter:
        report = evaluate(segmenter, open_dataset(f"folder:{root}"))
    return report.miou, "\n".join(report.notes)


@pytest.mark.parametrize("code", [2, 3, 4])
@pytest.mark.parametrize("label_stored", [False, True])
def test_the_engine_speaks_against_the_wrong_side(tmp_path: Path, code: int, label_stored: bool) -> None:
    write_camera_data(tmp_path, code, label_stored=label_stored)
    right, wrong = ("raw", "upright") if label_stored else ("upright", "raw")
    say(tmp_path, f'label_orientation = "{right}"')
    miou, notes = miou_and_notes(tmp_path)
    assert miou > 0.7 and "3 of 3 frames were turned upright" in notes and "look upside down" not in notes
    say(tmp_path, f'label_orientation = "{wrong}"')
    miou, notes = miou_and_notes(tmp_path)
    assert miou < 0.3
    assert "the labels of the 3 turned frames look upside down or mirrored" in notes
    assert f'write label_orientation = "{right}" into {tmp_path}/dataset.toml' in notes


@pytest.mark.parametrize("code", [5, 6, 7, 8])
@pytest.mark.parametrize("label_stored", [False, True])
def test_a_quarter_turn_on_the_wrong_side_is_refused(tmp_path: Path, code: int, label_stored: bool) -> None:
    write_camera_data(tmp_path, code, label_stored=label_stored)
    right, wrong = ("raw", "upright") if label_stored else ("upright", "raw")
    say(tmp_path, f'label_orientation = "{wrong}"')
    with pytest.raises(DataError, match=rf'turned upright by its EXIF .* write label_orientation = "{right}" into'):
        open_dataset(f"folder:{tmp_path}")[0]


def test_what_is_said_of_turned_frames(tmp_path: Path) -> None:
    write_camera_data(tmp_path, 3, label_stored=False)
    for lines, expected in (
        ((), "(frame0 first), their labels were not; if labels are drawn on the raw pixels, write label_orientation"),
        (
            ('label_orientation = "raw"',),
            "(frame0 first), and their labels with them; if labels are drawn on the upright",
        ),
    ):
        say(tmp_path, *lines)
        survey = Survey(open_dataset(f"folder:{tmp_path}"))
        survey.read_all()
        assert expected in survey.notes()[0]
