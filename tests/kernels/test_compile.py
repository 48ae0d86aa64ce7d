"""nvcc takes the kernels, and g++ the plugin classes, with warnings as errors; no kernel spills.

One architecture per run, another one each day of the year; `make plugins-all` compiles for all.
"""

from __future__ import annotations

import ctypes
import datetime
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.engines.plugin_harness.harness import include_dirs, plugin_sources

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
ARCHITECTURES = (75, 80, 86, 87, 89, 90, 110, 120)
WARNINGS = ("-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror")


def nvcc() -> str:
    found = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if found is None:
        pytest.skip("needs nvcc, of the CUDA toolkit; it is neither on the PATH nor in /usr/local/cuda/bin")
    return found


def architecture_of_the_day(compiler: str) -> int:
    chosen = os.environ.get("EDGEFSA_TEST_ARCHITECTURE")
    if chosen:
        return int(chosen)
    listed = subprocess.run([compiler, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout.split()
    known = [item for item in ARCHITECTURES if f"compute_{item}" in listed]
    return known[datetime.date.today().timetuple().tm_yday % len(known)]


@pytest.fixture(scope="module")
def check_spills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_spills", PLUGINS / "check_spills.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("source", sorted((PLUGINS / "kernels").glob("*/*.cu")), ids=lambda path: path.stem)
def test_nvcc_compiles_a_kernel_without_warnings_and_spills(
    tmp_path: Path, source: Path, check_spills: ModuleType
) -> None:
    compiler = nvcc()
    architecture = architecture_of_the_day(compiler)
    command = [compiler, "-std=c++17", f"-arch=sm_{architecture}", "-Werror=all-warnings", "-Xptxas=-v"]
    command += ["-Xcompiler=-Wall,-Wextra", f"-I{PLUGINS}", f"-I{PLUGINS / 'kernels'}"]
    done = subprocess.run(
        [*command, "-cubin", str(source), "-o", str(tmp_path / "kernel.cubin")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    spilling = [kernel for kernel in check_spills.kernels_in(done.stderr) if kernel.spills]
    assert not spilling


@pytest.mark.parametrize("folder", include_dirs() or [None], ids=str)
def test_the_plugin_classes_compile_against_tensorrts_headers(folder: Path | None) -> None:
    if folder is None:
        pytest.skip("needs TensorRT's public headers; set TENSORRT_INCLUDE_DIR to their folders, with colons between")
    cuda = next((path for path in cuda_include_dirs() if (path / "cuda_runtime_api.h").is_file()), None)
    if shutil.which("g++") is None or cuda is None:
        pytest.skip("needs g++ and the CUDA toolkit's headers")
    registration = sorted((PLUGINS / "tensorrt" / "registration").glob("*.cpp"))
    includes = ["-I", PLUGINS / "tensorrt", "-I", PLUGINS, "-isystem", folder, "-isystem", cuda]
    defines = ['-DEDGEFSA_ARCHITECTURES="87"', '-DEDGEFSA_SOURCE_SHA256="0"']
    command = ["g++", *WARNINGS, *defines, *map(str, includes), *map(str, [*plugin_sources(), *registration])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def cuda_include_dirs() -> list[Path]:
    roots = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    return [root / "include" for root in [*roots, Path("/usr/local/cuda")]]


LOG = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN7edgefsa4fastEv' for 'sm_86'
ptxas info    : Function properties for _ZN7edgefsa4fastEv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN7edgefsa4slowEv' for 'sm_86'
ptxas info    : Function properties for _ZN7edgefsa4slowEv
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 400 bytes cmem[0]
"""


@pytest.mark.parametrize(("stores", "loads"), [(0, 0), (4, 0), (0, 8)])
def test_spills_are_found_in_a_build_log(
    tmp_path: Path, check_spills: ModuleType, stores: int, loads: int, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "build.log"
    log.write_text(LOG.format(stack=16, stores=stores, loads=loads))
    fast, slow = check_spills.kernels_in(log.read_text())
    assert (fast.registers, fast.shared, fast.spills, fast.architecture) == (40, 1024, 0, "sm_86")
    assert (slow.registers, slow.stack, slow.spills) == (255, 16, stores + loads)
    assert check_spills.main([str(log)]) == (1 if stores + loads else 0)
    assert ("SPILLS" in capsys.readouterr().out) == bool(stores + loads)


def test_a_kernel_that_was_compiled_again_counts_once(tmp_path: Path, check_spills: ModuleType) -> None:
    before, after = LOG.format(stack=0, stores=4, loads=4), LOG.format(stack=0, stores=0, loads=0)
    assert [kernel.spills for kernel in check_spills.kernels_in(before + after)] == [0, 0]


def test_a_log_without_kernels_fails(tmp_path: Path, check_spills: ModuleType) -> None:
    (tmp_path / "build.log").write_text("[100%] Built target edgefsa_kernels\n")
    assert check_spills.main([str(tmp_path / "build.log")]) == 1


def test_the_parameters_that_python_reads_from_the_headers_lie_as_in_c(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++; there is none on the PATH")
    spec = importlib.util.spec_from_file_location("_kernels", ROOT / "benchmarks" / "_kernels.py")
    assert spec and spec.loader
    bindings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bindings)
    structures = bindings.structures()
    assert {"TruncatedDctAttentionParams", "SpectralMaskParams", "UpsampleArgmaxParams"} < set(structures)
    lines = [f'#include "kernels/{path.parent.name}/{path.name}"' for path in (PLUGINS / "kernels").glob("*/*.h")]
    lines += ["#include <cstddef>", "using namespace edgefsa;"]
    for name, kind in structures.items():
        lines.append(f"static_assert(sizeof({name}) == {ctypes.sizeof(kind)});")
        lines += [
            f"static_assert(offsetof({name}, {field}) == {getattr(kind, field).offset});" for field, _ in kind._fields_
        ]
    source = tmp_path / "layout.cpp"
    source.write_text("\n".join(lines) + "\n")
    includes = [f"-I{PLUGINS}", f"-I{PLUGINS / 'kernels'}", f"-I{ROOT / 'tests' / 'kernels' / 'emulation' / 'include'}"]
    done = subprocess.run(["g++", *WARNINGS, *includes, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_benchmark_tells_the_traffic_and_asks_for_a_gpu() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "benchmarks" / "kernels.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})

    table = run("--traffic").stdout
    # 512 x 128 x 256 values of 2 bytes, read and written.
    assert "inverse DCT        1 x 512 x 128 x 256      67.1" in table
    refused = run()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1 and "--traffic works without" in refused.stderr
