"""The log holds the figures as they are, and the picture shows lines where the figures are."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

from edgefsa.train import curve
from edgefsa.train.curve import draw_curve
from edgefsa.train.log import write_log
from edgefsa.verify.figures import COLOURS


def bgr(colour: str) -> np.ndarray:
    return np.array([int(colour[place : place + 2], 16) for place in (5, 3, 1)])


BLUE, ORANGE = (bgr(colour) for colour in COLOURS[:2])
MIDDLE = 580


def history(epochs: int, score=lambda epoch: 0.5):
    return [
        {"epoch": e, "step": 2 * e, "loss": 3.0 / e, "learning_rate": 0.1, "miou camvid": score(e)}
        for e in range(1, epochs + 1)
    ]


def columns_of(image: np.ndarray, colour: np.ndarray, left: int, right: int) -> dict[int, float]:
    """Where pixels of a colour stand: column -> their mean row, in the part of a picture from `left` to `right`."""
    near = np.abs(image[:, left:right].astype(int) - colour).max(-1) < 40
    return {left + int(x): float(np.flatnonzero(near[:, x]).mean()) for x in np.flatnonzero(near.any(0))}


def without_legend(columns: dict[int, float]) -> list[float]:
    """The rows of a line, left to right, without the short stroke of the legend."""
    breaks = np.flatnonzero(np.diff(sorted(columns)) > 1)
    longest = max(np.split(sorted(columns), breaks + 1), key=len)
    return [columns[x] for x in longest]


def test_the_lines_fall_and_rise_as_the_figures_do(tmp_path):
    image = cv2.imread(str(draw_curve(tmp_path / "curve.png", history(40, lambda e: 0.01 * e), "title", 40)))
    assert image.shape == (460, 1160, 3)
    loss, score = (without_legend(columns_of(image, BLUE, *part)) for part in ((0, MIDDLE), (MIDDLE, 1160)))
    assert len(loss) > 350 and len(score) > 350
    assert loss[0] < 120 and loss[-1] > 350  # downwards in the picture is less
    middle = np.array(score[60:-60])
    straight = np.polyval(np.polyfit(np.arange(len(middle)), middle, 1), np.arange(len(middle)))
    assert middle[-1] < middle[0] - 150 and np.abs(middle - straight).max() < 4


def test_each_val_set_has_its_colour_and_an_unfinished_run_ends_where_it_is(tmp_path):
    rows = [{**row, "miou synthetic": 0.25} for row in history(10)]
    image = cv2.imread(str(draw_curve(tmp_path / "curve.png", rows, "title", 20)))
    for colour in (BLUE, ORANGE):
        line = columns_of(image, colour, MIDDLE, 1160)
        assert line and len([x for x in line if x > MIDDLE + 340]) < 60, "the right half has the legend at most"


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_picture_of_almost_nothing(tmp_path, epochs):
    rows = [{"epoch": 1, "step": 1, "loss": 0.0, "learning_rate": 0.0}][:epochs]
    assert cv2.imread(str(draw_curve(tmp_path / "curve.png", rows, "title", 1))) is not None


def test_a_title_is_no_formula(tmp_path):
    assert draw_curve(tmp_path / "curve.png", history(2), r"fsanet on $\frac{1}{ and ${x", 2).is_file()


def test_matplotlib_may_be_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not curve.can_draw()


def test_the_log_leaves_empty_what_an_epoch_did_not_measure(tmp_path):
    rows = history(2)
    del rows[0]["miou camvid"]
    write_log(tmp_path / "log.csv", rows)
    with (tmp_path / "log.csv").open() as file:
        read = list(csv.DictReader(file))
    assert read[0] == {"epoch": "1", "step": "2", "loss": "3", "learning_rate": "0.1", "miou camvid": ""}
    assert read[1]["miou camvid"] == "0.5"
