"""Calibration recipes: how a model's ranges are made, as TOML files that people write."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgefsa.errors import InputError
from edgefsa.quantize.histogram import check_method

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
    values = _toml(Path(path))
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


def _toml(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {(error.strerror or str(error)).lower()}; check the path") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InputError(f"{path} is not TOML ({error}); mend the recipe") from None
    return values
