"""Class names and display colours of the data sets that edgefsa knows.

The CamVid colours are those of the SegNet split, the Cityscapes colours those of its training ids.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgefsa.errors import DataError, InputError
from edgefsa.metadata import MAX_CLASSES

_GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True)
class ClassSet:
    """The classes of a data set.

    `names[i]` and `palette_rgb[i]` (0 to 255, in R, G, B order) belong to class index i. A label pixel of
    `ignore_index` counts in no loss and no score.
    """

    name: str
    names: tuple[str, ...]
    palette_rgb: tuple[tuple[int, int, int], ...]
    ignore_index: int

    @property
    def num_classes(self) -> int:
        """The number of classes, without the ignored one."""
        return len(self.names)


CAMVID = ClassSet(
    name="camvid",
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "sidewalk",
        "tree",
        "sign symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette_rgb=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=11,
)

CITYSCAPES = ClassSet(
    name="cityscapes",
    names=(
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    palette_rgb=(
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
    ignore_index=255,
)

CLASS_SETS: dict[str, ClassSet] = {item.name: item for item in (CAMVID, CITYSCAPES)}


def name_key(name: str) -> str:
    """Return what all spellings of a class name share: "sign_symbol", "Sign Symbol" and "SignSymbol" are one class."""
    return re.sub(r"[\s_-]+", "", name).casefold() or name


def same_names(names: Iterable[str], others: Iterable[str]) -> bool:
    """Return whether two lists name the same classes in the same order, however they are spelt."""
    return [name_key(name) for name in names] == [name_key(name) for name in others]


def class_set_for(num_classes: int) -> ClassSet:
    """Return CamVid's classes for 11, Cityscapes' for 19, else generated names and colours (ignore 255).

    Raises InputError where `num_classes` is not 1 to 255: a mask is 8 bits a pixel.
    """
    for known in CLASS_SETS.values():
        if known.num_classes == num_classes:
            return known
    return class_set_of(f"{num_classes} classes", generated_names(num_classes))


def generated_names(num_classes: int) -> tuple[str, ...]:
    """Return "class 0", "class 1", ...: the names of classes that nobody has named."""
    return tuple(f"class {index}" for index in range(num_classes))


def class_set_of(name: str, names: tuple[str, ...]) -> ClassSet:
    """Return a class set with the names `names`, generated colours and ignore index 255.

    Raises InputError where there are none, more than 255, or two of one name (however they are spelt).
    """
    first: dict[str, str] = {}
    for item in names:
        before = first.get(name_key(item))
        if before is not None:
            spelt = f" (as {before!r})" if before != item else ""
            raise InputError(f"the class name {item!r} is given more than once{spelt}; give each class its own name")
        first[name_key(item)] = item
    if not 1 <= len(names) <= MAX_CLASSES:
        raise InputError(f"{len(names)} classes cannot be used; give 1 to {MAX_CLASSES}")
    return ClassSet(name, names, tuple(_generated_rgb(index) for index in range(len(names))), ignore_index=255)


def class_set_from_names(name: str, names: tuple[str, ...]) -> ClassSet:
    """Return the known class set of these names, spelt as given, or a new one; raises InputError as `class_set_of`."""
    for known in CLASS_SETS.values():
        if same_names(names, known.names):
            return known if names == known.names else replace(known, names=names)  # spelt in another way
    return class_set_of(name, names)


def _generated_rgb(index: int) -> tuple[int, int, int]:
    # Steps of the golden ratio keep the hues of neighbouring indices far apart; the three values of
    # brightness and saturation separate hues that come close after many steps.
    hue = (index * _GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 - 0.2 * (index % 3), 0.95 - 0.2 * (index // 3 % 3))
    return round(255 * red), round(255 * green), round(255 * blue)


def class_set_from_file(path: str | Path) -> ClassSet:
    """Read class names, one a line in the order of their indices; known lists get their own palette.

    Raises DataError where the file cannot be read, is empty, or names a class twice.
    """
    path = Path(path)
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); write one class name a line") from error
    try:
        return class_set_from_names(path.parent.name, names)
    except InputError as error:
        raise DataError(f"{path}: {error}") from error
