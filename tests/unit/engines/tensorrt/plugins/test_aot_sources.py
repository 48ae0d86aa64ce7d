"""The plugins inside engines, registered with and driven through TensorRT's own Python sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefsa.engines.tensorrt.plugins import aot_plugins
from edgefsa.engines.tensorrt.plugins.aot_kernels import KernelTarget
from tests.unit.engines.tensorrt.plugins.harness.quick_plugins import QuickPlugin, loaded, plugin_packages

MASK_SHAPES = [(-1, 64, 32, 48), (64,), (32, 5), (48, 3), (15, 15), (15, 15)]


@pytest.fixture(params=plugin_packages() or [None], ids=str)
def tensorrt(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param is None:
        pytest.skip("needs a checkout of TensorRT's public repository; set TENSORRT_INCLUDE_DIR to its folder include")
    package: Path = request.param
    with loaded(package) as module:
        yield module


def mask(tensorrt: Any) -> QuickPlugin:
    types = [tensorrt.float16, *[tensorrt.float32] * 5]
    return QuickPlugin(tensorrt, "SpectralMask", MASK_SHAPES, types)


def test_the_mask_has_shape_types_and_formats(tensorrt: Any, asked: list[tuple[Any, ...]]) -> None:
    aot_plugins.register_aot_plugins(tensorrt, "8.7", (12, 6))
    plugin = mask(tensorrt)
    assert [size.at(3) for size in plugin.output] == [3, 64, 32, 48]
    assert plugin.combination() == [("HALF", "LINEAR"), *[("FLOAT", "LINEAR")] * 5, ("HALF", "LINEAR")]


def test_the_mask_is_launched_for_the_batch(tensorrt: Any, asked: list[tuple[Any, ...]]) -> None:
    aot_plugins.register_aot_plugins(tensorrt, "8.7", (12, 6))
    name, ptx, launch, numbers = mask(tensorrt).kernel()
    assert (name, ptx) == ("kernel", b"ptx")
    assert [part.expr.at(3) for part in (launch.grid_x, launch.grid_y, launch.grid_z)] == [192, 3, 1]
    assert [part.expr.at(3) for part in (launch.block_x, launch.block_y, launch.block_z)] == [32, 4, 1]
    assert launch.shared_mem.expr.at(3) == 1000
    (batch,) = numbers
    assert (batch.expr.at(3), batch.dtype) == (3, tensorrt.PluginArgDataType.INT32)
    assert asked == [([-1, 64, 32, 48], (5, 3), "float16", KernelTarget("8.7", (12, 6)))]


def test_the_upsampling_takes_its_numbers_from_the_node(tensorrt: Any, asked: list[tuple[Any, ...]]) -> None:
    aot_plugins.register_aot_plugins(tensorrt, "9.0")
    for half_indices, dtype in enumerate(("INT32", "HALF")):
        sizes = {"height": 32, "width": 48, "half_indices": half_indices}
        plugin = QuickPlugin(tensorrt, "UpsampleArgmax", [(-1, 19, 8, 12)], [tensorrt.float32], **sizes)
        assert [size.at(5) for size in plugin.output] == [5, 32, 48]
        assert plugin.combination() == [("FLOAT", "LINEAR"), (dtype, "LINEAR")]
        plugin.kernel()
    given = ([-1, 19, 8, 12], (32, 48), "float32", KernelTarget("9.0"))
    assert asked == [(*given, {"half_indices": False}), (*given, {"half_indices": True})]


def test_the_next_engine_may_be_for_another_gpu(tensorrt: Any, asked: list[tuple[Any, ...]]) -> None:
    for capability in ("8.7", "12.0"):
        aot_plugins.register_aot_plugins(tensorrt, capability)
        mask(tensorrt).kernel()
    assert [arguments[-1] for arguments in asked] == [KernelTarget("8.7"), KernelTarget("12.0")]
