"""The wheel that a bundle carries: the files that setuptools would take, and pip installs them."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgefsa.deploy.wheel import WHEEL_NAME, write_wheel
from edgefsa.errors import BundleError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / WHEEL_NAME
    write_wheel(path)
    return path


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_has_the_files_that_setuptools_takes(wheel: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in (name for name in tracked if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/"))):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-w", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "EDGEFSA_PLUGINS": "0"})
    assert names_in(wheel) >= names_in(next(tmp_path.glob("*.whl")))
    # Beyond those, only what is not yet committed in this checkout.
    assert all(name.startswith("edgefsa/") for name in names_in(wheel) - names_in(next(tmp_path.glob("*.whl"))))


def test_it_is_the_same_each_time_and_has_the_plugins_sources(wheel: Path, tmp_path: Path) -> None:
    write_wheel(tmp_path / "again.whl")
    assert (tmp_path / "again.whl").read_bytes() == wheel.read_bytes()
    assert {"edgefsa/plugins/CMakeLists.txt", "edgefsa/plugins/kernels/common.cuh"} <= names_in(wheel)
    assert not [name for name in names_in(wheel) if name.endswith((".pyc", ".so"))]


def test_pip_installs_it_and_that_installation_makes_the_same_files(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *options, str(wheel)], check=True)
    code = (
        "import sys; from pathlib import Path; import edgefsa; from edgefsa.deploy.wheel import write_wheel;"
        "write_wheel(Path(sys.argv[1])); print(edgefsa.__file__)"
    )
    again = tmp_path / WHEEL_NAME
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", code, str(again)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == str(site / "edgefsa" / "__init__.py"), done.stderr
    assert again.read_bytes() == wheel.read_bytes()


def test_a_checkout_that_is_not_installed_is_told_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: [])
    with pytest.raises(BundleError, match=r"is not installed, and a bundle carries its wheel.*pip install -e"):
        write_wheel(tmp_path / WHEEL_NAME)
