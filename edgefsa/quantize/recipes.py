"""Recipes: how a model's ranges are made and what stays in float, as TOML files that people write and searches save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgefsa.artifacts import read_toml, toml_text
from edgefsa.errors import InputError
from edgefsa.quantize.histogram import DEFAULT_METHOD, METHODS, check_method
from edgefsa.quantize.ranges import Ranges


@dataclass(frozen=True)
class Recipe:
    """What `edgefsa calibrate` was, or is to be, run with, and the nodes that an INT8 build leaves in float.

    `data` is a data set as on the command line (`camvid:DIR`, `synthetic`), `frames` how many of its training
    frames, evenly spread. `skip` are name patterns of nodes. `search` records how they were found; nothing reads it
    but people and the manifest.
    """

    model: str
    data: str
    method: str = DEFAULT_METHOD
    frames: int = 128
    skip: tuple[str, ...] = ()
    search: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """Return the recipe as TOML."""
        return toml_text({name: value for name, value in asdict(self).items() if value not in ((), {})})


def recipe_of(ranges: Ranges, skip: tuple[str, ...], search: Mapping[str, Any]) -> Recipe:
    """Return the recipe that repeats measured ranges and leaves the nodes of `skip` in float."""
    known = {"method": ranges.method} if ranges.method in METHODS else {}
    return Recipe(
        ranges.model, ranges.data["name"], frames=int(ranges.data["frames"]), skip=skip, search=search, **known
    )


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe; InputError says which key is wrong."""
    values = read_toml(path)
    kinds = {"model": str, "data": str, "method": str, "frames": int, "skip": list, "search": dict}
    known = {item.name for item in fields(Recipe)}
    for name, value in values.items():
        if name not in known:
            raise InputError(f"{path}: the key {name!r} is unknown; a recipe has {', '.join(sorted(known))}")
        if not isinstance(value, kinds[name]) or isinstance(value, bool):
            raise InputError(f"{path}: {name} is {value!r}, not a {kinds[name].__name__}; mend the recipe")
    for name in ("model", "data"):
        if name not in values:
            raise InputError(f"{path}: the key {name!r} is missing; say which {name} the recipe is for")
    patterns = values.pop("skip", [])
    wrong = [item for item in patterns if not isinstance(item, str)]
    if wrong:
        raise InputError(f"{path}: skip holds {wrong[0]!r}, not the name of a node; mend the recipe")
    recipe = Recipe(**values, skip=tuple(patterns))
    check_method(recipe.method)
    if recipe.frames < 1:
        raise InputError(f"{path}: frames is {recipe.frames}; give 1 or more")
    return recipe
