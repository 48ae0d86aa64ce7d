"""The folders beside the modules are found in a wheel, an editable install and a checkout on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from setuptools.command.editable_wheel import _finder_template

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
CODE = (
    "from edgefsa.engines.tensorrt.plugins.sources import checkout_build_folder, sources_folder\n"
    "from edgefsa.resources import resource_folder\n"
    "print(resource_folder('calibration'), sources_folder(), checkout_build_folder(), sep='\\n')"
)


def found(folder: Path, *, before: str = "") -> list[str]:
    """Run CODE in `folder`, with NumPy at hand and without what is installed beside it: PYTHONPATH reads no .pth."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", before + CODE],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(np.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def copy(source: str, target: Path) -> None:
    shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", "weights"))


def checkout(root: Path) -> list[str]:
    for name in ("edgefsa", "calibration", "plugins"):
        copy(name, root / name)
    return [str(root / "calibration"), str(root / "plugins"), str(root / "build" / "plugins")]


def test_a_checkout_on_the_path(tmp_path: Path) -> None:
    assert checkout(tmp_path / "source") == found(tmp_path / "source")


def test_an_editable_install(tmp_path: Path) -> None:
    expected = checkout(tmp_path / "source")
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    mapping = {"edgefsa": "edgefsa", **tables["package-dir"]}
    finder = _finder_template("finder", {name: str(tmp_path / "source" / path) for name, path in mapping.items()}, {})
    (tmp_path / "finder.py").write_text(finder)
    (tmp_path / "calibration").mkdir()  # of somebody else
    assert found(tmp_path, before="import finder; finder.install()\n") == expected


def test_an_installed_package_beside_somebodys_project(tmp_path: Path) -> None:
    copy("edgefsa", tmp_path / "edgefsa")
    for name in ("calibration", "plugins"):
        copy(name, tmp_path / "edgefsa" / name)
        (tmp_path / name).mkdir()  # the project's own folders of the same names
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'other'\n")
    inside = tmp_path / "edgefsa"
    assert found(tmp_path) == [str(inside / "calibration"), str(inside / "plugins"), "None"]
