"""Calibration recipes: how a model's ranges are made, as TOML files that people write."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from edgefsa.artifacts import read_toml
from edgefsa.errors import InputError
from edgefsa.quantize.histogram import check_method


@dataclass(frozen=True)
class Recipe:
    """What `edgefsa calibrate` was, or is to be, run with.

    `data` is a data set as on the command line (`camvid:DIR`, `synthetic`), `frames` how many of its training
    frames, evenly spread.
    """

    model: str
    data: str
    method: str = "percentile"
    frames: int = 128


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; InputError says which key is wrong."""
    values = read_toml(path)
    kinds = {"model": str, "data": str, "method": str, "frames": int}
    known = {item.name for item in fields(Recipe)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{path}: the key {name!r} is unknown; a recipe has {', '.join(sorted(known))}")
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise InputError(f"{path}: {name} is {value!r}, not a {kinds[name].__name__}; mend the recipe")
    for name in ("model", "data"):
        if name not in values:
            raise InputError(f"{path}: the key {name!r} is missing; say which {name} the recipe is for")
    recipe = Recipe(**values)
    check_method(recipe.method)
    if recipe.frames < 1:
        raise InputError(f"{path}: frames is {recipe.frames}; give 1 or more")
    return recipe
