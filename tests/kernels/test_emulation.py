"""The emulation itself: what it must compute as a device does, and each wrong that it must report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.kernels.emulation.build import PLUGINS, Operator, build_operator
from tests.kernels.emulation.run import Device, EmulatedOperator, EmulationError

PROBE = Operator(
    "Probe", "probe", "probe.h", ("probe.cu",), ("x", "y"), ("which", "count", "grid", "block", "shared", "allow")
)
HEADER = """#include <cuda_runtime_api.h>
namespace edgefsa {
struct ProbeParams { const float* x; float* y; int which, count, grid, block, shared, allow; };
cudaError_t launchProbe(const ProbeParams& params, void* workspace, cudaStream_t stream) noexcept;
}
"""
# One kernel for each body, over x and y, float [count], as `i` counts threads of all blocks.
KERNEL = """
__global__ void probe{index}([[maybe_unused]] const float* x, float* y, [[maybe_unused]] int count) {{
    [[maybe_unused]] const int i = blockIdx.x * blockDim.x + threadIdx.x;
    {body}
}}
"""
LAUNCHER = """
cudaError_t launchProbe(const ProbeParams& params, void*, cudaStream_t stream) noexcept {
    void (*const kernels[])(const float*, float*, int) = {%s};
    const auto kernel = kernels[params.which];
    const auto attribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
    if (params.allow != 0 && cudaFuncSetAttribute(kernel, attribute, params.allow) != cudaSuccess) {
        return cudaErrorNotSupported;
    }
    return launchKernel(kernel, params.grid, params.block, params.shared, stream, params.x, params.y, params.count);
}
"""

RACES = {
    "static": "__shared__ float t[64]; t[threadIdx.x] = x[i]; y[i] = t[63 - i];",
    "dynamic": "float* t = dynamicShared<float>(); t[threadIdx.x] = x[i]; y[i] = t[63 - i];",
    "within a warp": "__shared__ float t[64]; t[threadIdx.x] = x[i]; y[i] = t[threadIdx.x ^ 1];",
    "among blocks": "y[i] = i < 32 ? 1.0f : y[i - 32];",
    # The next round's write may overtake a slower thread's read.
    "second barrier of a loop": """__shared__ float t[64];
    float sum = 0;
    for (int round = 0; round < 3; ++round) {
        t[threadIdx.x] = x[i] * round;
        __syncthreads();
        sum += t[63 - i];
    }
    y[i] = sum;""",
}
OUT_OF_BOUNDS = {
    "y[i] = x[i + 1];": "0 bytes past the end of `x` \\(256 bytes\\)",
    "y[i] = x[i - 1];": "4 bytes before the start of `x`",
    "y[i + 1] = x[i];": "0 bytes past the end of `y`",
    "y[i * 100000] = x[i];": "past the end of `y`",
    "const_cast<float*>(x)[i] = 0; y[i] = 0;": "byte 0 of `x`",
    "y[i] = dynamicShared<float>()[threadIdx.x + 1];": "0 bytes past the end of `dynamic shared memory`",
    "__shared__ float t[32]; t[threadIdx.x + 1] = 0; y[i] = t[0];": "an index past an array",
    "float t[4] = {}; t[threadIdx.x % 5] = x[i]; y[i] = t[0];": "an index past an array",
    "y[i] = loadPack<4>(x + threadIdx.x).values[0];": "a misaligned access",
    "y[i] = static_cast<float>(i * 100000000);": "an overflow",
}
BARRIER = "__shared__ float t[64]; t[threadIdx.x] = x[i]; __syncthreads(); y[i] = t[63 - i];"
PARTED = "if (i != 5) { __syncthreads(); } y[i] = 0;"
NEVER_WRITTEN = "__shared__ float t[32]; y[i] = t[threadIdx.x] + dynamicShared<float>()[threadIdx.x];"
WARP = """const float value = x[i];
    float sum = warpSum(value);
    sum += 1000 * __shfl_sync(kWholeWarp, value, 3) + 0.5f * __shfl_down_sync(kWholeWarp, value, 1);
    y[i] = sum + (__ballot_sync(kWholeWarp, i % 2) == 0xaaaaaaaau ? 0.25f : 0);"""
ZERO = "y[i] = 0;"
ROUND_HALF = "for (int k = i; k < count; k += 64) { y[k] = __half2float(__float2half_rn(x[k])); }"
ROUND_INT8 = "y[i] = fromFloat<std::int8_t>(x[i]);"

BODIES = [*RACES.values(), *OUT_OF_BOUNDS, BARRIER, PARTED, NEVER_WRITTEN, WARP, ZERO, ROUND_HALF, ROUND_INT8]

Array = npt.NDArray[Any]
Probe = Callable[..., Array]


@pytest.fixture(scope="module")
def probes(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> EmulatedOperator:
    """All bodies in one library."""
    root = tmp_path_factory.mktemp("probes")
    folder = root / "kernels" / "probe"
    folder.mkdir(parents=True)
    shutil.copy(PLUGINS / "kernels" / "common.cuh", folder.parent)
    kernels = "".join(KERNEL.format(index=index, body=body) for index, body in enumerate(BODIES))
    launcher = LAUNCHER % ", ".join(f"probe{index}" for index in range(len(BODIES)))
    (folder / "probe.h").write_text(HEADER)
    text = f'#include "probe.h"\n#include "kernels/common.cuh"\nnamespace edgefsa {{\n{kernels}{launcher}}}\n'
    (folder / "probe.cu").write_text(text)
    return EmulatedOperator(PROBE, build_operator(PROBE, objects, root / "built", root))


@pytest.fixture
def probe(probes: EmulatedOperator) -> Probe:
    """Run one body over x (0, 1, 2, ... unless given), as 2 blocks of 32 threads unless told otherwise."""

    def run(body: str, size: int = 64, x: Array | None = None, device: Device | None = None, **settings: int) -> Array:
        given = np.arange(size) if x is None else x
        values = {"which": BODIES.index(body), "count": given.size, "grid": 2, "block": 32, "shared": 0, "allow": 0}
        inputs = {"x": given.astype(np.float32)}
        return probes.run(inputs, {"y": (given.shape, np.float32)}, values | settings, device)["y"]

    return run


def test_a_right_kernel_runs_under_every_order(probe: Probe) -> None:
    np.testing.assert_array_equal(probe(BARRIER, grid=1, block=64), np.arange(64)[::-1])


@pytest.mark.parametrize("kind", RACES)
def test_a_missing_barrier_is_reported(probe: Probe, kind: str) -> None:
    blocks = 2 if kind == "among blocks" else 1
    with pytest.raises(EmulationError, match="depends on the order of threads"):
        probe(RACES[kind], grid=blocks, block=64 // blocks, shared=256)


@pytest.mark.parametrize("body", OUT_OF_BOUNDS)
def test_an_access_out_of_bounds_is_reported(probe: Probe, body: str) -> None:
    with pytest.raises(EmulationError, match=OUT_OF_BOUNDS[body]) as caught:
        probe(body, shared=128)
    assert " at probe.cu:" in str(caught.value) or " at common.cuh:" in str(caught.value)
    assert "by thread (" in str(caught.value)


def test_a_write_into_the_slack_of_the_last_16_bytes_is_reported(probe: Probe) -> None:
    with pytest.raises(EmulationError, match="a write just before or past `y` \\(252 bytes\\)"):
        probe(ZERO, size=63)


def test_a_run_after_an_error_starts_afresh(probe: Probe) -> None:
    with pytest.raises(EmulationError):
        probe(next(iter(OUT_OF_BOUNDS)))
    np.testing.assert_array_equal(probe(BARRIER, grid=1, block=64), np.arange(64)[::-1])


def test_threads_that_part_at_a_barrier_are_reported(probe: Probe) -> None:
    with pytest.raises(EmulationError, match=r"of 64 threads of block .* 63 wait at __syncthreads.* and 1 have ended"):
        probe(PARTED, grid=1, block=64)


def test_values_that_were_never_written_are_seen_as_nan(probe: Probe) -> None:
    assert np.isnan(probe(NEVER_WRITTEN, shared=128)).all()


def test_warp_operations(probe: Probe) -> None:
    lanes = np.arange(32)
    first = lanes.sum() + 1000 * 3 + 0.5 * np.minimum(lanes + 1, 31) + 0.25
    second = (lanes + 32).sum() + 1000 * 35 + 0.5 * np.minimum(lanes + 33, 63) + 0.25
    np.testing.assert_array_equal(probe(WARP), np.concatenate([first, second]))


def test_shared_memory_beyond_48_kb_needs_leave(probe: Probe) -> None:
    with pytest.raises(EmulationError, match="cudaError 1 "):
        probe(ZERO, shared=60000)
    np.testing.assert_array_equal(probe(ZERO, shared=60000, allow=60000), np.zeros(64))


def test_a_device_with_less_shared_memory_refuses(probe: Probe) -> None:
    with pytest.raises(EmulationError, match="cudaError 801 "):
        probe(ZERO, shared=80000, allow=80000, device=Device(shared_bytes=64 << 10, capability=75))


def test_a_block_of_more_than_1024_threads_is_refused(probe: Probe) -> None:
    with pytest.raises(EmulationError, match="cudaError 9 "):
        probe(ZERO, block=1056)


def test_halves_round_to_nearest_even(probe: Probe) -> None:
    # All halves, and the floats at and around the middle of each neighbouring pair.
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[1:] + halves[:-1]) / 2
    around = [np.nextafter(middles, np.float32(side)) for side in (0, 1e9)]
    values = np.concatenate([halves, middles, *around, np.array([65519, 65520, 1e9, np.inf], np.float32)])
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).astype(np.float32)
    rounded = probe(ROUND_HALF, x=values)
    np.testing.assert_array_equal(rounded.view(np.uint32), expected.view(np.uint32))


def test_int8_saturates_and_rounds_to_nearest_even(probe: Probe) -> None:
    values = np.concatenate([np.arange(-30.0, 30.0) / 2, [-1e9, 1e9, 127.4, -128.4]])
    np.testing.assert_array_equal(probe(ROUND_INT8, x=values), np.clip(np.rint(values), -128, 127))
