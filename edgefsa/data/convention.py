"""How the files of a data set are to be read: the keys of `dataset.toml`, which docs/data.md explains.

The file lies in the data set's folder, so that training, calibration and evaluation read it alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from edgefsa.artifacts import read_toml
from edgefsa.errors import InputError

FILE_NAME = "dataset.toml"
REST = "rest"

Form = Literal["indices", "colours"]
Zero = Literal["class", "unlabelled"]
Orientation = Literal["upright", "raw"]
_CHOICES = {"form": get_args(Form), "zero": get_args(Zero), "label_orientation": get_args(Orientation)}


@dataclass(frozen=True)
class Convention:
    """What `dataset.toml` says of a data set; None, () and {} leave it to be found out.

    - `classes`: class names in the order of their indices; else classes.txt, else those of the colour table.
    - `colours`: the colour table, a file in the folder; `map`: names in it -> class names ("" for no class).
    - `images`, `labels`: folders, `{split}` in them stands for the split; `names`: a file that lists a split's images.
    - `splits`: split -> what the folders call it.
    - `image_suffix`, `label_suffix`: what the names of images and labels have beyond the name that they share.
    - `form`: labels hold class "indices" or "colours".
    - `zero`: the value 0 is a "class", or "unlabelled" (then the classes count from 1).
    - `values`: the stored value of each class; `unlabelled`: stored values that are no class, or "rest".
    - `label_orientation`: labels are drawn on the "upright" picture, or on its "raw" pixels, before EXIF turns it.
    - `bits`: how many of the 16 bits a value frames of 16 bits use.

    `path` is the file that says it, or would.
    """

    path: Path
    classes: tuple[str, ...] = ()
    colours: str | None = None
    map: Mapping[str, str] = field(default_factory=dict)
    images: str | None = None
    labels: str | None = None
    names: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    image_suffix: str | None = None
    label_suffix: str | None = None
    form: Form | None = None
    zero: Zero = "class"
    values: tuple[int, ...] = ()
    unlabelled: tuple[int, ...] | str = ()
    label_orientation: Orientation = "upright"
    bits: int | None = None

    def identity(self) -> str:
        """Return the settings that a file made, as text; empty where there are none."""
        plain = Convention(self.path)
        names = [item.name for item in fields(self) if getattr(self, item.name) != getattr(plain, item.name)]
        return "; ".join(f"{name} = {getattr(self, name)!r}" for name in names)

    def remedy(self, setting: str) -> str:
        """Return the words that send a reader to a setting of this file."""
        return f"write {setting} into {self.path}"


def open_convention(place: Path) -> tuple[Path, Convention]:
    """Return the data set's folder and its convention; `place` is that folder, or a TOML file that names it as `root`.

    Raises InputError where the file cannot be read, or a key or its value cannot be used.
    """
    if place.suffix.lower() != ".toml":
        path = place / FILE_NAME
        return place, _convention(path, read_toml(path)) if path.is_file() else Convention(path)
    values = read_toml(place)
    root = values.pop("root", None)
    if not isinstance(root, str):
        raise InputError(f'{place} does not say where the data lies; write root = "DIR" into it')
    return place.parent / Path(root).expanduser(), _convention(place, values)


def _convention(path: Path, values: dict[str, Any]) -> Convention:
    known = [item.name for item in fields(Convention) if item.name != "path"]
    for key, value in values.items():
        if key not in known:
            raise InputError(f"{path}: the key {key!r} is unknown; it may have {', '.join(known)}")
        _check(path, key, value)
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return _checked(replace(Convention(path), **plain))


def _check(path: Path, key: str, value: Any) -> None:
    if key in _CHOICES:
        fits, wanted = value in _CHOICES[key], " or ".join(f'"{choice}"' for choice in _CHOICES[key])
    elif key in ("values", "unlabelled"):
        fits = isinstance(value, list) and all(type(item) is int and 0 <= item <= 255 for item in value)
        fits |= key == "unlabelled" and value == REST
        wanted = "a list of numbers from 0 to 255" + (f' or "{REST}"' if key == "unlabelled" else "")
    elif key == "classes":
        fits, wanted = isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of names"
    elif key in ("map", "splits"):
        fits = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
        wanted = "a table of names"
    elif key == "bits":
        fits, wanted = type(value) is int and 8 <= value <= 16, "a number from 8 to 16"
    else:
        fits, wanted = isinstance(value, str), "a text"
    if not fits:
        raise InputError(f"{path}: {key} is {value!r}; give {wanted}")


def _checked(convention: Convention) -> Convention:
    if bool(convention.images) != bool(convention.labels):
        raise InputError(f"{convention.path} names only one of images and labels; give both")
    if convention.values and convention.zero == "unlabelled":
        raise InputError(f"{convention.path} has both values and zero; values alone say what each value is")
    return convention
