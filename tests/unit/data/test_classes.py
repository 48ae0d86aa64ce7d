from __future__ import annotations

import json

import pytest

from edgefsa.data.classes import (
    CAMVID,
    CITYSCAPES,
    CLASS_SETS,
    class_set_for,
    class_set_from_names,
    class_set_of,
    generated_names,
    name_key,
    same_names,
)
from edgefsa.data.synthetic.labels import Label
from edgefsa.errors import InputError


def test_camvid_is_the_segnet_split() -> None:
    assert CAMVID.names == (
        "sky", "building", "pole", "road", "sidewalk", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
    )  # fmt: skip
    assert CAMVID.num_classes == CAMVID.ignore_index == 11
    assert CAMVID.palette_rgb[CAMVID.names.index("road")] == (128, 64, 128)


def test_cityscapes_training_ids() -> None:
    assert CITYSCAPES.num_classes == 19 and CITYSCAPES.ignore_index == 255
    assert CITYSCAPES.names[0] == "road" and CITYSCAPES.names[10] == "sky" and CITYSCAPES.names[18] == "bicycle"
    assert CITYSCAPES.palette_rgb[13] == (0, 0, 142)


@pytest.mark.parametrize("classes", CLASS_SETS.values(), ids=lambda item: item.name)
def test_each_class_has_its_own_colour(classes) -> None:
    assert len(set(classes.palette_rgb)) == len(classes.palette_rgb) == classes.num_classes
    assert all(0 <= value <= 255 for colour in classes.palette_rgb for value in colour)
    json.dumps(classes.palette_rgb)


def test_painters_use_camvids_order() -> None:
    assert [label.value for label in Label] == list(range(12))
    names = [label.name.lower() for label in Label][:11]
    assert [name.split()[0] for name in CAMVID.names] == names


def test_class_set_for_known_and_generated_counts() -> None:
    assert class_set_for(11) is CAMVID
    assert class_set_for(19) is CITYSCAPES
    generated = class_set_for(150)
    assert generated.num_classes == 150 and generated.ignore_index == 255
    assert len(set(generated.palette_rgb)) == 150
    assert class_set_for(150) == generated


@pytest.mark.parametrize("count", [0, -3, 256])
def test_class_counts_that_do_not_fit_a_mask(count: int) -> None:
    with pytest.raises(InputError, match="1 to 255"):
        class_set_for(count)


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="'wall' is given more than once"):
        class_set_of("rooms", ("wall", "floor", "wall"))


@pytest.mark.parametrize("spelling", ["sign_symbol", "Sign Symbol", "SignSymbol", "SIGN-SYMBOL", "sign  symbol"])
def test_a_name_is_one_class_however_it_is_spelt(spelling: str) -> None:
    assert name_key(spelling) == name_key("sign symbol") and same_names([spelling], ["sign symbol"])
    names = tuple(spelling if name == "sign symbol" else name for name in CAMVID.names)
    known = class_set_from_names("mine", names)
    assert known.names == names and known.palette_rgb == CAMVID.palette_rgb and known.ignore_index == 11
    if spelling != "sign symbol":
        with pytest.raises(InputError, match=r"is given more than once \(as 'sign symbol'\)"):
            class_set_of("twice", ("sign symbol", spelling))


def test_other_names_stay_apart() -> None:
    assert not same_names(["car", "bus"], ["bus", "car"]) and not same_names(["car"], ["cars"])
    assert name_key("-") != name_key("_")


def test_generated_names_are_known_again() -> None:
    assert class_set_for(3).names == generated_names(3) == ("class 0", "class 1", "class 2")
