"""Labels that count from one where they were read from zero are seen by the engine, and unread files are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefsa.data import open_dataset
from edgefsa.errors import UnreadableError
from edgefsa.segment import Segmenter
from edgefsa.verify.accuracy import AccuracyReport, evaluate
from tests.unit.data.conventions import SIZE_HW, pictures, plain, say
from tests.unit.segment.fakes import FakeSession


def report_on(root: Path, batch: int = 1) -> AccuracyReport:
    with Segmenter(FakeSession(SIZE_HW, batch=batch)) as segmenter:
        return evaluate(segmenter, open_dataset(f"folder:{root}"))


def test_labels_that_count_from_one_without_the_last_class(tmp_path: Path) -> None:
    """No value is out of range, so only the engine can tell."""
    shifted = [(n, f, np.where(label < 3, label + 1, 255).astype(np.uint8)) for n, f, label in pictures()]
    plain(tmp_path, shifted)
    wrong = report_on(tmp_path)
    assert wrong.miou < 0.2
    assert "the labels look shifted by one class" in wrong.notes[0] and 'write zero = "unlabelled"' in wrong.notes[0]
    say(tmp_path, 'zero = "unlabelled"')
    right = report_on(tmp_path)
    assert right.miou > 0.5 and not right.notes


def test_labels_that_count_from_zero_read_from_one(tmp_path: Path) -> None:
    plain(tmp_path, pictures())
    say(tmp_path, 'zero = "unlabelled"')
    (note,) = report_on(tmp_path).notes
    assert "the labels look shifted by one class" in note and 'write zero = "class"' in note
    say(tmp_path, "values = [0, 1, 2, 3]")
    assert not report_on(tmp_path).notes


@pytest.mark.parametrize("batch", [1, 2])
def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path: Path, batch: int) -> None:
    plain(tmp_path / "all", pictures(5))
    plain(tmp_path / "whole", [item for item in pictures(5) if item[0] not in ("frame1", "frame4")])
    image, label = tmp_path / "all/val/images/frame1.png", tmp_path / "all/val/labels/frame4.png"
    for path in (image, label):
        path.write_bytes(path.read_bytes()[:50])
    found, whole = report_on(tmp_path / "all", batch), report_on(tmp_path / "whole", batch)
    assert (found.frames, found.miou, found.per_class_iou) == (3, whole.miou, whole.per_class_iou)
    assert [str(image) in found.unreadable[0], str(label) in found.unreadable[1]] == [True, True]
    assert not whole.unreadable


def test_without_any_file_that_can_be_read_there_is_no_accuracy(tmp_path: Path) -> None:
    plain(tmp_path, pictures(1))
    (tmp_path / "val/images/frame0.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableError, match=r"frame0\.png"):
        report_on(tmp_path)
