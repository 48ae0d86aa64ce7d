"""setup.py: when `pip install .` builds the plugin library, what it says where it cannot, and what a wheel holds."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import setuptools

from edgefsa.engines.tensorrt.plugins.sources import source_sha256

ROOT = Path(__file__).parents[5]
SETUP = ROOT / "setup.py"


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


def wheel_of(folder: Path, **variables: str) -> tuple[zipfile.ZipFile, str]:
    """Let setuptools build a wheel of the checkout's files, as pip does; with what it said."""
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout: the files of the package are listed by git")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("EDGEFSA_", "TENSORRT_"))}
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, env={**environment, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1]), done.stdout


@needs_linux
def test_a_wheel_without_the_library_holds_all_that_builds_it(tmp_path: Path) -> None:
    wheel, said = wheel_of(tmp_path, TENSORRT_INCLUDE_DIR=str(tmp_path))
    assert "without the TensorRT plugins (" in said and "TensorRT's headers (TENSORRT_INCLUDE_DIR) not found)" in said
    assert Path(str(wheel.filename)).name.endswith("-py3-none-any.whl")
    assert not [name for name in wheel.namelist() if name.endswith(".so")]
    folder = tmp_path / "installed"
    wheel.extractall(folder)
    code = "from edgefsa.engines.tensorrt.plugins.sources import *; print(source_sha256(), sources_folder())"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    installed = folder / "edgefsa" / "plugins"
    assert done.stdout.split() == [source_sha256(), str(installed)], done.stderr
    for name in ("aot/spectral_mask.cu", "aot/upsample_argmax.cu", "tensorrt/README.md"):
        assert (installed / name).read_bytes() == (ROOT / "plugins" / name).read_bytes()


@needs_linux
def test_a_wheel_with_the_library_is_for_this_platform_only(tmp_path: Path) -> None:
    """With programs in place of nvcc and CMake: what they are asked for is not compiled."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tmp_path / "NvInferRuntime.h").touch()
    (tools / "nvcc").write_text("#!/bin/sh\n")
    (tools / "cmake").write_text(
        '#!/bin/sh\nif [ "$1" = --build ]; then echo library > "$2/libedgefsa_plugins.so"; fi\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    wheel, _ = wheel_of(tmp_path, TENSORRT_INCLUDE_DIR=str(tmp_path), PATH=path)
    assert wheel.read("edgefsa/engines/tensorrt/plugins/libedgefsa_plugins.so") == b"library\n"
    assert "-none-any" not in str(wheel.filename) and "linux_" in str(wheel.filename)
    (record,) = (name for name in wheel.namelist() if name.endswith("/WHEEL"))
    assert "Root-Is-Purelib: false" in wheel.read(record).decode()
