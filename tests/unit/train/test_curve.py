"""The log holds the figures as they are, and the picture shows lines where the figures are."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from edgefsa.train.curve import draw_curve, round_ticks
from edgefsa.train.log import write_log

BLUE, ORANGE = np.array((178, 114, 0)), np.array((0, 94, 213))


def history(epochs: int, score=lambda epoch: 0.5):
    return [
        {"epoch": e, "step": 2 * e, "loss": 3.0 / e, "learning_rate": 0.1, "miou camvid": score(e)}
        for e in range(1, epochs + 1)
    ]


def columns_of(image: np.ndarray, colour: np.ndarray, left: int, right: int) -> dict[int, float]:
    """Where pixels of a colour stand: column -> their mean row, in a part of the plot below its legend."""
    near = np.abs(image[86:, left:right].astype(int) - colour).max(-1) < 40
    return {left + int(x): 86 + float(np.flatnonzero(near[:, x]).mean()) for x in np.flatnonzero(near.any(0))}


def test_the_lines_fall_and_rise_as_the_figures_do(tmp_path):
    image = cv2.imread(str(draw_curve(tmp_path / "curve.png", history(40, lambda e: 0.01 * e), "title", 40)))
    assert image.shape == (460, 1160, 3)
    loss, score = columns_of(image, BLUE, 58, 560), columns_of(image, BLUE, 630, 1140)
    assert len(loss) > 400 and len(score) > 400
    rows = [loss[x] for x in sorted(loss)]
    assert rows[0] < 150 and rows[-1] > 350  # downwards in the picture is less
    rows = np.array([score[x] for x in sorted(score)])
    straight = np.polyval(np.polyfit(np.arange(len(rows)), rows, 1), np.arange(len(rows)))
    assert rows[-1] < rows[0] - 200 and np.abs(rows - straight).max() < 4


def test_each_val_set_has_its_colour_and_an_unfinished_run_ends_where_it_is(tmp_path):
    rows = [{**row, "miou synthetic": 0.25} for row in history(10)]
    image = cv2.imread(str(draw_curve(tmp_path / "curve.png", rows, "title", 20)))
    for colour in (BLUE, ORANGE):
        found = columns_of(image, colour, 630, 1140)
        assert found and max(found) < 638 + 260


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_picture_of_almost_nothing(tmp_path, epochs):
    rows = [{"epoch": 1, "step": 1, "loss": 0.0, "learning_rate": 0.0}][:epochs]
    assert cv2.imread(str(draw_curve(tmp_path / "curve.png", rows, "title", 1))) is not None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 120, [0, 25, 50, 75, 100, 125]), (0.31, 2.9, [0, 1, 2, 3]), (5.4, 6.2, [5.4, 5.6, 5.8, 6, 6.2])],
)
def test_ticks_are_round_and_cover_the_range(low, high, expected):
    assert round_ticks(low, high, 6) == expected


def test_the_log_leaves_empty_what_an_epoch_did_not_measure(tmp_path):
    rows = history(2)
    del rows[0]["miou camvid"]
    write_log(tmp_path / "log.csv", rows)
    with (tmp_path / "log.csv").open() as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"epoch": "1", "step": "2", "loss": "3", "learning_rate": "0.1", "miou camvid": ""}
    assert read[1]["miou camvid"] == "0.5"
