"""Which packages lie where, and what `import cv2` comes to."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from edgefsa.machine.installed import (
    OPENCV_PACKAGES,
    Installed,
    debian_packages,
    environment,
    open_cv,
    python_packages,
)
from tests.unit.recorded import BOARDS, play


@pytest.mark.parametrize("board", BOARDS)
def test_jetpacks_packages_by_dpkg(board: str, tmp_path: Path) -> None:
    machine = play(board, tmp_path)
    packages = debian_packages(machine.ask)
    assert packages["libnvinfer10"] == packages["python3-libnvinfer"]
    assert packages["nvidia-jetpack"].startswith(board.partition("jetpack")[2])


def test_a_package_that_dpkg_knows_and_has_not() -> None:
    assert debian_packages(lambda command: "libnvinfer10 10.3.0.30-1+cuda12.5\nlibnvinfer8 \n") == {
        "libnvinfer10": "10.3.0.30-1+cuda12.5"
    }
    assert debian_packages(lambda command: "") == {}


def test_pips_package_comes_before_the_systems(tmp_path: Path) -> None:
    machine = play("orin-nano-jetpack6.2", tmp_path)
    site = tmp_path / "venv/lib/python3.10/site-packages"
    metadata = site / "numpy-2.2.6.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.2.6\n")
    pips, systems = python_packages(["numpy"], [str(site), *machine.folders()])
    assert pips == Installed("numpy", "2.2.6", str(site), "pip")
    assert (systems.version, systems.by) == ("1.21.5", "apt")


def test_packages_of_this_python() -> None:
    assert python_packages(["numpy"])[0].version == np.__version__
    assert python_packages(["edgefsa-has-no-such-package"]) == []


@pytest.mark.parametrize("sees", [True, False])
def test_a_virtual_environment(tmp_path: Path, sees: bool) -> None:
    venv.create(tmp_path / "venv", system_site_packages=sees, with_pip=False)
    found = environment(str(tmp_path / "venv"), "/usr")
    assert (found.virtual, found.sees_system) == (True, sees)
    assert found.version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert not environment("/usr", "/usr").virtual


def test_cv2_of_this_python() -> None:
    import cv2

    found = open_cv()
    assert (found.version, found.path, found.error) == (cv2.__version__, cv2.__file__, None)
    says = any("GStreamer:" in line and "YES" in line for line in cv2.getBuildInformation().splitlines())
    assert found.gstreamer is says
    if python_packages(OPENCV_PACKAGES, [str(Path(cv2.__file__).parents[1])]):
        assert found.by == "pip"


def test_cv2_that_cannot_be_imported(tmp_path: Path) -> None:
    """The probe itself, in a Python whose cv2 fails as one built for another NumPy does."""
    from edgefsa.machine.installed import _PROBE

    (tmp_path / "cv2.py").write_text("print('A module that was ...')\nraise ImportError('numpy.core\\nfailed')")
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, check=True
    )
    found = open_cv(done.stdout)
    assert found.error == "ImportError: numpy.core failed" and found.version is None


@pytest.mark.parametrize("answer", ["", "Segmentation fault"])
def test_cv2_that_ends_the_process(answer: str) -> None:
    assert open_cv(answer).error == "the process that imported it ended without an answer"


@pytest.mark.parametrize(
    ("path", "owner", "by"),
    [
        ("/usr/lib/python3.10/dist-packages/cv2/__init__.py", "libopencv-python: /usr/lib/...", "jetpack"),
        ("/usr/lib/python3/dist-packages/cv2.so", "python3-opencv: /usr/lib/...", "apt"),
        ("/usr/lib/python3/dist-packages/cv2.so", "", "unknown"),
        ("/opt/opencv/python/cv2.so", "", "unknown"),
    ],
)
def test_whose_cv2_it_is(path: str, owner: str, by: str) -> None:
    facts = {"version": "4.8.0", "path": path, "gstreamer": True, "error": None}
    assert open_cv(f"edgefsa-probe:{json.dumps(facts)}", lambda command: owner).by == by
