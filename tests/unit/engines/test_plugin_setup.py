"""setup.py: when `pip install .` builds the plugin library, and what it says where it cannot."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import setuptools

SETUP = Path(__file__).parents[3] / "setup.py"


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py defines, without setuptools being started; no tool of this machine is seen."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    for name in ("EDGEFSA_PLUGINS", "TENSORRT_INCLUDE_DIR", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    return runpy.run_path(str(SETUP))


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """TensorRT's headers in a folder, and every program there is to be asked for."""
    (tmp_path / "NvInferRuntime.h").touch()
    monkeypatch.setenv("TENSORRT_INCLUDE_DIR", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
    return tmp_path


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the plugins are for Linux")


@needs_linux
def test_the_library_is_built_where_everything_is_there(setup: dict[str, Any], tools: Path) -> None:
    assert setup["missing_tools"]() == [] and setup["wants_plugins"]()


def test_it_is_left_out_where_that_is_asked_for(
    setup: dict[str, Any], tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFSA_PLUGINS", "0")
    assert not setup["wants_plugins"]()


@needs_linux
def test_what_is_missing_is_named_only_where_the_library_is_demanded(
    setup: dict[str, Any], tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    (tools / "NvInferRuntime.h").unlink()
    assert not setup["wants_plugins"]()
    monkeypatch.setenv("EDGEFSA_PLUGINS", "1")
    with pytest.raises(SystemExit, match=r"nvcc, cmake, TensorRT's headers \(TENSORRT_INCLUDE_DIR\) not found"):
        setup["wants_plugins"]()


def test_the_wheel_gets_what_cmake_built(
    setup: dict[str, Any], tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def run(command: list[str], check: bool) -> Any:
        commands.append(command)
        if "--build" in command:
            (Path(command[2]) / setup["LIBRARY"]).write_bytes(b"library")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    setup["BuildWithPlugins"].build_plugins(None, tmp_path / "built.so")
    assert (tmp_path / "built.so").read_bytes() == b"library"
    assert f"-DTENSORRT_INCLUDE_DIR={tools}" in commands[0] and "edgefsa_plugins" in commands[1]


def test_a_build_that_fails_says_how_to_do_without(
    setup: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, check: SimpleNamespace(returncode=1))
    with pytest.raises(SystemExit, match="EDGEFSA_PLUGINS=0 leaves them out"):
        setup["BuildWithPlugins"].build_plugins(None, tmp_path / "built.so")
