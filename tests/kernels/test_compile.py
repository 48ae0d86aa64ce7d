"""nvcc takes the kernels, and g++ the plugin classes, with warnings as errors; what a GPU will run is fit for it.

One architecture per run, another one each day of the year; `make plugins-all` compiles for all.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from edgefsa.kernels.launchers import structures
from tests.kernels.device_code import SOURCES, DeviceCode, architecture_of_the_day, nvcc
from tests.kernels.emulation.build import objects_folder
from tests.unit.engines.tensorrt.plugins.harness.harness import include_dirs, plugin_sources

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
WARNINGS = ("-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def check_spills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_spills", PLUGINS / "check_spills.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def device_code() -> DeviceCode:
    """What nvcc makes of the kernels, for the architecture of the day."""
    return DeviceCode(objects_folder(), architecture_of_the_day(nvcc()))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nvcc_compiles_a_kernel_without_warnings_and_spills(
    device_code: DeviceCode, source: Path, check_spills: ModuleType
) -> None:
    spilling = [kernel for kernel in check_spills.kernels_in(device_code.log_of(source)) if kernel.spills]
    assert not spilling


# The variants of the kernels that read and write maps for sizes that are multiples of 16 bytes, and what of their
# accesses to memory must be of 16 bytes. Of int8, SpectralMask moves 8 bytes; its README tells why.
READS, BOTH = {"LDG"}, {"LDG", "STG"}
ALSO_SHARED = {*BOTH, "LDS"}
MAIN_VARIANTS = {
    "truncated_dct_halves": {r"dctHalvesKernel<(__half, 8|signed char, 16), \d>": READS},
    "truncated_dct_floats": {r"dctFloatsKernel<\d+, 4>": READS},
    "truncated_dct_hwc": {r"dctHwcKernel<\d>": READS},
    "inverse_dct_linear": {r"inverseLinearKernel<(__half, 8|float, 4|signed char, 16), \w+>": ALSO_SHARED},
    "inverse_dct_hwc": {r"inverseHwcKernel<\w+>": ALSO_SHARED},
    "spectral_mask": {
        r"spectralMaskKernel<(__half, 8|float, 4), \d, \d, [02]>": BOTH,
        r"spectralMaskKernel<(__half, 8|float, 4), \d, \d, 1>": READS,
    },
    "upsample_argmax": {r"upsampleArgmaxCells<.*>": BOTH},
    "frame_preparation": {r"prepareRuns<.*\b4>": set(), r"restoreRuns<4>": set()},
}
LOCAL, DOUBLE = re.compile(r"(LDL|STL)(\.|$)"), re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)(\.|$)")


def wrongs_of(opcodes: Mapping[str, list[str]], variants: Mapping[str, set[str]]) -> list[str]:
    """Return what is slow in kernels, given by their plain names; each variant must be among them."""
    wrongs = [f"{name}: {op}" for name, listed in opcodes.items() for op in listed if DOUBLE.match(op)]
    for pattern, accesses in variants.items():
        matching = [name for name in opcodes if re.search(pattern, name)]
        wrongs += [] if matching else [f"no kernel is {pattern}"]
        for name in matching:
            wrongs += [f"{name}: {op}" for op in opcodes[name] if LOCAL.match(op)]
            wide = {op.split(".")[0] for op in opcodes[name] if ".128" in op}
            wrongs += [f"{name}: no {access} of 16 bytes" for access in accesses - wide]
    return wrongs


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_maps_are_moved_in_16_bytes_without_local_memory_and_double_precision(
    device_code: DeviceCode, source: Path, check_spills: ModuleType
) -> None:
    opcodes = device_code.opcodes_of(source)
    names = check_spills.plain_names(list(opcodes))
    plain = {names[name]: listed for name, listed in opcodes.items()}
    assert bool(plain) == (re.search(r"launchKernel\(|chain\.launch\(", source.read_text()) is not None)
    assert not wrongs_of(plain, MAIN_VARIANTS.get(source.stem, {}))


PROBE = """#include "../common.cuh"
namespace edgefsa {
__global__ void probe(const float* x, float* y, float ratio) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * 4;
    Pack<float, 4> pack = loadPack<4>(x + i);
    for (int k = 0; k < 4; ++k) { pack.values[k] = fmaf(ratio, pack.values[k], -0.5f); }
    storeGlobal(y + i, pack);
}
}
"""


@pytest.mark.parametrize(
    ("text", "planted", "wrong"),
    [
        ("fmaf", "fmaf", None),
        (
            "storeGlobal(y + i, pack);",
            "for (int k = 0; k < 4; ++k) { y[i + k] = pack.values[k]; }",
            "no STG of 16 bytes",
        ),
        ("loadPack<4>(x + i)", "{x[i], x[i + 1], x[i + 2], x[i + 3]}", "no LDG of 16 bytes"),
        ("fmaf(ratio, pack.values[k], -0.5f)", "ratio * pack.values[k] - 0.1", "DADD"),
    ],
)
def test_slow_accesses_and_arithmetic_are_found(
    device_code: DeviceCode, tmp_path: Path, check_spills: ModuleType, text: str, planted: str, wrong: str | None
) -> None:
    source = tmp_path / "kernels" / "probe" / "probe.cu"
    source.parent.mkdir(parents=True)
    shutil.copy(PLUGINS / "kernels" / "common.cuh", source.parent.parent)
    assert PROBE.count(text) == 1
    source.write_text(PROBE.replace(text, planted))
    opcodes = device_code.opcodes_of(source, tmp_path)
    names = check_spills.plain_names(list(opcodes))
    found = wrongs_of({names[name]: listed for name, listed in opcodes.items()}, {"probe": BOTH})
    assert any(wrong in item for item in found) if wrong else not found


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
    assert {"TruncatedDctAttentionParams", "SpectralMaskParams", "UpsampleArgmaxParams"} < set(structures())
    lines = [f'#include "kernels/{path.parent.name}/{path.name}"' for path in (PLUGINS / "kernels").glob("*/*.h")]
    lines += ["#include <cstddef>", "using namespace edgefsa;"]
    for name, kind in structures().items():
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
    assert re.search(r"inverse DCT +FP16 linear +1x512x128x256 +67\.1", table)
    refused = run()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1 and "--traffic works without" in refused.stderr
