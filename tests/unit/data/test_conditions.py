"""Frames under made-up conditions, and mixtures of data sets: the same each time, and what their names say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefsa.data.conditions import CONDITIONS, UnderCondition, conditions_from_text, under_condition
from edgefsa.data.mixture import Mixture
from edgefsa.data.readers import open_dataset
from edgefsa.data.synthetic import render_scene
from edgefsa.errors import DataError, InputError


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return render_scene(7, (180, 240))[0]


def sharpness(frame: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(frame, cv2.CV_32F)).mean())


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_a_condition_is_a_frame_that_depends_on_its_seed_alone(scene: np.ndarray, name: str) -> None:
    before = scene.copy()
    first, again, other = (under_condition(scene, name, seed) for seed in (1, 1, 2))
    assert first.dtype == np.uint8 and first.shape == scene.shape
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != scene).mean() > 0.3
    np.testing.assert_array_equal(scene, before)


def test_conditions_do_what_their_names_say(scene: np.ndarray) -> None:
    made = {name: under_condition(scene, name) for name in CONDITIONS}
    assert made["night"].mean() < 0.5 * scene.mean()
    assert made["fog"].std() < 0.6 * scene.std() and made["fog"].mean() > scene.mean()
    assert made["rain"].std() < scene.std()
    assert sharpness(made["blur"]) < 0.5 * sharpness(scene)


def test_a_mixture_has_each_data_set_as_it_is_and_under_each_condition() -> None:
    plain = Mixture().open("synthetic:3", "val")
    alone = open_dataset("synthetic:3", "val")
    assert plain.name == "synthetic:3" and plain.fingerprint() == alone.fingerprint() and len(plain.sets) == 1
    mixed = Mixture(("synthetic:4",), ("night", "fog")).open("synthetic:3", "val")
    assert mixed.name == "synthetic:3, synthetic:4, also night, fog" and len(mixed.sets) == 6
    prints = {Mixture((), names).open("synthetic:3", "val").fingerprint() for names in ((), ("night",), ("fog",))}
    assert len(prints) == 3
    np.testing.assert_array_equal(mixed.sets[1].frame(5), UnderCondition(alone, "night").frame(5))


def test_what_there_is_not_is_one_clear_line() -> None:
    assert conditions_from_text("night, rain,night") == ("night", "rain") and conditions_from_text(None) == ()
    with pytest.raises(InputError, match="--augment night,dusk: 'dusk' is no condition; choose from night, rain, fog"):
        conditions_from_text("night,dusk")
    with pytest.raises(DataError, match="is not a folder that exists"):
        Mixture(("images:/nowhere",)).open("synthetic", "train")
