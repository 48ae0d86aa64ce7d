"""Labels in colours: the tables that say which colour is which class, as data sets bring them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgefsa.data.classes import CAMVID, CITYSCAPES, ClassSet, name_key, same_names
from edgefsa.errors import DataError

TABLE_NAMES = ("label_colors.txt", "class_dict.csv", "labelmap.txt")
NO_CLASS = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "no class")

Rgb = tuple[int, int, int]
_BLACK: Rgb = (0, 0, 0)

# The classes of the SegNet split, and the colours of CamVid's own 32 classes that each of them joins. The split's own
# palette differs from CamVid's in the sidewalk alone.
_CAMVID_JOINED: dict[str, dict[str, Rgb]] = {
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Building": (128, 0, 0),
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "sidewalk": {
        "Sidewalk": (0, 0, 192),
        "Pavement": (60, 40, 222),
        "ParkingBlock": (64, 192, 128),
        "RoadShoulder": (128, 128, 192),
    },
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign symbol": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
CAMVID_MAP = {name: target for target, joined in _CAMVID_JOINED.items() for name in joined}


@dataclass(frozen=True)
class ColourTable:
    """Names and their colours (0 to 255, R, G, B), in the order of the file `source`."""

    source: str
    names: tuple[str, ...]
    colours_rgb: tuple[Rgb, ...]

    def classes(self, mapped: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[Rgb, ...]]:
        """Return the names of the classes that the table makes, and the first colour of each.

        `mapped` joins names of the table into classes; what it maps to "" and what NO_CLASS lists is no class.
        """
        found: dict[str, tuple[str, Rgb]] = {}
        for name, colour in zip(self.names, self.colours_rgb, strict=True):
            target = target_of(name, mapped)
            if target:
                found.setdefault(name_key(target), (target, colour))
        return tuple(name for name, _ in found.values()), tuple(colour for _, colour in found.values())

    def indices(self, class_set: ClassSet, mapped: Mapping[str, str]) -> dict[Rgb, int]:
        """Return colour -> class index; DataError for a name in the table that is no class of `class_set`."""
        index_of = {name_key(name): index for index, name in enumerate(class_set.names)}
        found: dict[Rgb, int] = {}
        for name, colour in zip(self.names, self.colours_rgb, strict=True):
            target = target_of(name, mapped)
            index = index_of.get(name_key(target)) if target else class_set.ignore_index
            if index is None:
                raise DataError(
                    f"{self.source} names {target!r}, which is none of the {class_set.num_classes} classes "
                    f'({class_set.names[0]}, ...); write {target!r} = "CLASS" (or "" for no class) under [map] in '
                    "dataset.toml"
                )
            if found.setdefault(colour, index) != index:
                raise DataError(f"{self.source} gives the colour {colour} to two classes; mend the table")
        return found


def target_of(name: str, mapped: Mapping[str, str]) -> str:
    """Return the class that a name of a table stands for: its own, the one that it is mapped to, or "" for none."""
    keys = {name_key(known): target for known, target in mapped.items()}
    if name_key(name) in keys:
        return keys[name_key(name)]
    return "" if name_key(name) in {name_key(word) for word in NO_CLASS} else name


def camvid_table() -> ColourTable:
    """Return the colours of CamVid's own 32 classes and of the SegNet split; CAMVID_MAP joins them into its 11."""
    pairs = [pair for joined in _CAMVID_JOINED.values() for pair in joined.items()]
    names, colours = zip(*pairs, ("Void", _BLACK), strict=True)
    return ColourTable("CamVid's own table", names, colours)


def known_colours(class_set: ClassSet) -> dict[Rgb, int]:
    """Return colour -> class index of CamVid's and Cityscapes' own labels, black being no class; else nothing."""
    if same_names(class_set.names, CAMVID.names):
        return camvid_table().indices(class_set, CAMVID_MAP)
    if same_names(class_set.names, CITYSCAPES.names):
        return {**{rgb: index for index, rgb in enumerate(CITYSCAPES.palette_rgb)}, _BLACK: class_set.ignore_index}
    return {}


def read_colour_table(path: Path) -> ColourTable:
    """Read a table of "R G B name" or "name R G B", a class a line; spaces, tabs or commas part them.

    So are CamVid's label_colors.txt and the class_dict.csv (with a header) of many collections. Raises DataError.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); write R G B NAME, a class a line") from error
    rows = [(number, row) for number, line in enumerate(lines, 1) if (row := _row(line)) is not None]
    wrong = [number for number, row in rows if not row[0] or max(row[1]) > 255]
    if wrong or not rows:
        where = f"line {wrong[0]}" if wrong else "it"
        raise DataError(f"{path}: {where} holds no class with a colour of 0 to 255; write R G B NAME, a class a line")
    return ColourTable(path.name, tuple(row[0] for _, row in rows), tuple(row[1] for _, row in rows))


def _row(line: str) -> tuple[str, Rgb] | None:
    """Return name and colour of a line, or None for an empty line, a comment and a header."""
    text = line.partition("#")[0].strip()
    numbers = r"(\d+)[\s,]+(\d+)[\s,]+(\d+)"
    first, last = re.fullmatch(rf"{numbers}[\s,]+(.+)", text), re.fullmatch(rf"(.+?)[\s,:]+{numbers}[\s,:]*", text)
    if first:
        red, green, blue, name = first.groups()
    elif last:
        name, red, green, blue = last.groups()
    else:
        header = {word.casefold() for word in re.split(r"[\s,]+", text)} & {"r", "red", "rgb", "name"}
        return None if not text or header else ("", (256, 256, 256))
    return name.strip(" ,\t:\"'"), (int(red), int(green), int(blue))
