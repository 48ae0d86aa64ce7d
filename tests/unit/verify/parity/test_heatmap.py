from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefsa.verify.parity.heatmap import HeatMaps

PALETTE = [(200, 30, 30), (30, 200, 30)]
RED, YELLOW = (40, 40, 230), (60, 220, 255)


def drawn(folder: Path, name: str = "a/b c") -> list[np.ndarray]:
    maps = HeatMaps(folder, ("onnx", "engine"), PALETTE, ("road", "a class of a name that is rather long"))
    frame = np.full((60, 90, 3), 90, np.uint8)
    reference = np.zeros((60, 90), np.uint8)
    reference[:, 45:] = 1
    found = reference.copy()
    found[10:20, 10:20] = 1  # in the middle of a class
    found[40:44, 46] = 0  # beside a border
    for index in range(2):
        maps.add(f"{name} {index}", frame, reference, found if index else reference)
    return [cv2.imread(str(path)) for path in maps.finish()]


def test_pixels_that_differ_are_marked_by_where_they_lie(tmp_path: Path):
    same, other, whole = drawn(tmp_path)
    # Every panel is four times as large as the masks; three of 60 rows are 12 rows of the picture.
    below = other[same.shape[0] // 2 - 20 :, : same.shape[1] // 2 - 4]
    assert (below == RED).all(-1)[: 60 * 4 + 60].sum() >= 10 * 10 * 16
    assert (below == YELLOW).all(-1)[: 60 * 4 + 60].sum() == 4 * 16
    assert (other == RED).all(-1).sum() - (same == RED).all(-1).sum() == 10 * 10 * 16
    assert whole.max() > 100 and whole.shape[:2] < same.shape[:2]


def test_names_of_samples_become_names_of_files(tmp_path: Path):
    drawn(tmp_path, "../drive/0001")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0000-..-drive-0001-0.png",
        "0001-..-drive-0001-1.png",
        "all-frames.png",
    ]
