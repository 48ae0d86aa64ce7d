from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgefsa.errors import InputError
from edgefsa.quantize import Ranges, Recipe, read_recipe, recipe_of

RECIPES = sorted((Path(__file__).parents[3] / "calibration" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_sound(path: Path):
    from edgefsa.models import create_model

    recipe = read_recipe(path)
    assert recipe.model == path.stem
    create_model(recipe.model)


def test_there_are_recipes():
    assert RECIPES


def test_defaults_are_filled_in(tmp_path: Path):
    path = tmp_path / "r.toml"
    path.write_text('model = "fsanet-edge"\ndata = "synthetic"\nframes = 7\n')
    assert read_recipe(path) == Recipe("fsanet-edge", "synthetic", "mse", 7)


def test_what_a_search_found_is_read_as_it_was_written(tmp_path: Path):
    ranges = Ranges("m", "0" * 64, "mse", {"name": 'camvid:a "b" ü', "fingerprint": "", "frames": 12}, {})
    search = {"max_drop": 0.3, "in_float": ["a..b", "c"], "truth": "labels", "evaluations": 7}
    recipe = recipe_of(ranges, ("layer1.0/Conv", "x[[]0]*"), search)
    (tmp_path / "r.toml").write_text(recipe.text(), encoding="utf-8")
    found = read_recipe(tmp_path / "r.toml")
    assert (found.model, found.data, found.method, found.frames) == ("m", 'camvid:a "b" ü', "mse", 12)
    assert found.skip == ("layer1.0/Conv", "x[[]0]*")
    assert found.search == search


def test_ranges_that_training_learnt_leave_the_method_open():
    learnt = Ranges("m", "0" * 64, "learnt", {"name": "d", "fingerprint": "", "frames": 3}, {})
    assert recipe_of(learnt, (), {}) == Recipe("m", "d", frames=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model = ", "is not TOML"),
        ('model = "m"', "the key 'data' is missing"),
        ('model = "m"\ndata = "d"\nframe = 3', "the key 'frame' is unknown; a recipe has data, frames"),
        ('model = "m"\ndata = "d"\nskip = "a"', "skip is 'a', not a list"),
        ('model = "m"\ndata = "d"\nskip = [1]', "skip holds 1, not the name of a node"),
        ('model = "m"\ndata = "d"\nframes = "many"', "frames is 'many', not a int"),
        ('model = "m"\ndata = "d"\nframes = 0', "frames is 0; give 1 or more"),
        ('model = "m"\ndata = "d"\nmethod = "max"', "'max' is unknown"),
    ],
)
def test_bad_recipes_are_one_clear_line(tmp_path: Path, content: str, message: str):
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_recipe(tmp_path / "none.toml")


def test_quantising_needs_no_torch():
    code = "import sys, edgefsa.quantize; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_that_is_not_utf8(tmp_path: Path):
    path = tmp_path / "r.toml"
    path.write_bytes('model = "fsanet-édge"'.encode("latin-1"))
    with pytest.raises(InputError, match="is not TOML") as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)
