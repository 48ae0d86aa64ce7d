"""Every type and format that a plugin offers to TensorRT is computed, and every other one is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.engines.tensorrt.plugins.harness.cases import (
    ATTRIBUTES,
    C,
    Case,
    H,
    N,
    W,
    attention_case,
    make,
    mask_case,
    tensors_of,
    upsample_case,
)
from tests.unit.engines.tensorrt.plugins.harness.harness import (
    BF16,
    BOOL,
    CHW2,
    CHW4,
    CHW16,
    CHW32,
    FLOAT,
    FP8,
    HALF,
    HWC,
    HWC8,
    HWC16,
    INT8,
    INT32,
    INT64,
    LINEAR,
    UINT8,
    Harness,
    Plugin,
    Tensor,
)

Array = np.ndarray[Any, Any]
MAPS = ("TruncatedDctAttention", "SpectralMask")
TYPES = (FLOAT, HALF, INT8, INT32, BOOL, UINT8, FP8, BF16, INT64)
FORMATS = (LINEAR, CHW2, HWC8, CHW4, CHW16, CHW32, HWC, HWC16)
FLOATS = {(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)}
UNTOUCHED = 0xFF  # what the emulated memory holds before it is written
SCALES = {"x_scale": 0.03, "y_scale": 0.5}
CASES = [
    attention_case((2, 10, 6, 7)),
    attention_case((2, 9, 6, 7), "mmseg", is_folded=True),
    attention_case((1, 19, 9, 16), "mmseg", recurrence=2),
    attention_case((3, 8, 5, 8), "mmseg", "linsoftmax"),
    mask_case((2, 10, 6, 7)),
    mask_case((1, 65, 9, 16), radius=1),
    mask_case((2, 3, 16, 24), radius=4),
    upsample_case((2, 10, 6, 7), (9, 14)),
    upsample_case((1, 19, 5, 8), (20, 32)),
    upsample_case((3, 2, 3, 5), (24, 33)),
]


def offered(plugin: Plugin, case: Case | None, name: str) -> set[tuple[int, int]]:
    """Return the (type, format) of the first input with which TensorRT may run the plugin."""
    found = set()
    for kind, layout in itertools.product(TYPES, FORMATS):
        x = Tensor(case.dims if case else (N, C, H, W), kind, layout)
        tensors = case.tensors(x) if case else tensors_of(name, x)
        if all(plugin.supports(position, tensors) for position in range(len(tensors))):
            found.add((kind, layout))
    return found


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_the_formats_are_those_of_the_readme(harness: Harness, name: str) -> None:
    assert offered(make(harness, name), None, name) == FLOATS
    if name in MAPS:
        assert offered(make(harness, name, **SCALES), None, name) == {(INT8, LINEAR)}
    assert harness.log() == ""


@pytest.mark.parametrize("name", MAPS)
def test_a_calibrator_of_tensorrt_10_may_bring_the_scales(harness: Harness, name: str) -> None:
    plugin, x = make(harness, name), Tensor((N, C, H, W), INT8, LINEAR, 0.1)
    tensors = tensors_of(name, x)
    assert all(plugin.supports(position, tensors) for position in range(len(tensors)))
    assert not plugin.supports(len(tensors) - 1, [*tensors[:-1], Tensor(x.dims, INT8)])


@pytest.mark.parametrize("name", MAPS)
def test_weights_are_float32_and_the_output_is_as_the_input(harness: Harness, name: str) -> None:
    plugin, tensors = make(harness, name), tensors_of(name, Tensor((N, C, H, W), HALF))
    last = len(tensors) - 1
    for position in range(1, last):
        for kind, layout in itertools.product(TYPES, FORMATS):
            changed = [*tensors]
            changed[position] = Tensor(tensors[position].dims, kind, layout)
            assert plugin.supports(position, changed) == ((kind, layout) == (FLOAT, LINEAR))
    for kind, layout in itertools.product(TYPES, FORMATS):
        output = Tensor((N, C, H, W), kind, layout)
        assert plugin.supports(last, [*tensors[:-1], output]) == ((kind, layout) == (HALF, LINEAR))


@pytest.mark.parametrize(("half_indices", "index_type"), [(0, INT32), (1, HALF)])
def test_the_mask_of_classes_is_int32_or_halves(harness: Harness, half_indices: int, index_type: int) -> None:
    plugin = make(harness, "UpsampleArgmax", half_indices=half_indices)
    for kind, layout in itertools.product(TYPES, FORMATS):
        tensors = [Tensor((N, C, H, W)), Tensor((N, 9, 14), kind, layout)]
        assert plugin.supports(1, tensors) == ((kind, layout) == (index_type, LINEAR))


def test_indices_in_halves_are_the_same(harness: Harness) -> None:
    case = upsample_case((1, 19, 5, 8), (20, 32))
    plugin = make(harness, case.name, **case.attributes, half_indices=1).round_trip()
    x = np.random.default_rng(0).standard_normal(case.dims).astype(np.float16)
    y = np.zeros((1, 20, 32), np.float16)
    tensors = [Tensor(case.dims, HALF), Tensor(y.shape, HALF)]
    assert plugin.configure(tensors) == 0 and plugin.enqueue(tensors, [x], y) == 0, harness.log()
    np.testing.assert_array_equal(y, case.formula(torch.from_numpy(x).double()).numpy())


def test_both_ways_to_mask_a_map_are_offered_where_there_are_two(harness: Harness) -> None:
    case = mask_case((2, 3, 24, 32))
    x = np.random.default_rng(0).standard_normal(case.dims).astype(np.float32)
    arrays = [x, *(weight.numpy().astype(np.float32) for weight in case.weights.values())]
    tensors, wanted = case.tensors(Tensor(case.dims)), case.formula(torch.from_numpy(x).double()).numpy()
    plugin = make(harness, "SpectralMask")
    assert plugin.tactics() == []
    assert plugin.configure(tensors) == 0
    one_pass, two_passes = plugin.tactics()
    for tactic, fills in [(0, 0), (one_pass, 0), (two_passes, 1)]:
        running, y = plugin.clone().attach(), np.zeros_like(x)
        assert running.set_tactic(tactic) == 0 and running.shape_change(tensors) == 0
        assert running.enqueue(tensors, arrays, y) == 0 and harness.fills == fills
        assert relative_l2(y, wanted) < 1e-5
    try:
        harness.set_shared_bytes(4 << 10)  # less than a plane and what belongs to it
        assert plugin.configure(tensors) == 0 and plugin.tactics() == []
    finally:
        harness.set_shared_bytes()
    other = make(harness, "UpsampleArgmax")
    assert other.configure(tensors_of("UpsampleArgmax")) == 0 and other.tactics() == []
    assert harness.log() == ""


def in_hwc8(array: Array) -> Array:
    """Lay [N, C, H, W] out as [N, H, W, C padded to 8]."""
    padded = np.zeros((array.shape[0], -(-array.shape[1] // 8) * 8, *array.shape[2:]), array.dtype)
    padded[:, : array.shape[1]] = array
    return np.ascontiguousarray(padded.transpose(0, 2, 3, 1))


def run(harness: Harness, case: Case, x: Array, kind: int, layout: int, **scales: float) -> Array:
    """Enqueue the plugin that an engine does: the saved and loaded one, cloned, and attached to its context."""
    plugin = make(harness, case.name, **case.attributes, **scales).round_trip().clone().attach()
    given = in_hwc8(x) if layout == HWC8 else x
    arrays = [given, *(weight.numpy().astype(np.float32) for weight in case.weights.values())]
    tensors = case.tensors(Tensor(x.shape, kind, layout))
    y = np.zeros(tensors[-1].dims, np.int32) if case.name == "UpsampleArgmax" else np.zeros_like(given)
    assert plugin.configure(tensors) == 0 and plugin.shape_change(tensors) == 0, harness.log()
    assert plugin.enqueue(tensors, arrays, y) == 0, harness.log()
    if layout == HWC8 and case.name in MAPS:
        return np.ascontiguousarray(y.transpose(0, 3, 1, 2)[:, : x.shape[1]])
    return y


def relative_l2(found: Array, wanted: Array) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(("kind", "layout"), sorted(FLOATS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.dims}")
def test_what_is_offered_is_computed(harness: Harness, case: Case, kind: int, layout: int) -> None:
    assert (kind, layout) in offered(make(harness, case.name, **case.attributes), case, case.name)
    x = np.random.default_rng(0).standard_normal(case.dims).astype(np.float16 if kind == HALF else np.float32)
    wanted = case.formula(torch.from_numpy(x).double()).numpy()
    found = run(harness, case, x, kind, layout)
    if case.name == "UpsampleArgmax":
        np.testing.assert_array_equal(found, wanted)
    else:
        assert relative_l2(found.astype(np.float64), wanted) < (2e-3 if kind == HALF else 1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in MAPS], ids=lambda case: str(case.dims))
def test_bytes_are_computed_with_the_scales_of_the_node(harness: Harness, case: Case) -> None:
    stored = np.random.default_rng(0).integers(-128, 128, case.dims).astype(np.int8)
    x_scale = float(np.float32(0.03))
    wanted = case.formula(torch.from_numpy(stored).double() * x_scale).numpy()
    y_scale = float(np.float32(np.abs(wanted).max() / 100))
    found = run(harness, case, stored, INT8, LINEAR, x_scale=x_scale, y_scale=y_scale)
    assert np.abs(found * y_scale - wanted).max() <= 0.501 * y_scale


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[6]], ids=lambda case: case.name)
def test_what_is_not_offered_is_refused(harness: Harness, case: Case) -> None:
    plugin = make(harness, case.name, **case.attributes)
    arrays = [np.zeros(8 * 16 * 42 * 2, np.uint8), *(weight.numpy() for weight in case.weights.values())]
    taken = offered(plugin, case, case.name)
    for kind, layout in set(itertools.product(TYPES, FORMATS)) - taken:
        tensors = case.tensors(Tensor(case.dims, kind, layout))
        output = np.zeros(8 * 16 * 42 * 2, np.uint8)
        assert plugin.enqueue(tensors, arrays, output) != 0, (kind, layout)
        assert (output == UNTOUCHED).all() and harness.log().startswith(f"edgefsa {case.name}: ")


def test_more_modes_than_the_gpu_has_memory_for_are_left_to_linear_maps(harness: Harness) -> None:
    """Channels-last planes of many modes need more shared memory than compute capability 7.5 has."""
    case = mask_case((1, 32, 16, 24), radius=4)
    plugin = make(harness, "SpectralMask")
    assert case.weights["basis_h"].shape[1] * case.weights["basis_w"].shape[1] == 81
    try:
        harness.set_shared_bytes(64 << 10)
        assert offered(plugin, case, case.name) == {(FLOAT, LINEAR), (HALF, LINEAR)}
        tensors = case.tensors(Tensor(case.dims, HALF, HWC8))
        assert plugin.configure(tensors) != 0
        assert "no kernel takes TensorRT's type 1 in its format 2 at these shapes on this GPU" in harness.log()
        # Without the sizes, nothing speaks against it yet.
        unknown = [Tensor((-1, 32, 16, 24), HALF, HWC8), *tensors[1:-1], Tensor((-1, 32, 16, 24), HALF, HWC8)]
        assert plugin.supports(len(unknown) - 1, unknown)
    finally:
        harness.set_shared_bytes()
    assert (HALF, HWC8) in offered(plugin, case, case.name)
