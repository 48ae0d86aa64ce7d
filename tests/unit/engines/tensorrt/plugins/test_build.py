"""Building the plugin library into the user's cache: once, whole or not at all, and with the reason where it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgefsa.engines.tensorrt.plugins import build as plugin_build
from edgefsa.engines.tensorrt.plugins.library import LIBRARY_NAME, find_library, read_library
from edgefsa.errors import BuildError, PluginError
from tests.unit.engines.tensorrt.plugins.library_files import write_library

pytestmark = pytest.mark.usefixtures("empty_places")


@pytest.fixture
def headers(tmp_path: Path) -> Path:
    """A folder of TensorRT's headers, as far as their version goes."""
    folder = tmp_path / "headers"
    folder.mkdir()
    numbers = {"MAJOR": 10, "MINOR": 13, "PATCH": 3, "BUILD": 9}
    (folder / "NvInferVersion.h").write_text(
        "".join(f"#define NV_TENSORRT_{name} {value} //!< version\n" for name, value in numbers.items())
    )
    return folder


def play_cmake(monkeypatch: pytest.MonkeyPatch, headers: Path, status: int = 0) -> list[list[str]]:
    """Put a library where CMake would, and give the commands that were asked for."""
    commands: list[list[str]] = []

    def run(command: list[str], stdout: Any, **_: Any) -> Any:
        commands.append(command)
        if "--build" in command:
            write_library(Path(command[2]) / LIBRARY_NAME)
        else:
            (Path(command[4]) / "CMakeCache.txt").write_text(f"A:PATH=a\nTENSORRT_INCLUDE_DIR:PATH={headers}\n")
        stdout.write("kernel.cu(7): error: it is wrong\nmake: *** [all] Error 2\n" if status else "fine\n")
        stdout.flush()
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(plugin_build.subprocess, "run", run)
    return commands


def cmake_in(folder: Path, headers: Path, building: str) -> dict[str, str]:
    """Write a program cmake that runs `building` where it is to build; return an environment in which it is found."""
    folder.mkdir(exist_ok=True)
    cache = f'echo "TENSORRT_INCLUDE_DIR:PATH={headers}" > "$4/CMakeCache.txt"'
    (folder / "cmake").write_text(f'#!/bin/sh\nif [ "$1" = --build ]; then {building}; else {cache}; fi\n')
    (folder / "cmake").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def test_a_library_is_built_once_for_a_tensorrt_and_a_gpu(
    tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = play_cmake(monkeypatch, headers)
    first = plugin_build.build_library("10.13.3.9", "8.7", include_dir="/trt/include")
    assert plugin_build.build_library("10.13.3.9", "8.7") == first
    assert len(commands) == 2
    assert {"-DCMAKE_CUDA_ARCHITECTURES=87", "-DTENSORRT_INCLUDE_DIR=/trt/include"} <= set(commands[0])
    assert first.path.parent.parent == tmp_path / "cache" / "plugins"
    assert find_library("10.13.3.9", "8.7") == first


def test_a_failed_build_gives_the_first_error_and_leaves_nothing(
    tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_cmake(monkeypatch, headers, status=1)
    with pytest.raises(BuildError, match=r"kernel\.cu\(7\): error: it is wrong"):
        plugin_build.build_library("10.13.3.9", "8.7")
    assert [path.name for path in (tmp_path / "cache" / "plugins").iterdir()] == [plugin_build.LOCK_NAME]


@pytest.mark.parametrize("name", ["NV_TENSORRT", "TRT"])
def test_headers_of_another_tensorrt_are_told_before_anything_is_compiled(
    tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # As TensorRT 10 and 11 write it.
    end = "" if name == "NV_TENSORRT" else "_ENTERPRISE"
    numbers = {"MAJOR": 11, "MINOR": 1, "PATCH": 0, "BUILD": 106}
    text = "".join(f"#define {name}_{part}{end} {value}\n" for part, value in numbers.items())
    (headers / "NvInferVersion.h").write_text(f"{text}#define NV_TENSORRT_SONAME_MAJOR 11\n")
    commands = play_cmake(monkeypatch, headers)
    with pytest.raises(BuildError, match=r"headers are of TensorRT 11\.1\.0, and this is 10\.13\.3\.9"):
        plugin_build.build_library("10.13.3.9", "8.7")
    assert len(commands) == 1
    assert [path.name for path in (tmp_path / "cache" / "plugins").iterdir()] == [plugin_build.LOCK_NAME]


def test_a_damaged_library_in_the_cache_is_built_again(headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = play_cmake(monkeypatch, headers)
    first = plugin_build.build_library("10.13.3.9", "8.7")
    first.path.write_bytes(b"cut short")
    assert plugin_build.build_library("10.13.3.9", "8.7") == first
    assert len(commands) == 4


BUILD = (
    "from edgefsa.engines.tensorrt.plugins.build import build_library; print(build_library('10.13.3.9', '8.7').path)"
)


def test_two_processes_build_once(tmp_path: Path, headers: Path) -> None:
    library = write_library(tmp_path / "made.so")
    building = f'echo built >> {tmp_path}/builds; sleep 1; cp {library} "$2/{LIBRARY_NAME}"'
    environment = cmake_in(tmp_path / "bin", headers, building)
    command = [sys.executable, "-c", BUILD]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    (path,) = {process.communicate()[0].strip() for process in started}
    assert (tmp_path / "builds").read_text() == "built\n"
    assert read_library(path) == replace(read_library(library), path=Path(path))


def test_a_killed_build_leaves_nothing_that_the_next_one_stumbles_over(tmp_path: Path, headers: Path) -> None:
    environment = cmake_in(tmp_path / "bin", headers, f"touch {tmp_path}/started; exec sleep 60")
    process = subprocess.Popen([sys.executable, "-c", BUILD], env=environment, start_new_session=True)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cmake_in(tmp_path / "bin", headers, f'cp {write_library(tmp_path / "made.so")} "$2/{LIBRARY_NAME}"')
    assert subprocess.run([sys.executable, "-c", BUILD], env=environment, capture_output=True).returncode == 0
    build = find_library("10.13.3.9", "8.7").path.parent
    assert {path.name for path in build.parent.iterdir()} == {build.name, plugin_build.LOCK_NAME}


def test_the_cache_keeps_the_newest_libraries(tmp_path: Path, headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age in range(12):
        path = write_library(tmp_path / "cache" / "plugins" / f"old-{age}" / LIBRARY_NAME, source="0" * 64)
        os.utime(path, (1e9 - age, 1e9 - age))
    play_cmake(monkeypatch, headers)
    built = plugin_build.build_library("10.13.3.9", "8.7")
    kept = {path.parent.name for path in (tmp_path / "cache" / "plugins").glob(f"*/{LIBRARY_NAME}")}
    assert kept == {built.path.parent.name, *(f"old-{age}" for age in range(plugin_build.KEPT_BUILDS - 1))}


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(PluginError, match=r"cannot write to .*: not a directory; set EDGEFSA_CACHE_DIR"):
        plugin_build.build_library("10.13.3.9", "8.7")


def test_without_cmake_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PluginError, match="install cmake"):
        plugin_build.build_library("10.13.3.9", "8.7")
