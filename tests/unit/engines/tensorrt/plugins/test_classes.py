"""The plugin classes as TensorRT drives them: fields, shapes, types, workspace and errors.

They are compiled for the host against TensorRT's public headers, with the emulated kernels behind them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgefsa.engines.tensorrt.plugins.library import PLUGINS
from tests.unit.engines.tensorrt.plugins.harness.cases import ATTENTION, ATTRIBUTES, C, H, N, W, make, tensors_of
from tests.unit.engines.tensorrt.plugins.harness.harness import (
    FIELD_CHAR,
    FIELD_FLOAT32,
    FIELD_INT32,
    FLOAT,
    HALF,
    INT8,
    INT32,
    SOURCE_SHA256,
    Harness,
    Tensor,
)


def test_the_creators_are_the_operators_with_their_attributes(harness: Harness) -> None:
    creators = {item.name: item for item in harness.creators()}
    assert {(item.name, item.version, item.namespace) for item in creators.values()} == {
        (name, version, "edgefsa") for name, version in PLUGINS.items()
    }
    scales = {"x_scale": FIELD_FLOAT32, "y_scale": FIELD_FLOAT32}
    attention = {"mode": FIELD_CHAR, "recurrence": FIELD_INT32, "scale": FIELD_FLOAT32}
    assert creators["TruncatedDctAttention"].fields == attention | scales
    assert creators["SpectralMask"].fields == scales
    assert creators["UpsampleArgmax"].fields == dict.fromkeys(("height", "width", "half_indices"), FIELD_INT32)


@pytest.mark.parametrize("name", ["TruncatedDctAttention", "SpectralMask"])
def test_a_map_keeps_its_shape_and_type_and_any_batch(harness: Harness, name: str) -> None:
    plugin = make(harness, name)
    inputs = tensors_of(name, Tensor((-1, C, H, W)))[:-1]
    assert plugin.output_shape(inputs) == (-1, C, H, W)
    for kind in (FLOAT, HALF, INT8):
        assert plugin.output_type([kind, *[FLOAT] * (len(inputs) - 1)]) == kind
    assert harness.log() == ""


def test_the_mask_has_the_given_size_any_batch_and_int32_or_halves(harness: Harness) -> None:
    plugin = make(harness, "UpsampleArgmax")
    assert plugin.output_shape([Tensor((-7, C, H, W))]) == (-7, 9, 14)
    assert plugin.output_type([HALF]) == INT32
    assert make(harness, "UpsampleArgmax", half_indices=1).round_trip().output_type([FLOAT]) == HALF
    assert plugin.output_shape([Tensor((C, H, W))]) is None
    assert "logits have 3 dimensions and not 4" in harness.log()


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_shapes_that_belong_together_are_taken_and_others_are_told(harness: Harness, name: str) -> None:
    plugin = make(harness, name)
    tensors = tensors_of(name)
    assert plugin.configure(tensors) == 0 and plugin.shape_change(tensors) == 0
    assert harness.log() == ""
    for position, tensor in enumerate(tensors[1:], start=1):
        wrong = Tensor((*tensor.dims[:-1], tensor.dims[-1] + 1), tensor.type)
        assert plugin.shape_change([*tensors[:position], wrong, *tensors[position + 1 :]]) != 0
        message = harness.log()
        assert message.startswith(f"edgefsa {name}: ") and "export the model again" in message


def test_an_out_weight_of_one_asks_for_the_values_of_the_output(harness: Harness) -> None:
    plugin, tensors = make(harness, "TruncatedDctAttention"), tensors_of("TruncatedDctAttention")
    tensors[9] = Tensor((1, 1))
    assert plugin.configure(tensors) != 0
    assert f"out_weight has the shape [1, 1] and not [{C}, 5]" in harness.log()
    tensors[7:9] = [Tensor((C, C)), Tensor((C,))]
    assert plugin.configure(tensors) == 0 and plugin.shape_change(tensors) == 0


def test_more_frequencies_than_the_kernels_have_are_told(harness: Harness) -> None:
    tensors = tensors_of("TruncatedDctAttention", Tensor((N, C, 40, W)))
    tensors[1] = Tensor((33, 40))
    assert make(harness, "TruncatedDctAttention").configure(tensors) != 0
    assert "at most 32 frequencies a side, not 33 x 4" in harness.log()


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("TruncatedDctAttention", {"recurrence": 1, "scale": 1.0}, "the attribute mode is missing"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": "softmax"}, 'mode is "softmax"; it can be dot_product or lins'),
        ("TruncatedDctAttention", {**ATTENTION, "recurrence": 0}, "recurrence is 0"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": "linsoftmax", "recurrence": 17}, "at most 16"),
        ("TruncatedDctAttention", {**ATTENTION, "scale": float("nan")}, "scale is nan; it has to be a finite number"),
        ("TruncatedDctAttention", {**ATTENTION, "scale": float("inf")}, "scale is inf"),
        ("TruncatedDctAttention", {**ATTENTION, "scale": 1}, "scale has to be one float"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": 3}, "mode has to be a text"),
        ("SpectralMask", {"x_scale": "wide"}, "x_scale has to be one float"),
        ("SpectralMask", {"x_scale": 0.5}, "x_scale and y_scale are 0.500000 and 0.000000; both have to be positive"),
        ("SpectralMask", {"x_scale": 0.5, "y_scale": float("inf")}, "are 0.500000 and inf"),
        ("TruncatedDctAttention", {**ATTENTION, "x_scale": -1.0, "y_scale": -1.0}, "are -1.000000 and -1.000000"),
        ("UpsampleArgmax", {"height": 0, "width": 4}, "are 0 and 4"),
        ("UpsampleArgmax", {"height": 4, "width": 65536}, "are 4 and 65536; they can be 1 to 65535"),
        ("UpsampleArgmax", {"height": 4}, "the attribute width is missing"),
        ("UpsampleArgmax", {"height": 4.5, "width": 4}, "height has to be one integer"),
        ("UpsampleArgmax", {"height": (1 << 32) + 4, "width": 4}, "height has to be one integer of 32 bits"),
    ],
)
def test_attributes_that_cannot_be_are_logged_and_give_no_plugin(
    harness: Harness, name: str, attributes: dict[str, Any], message: str
) -> None:
    assert harness.create(name, attributes) is None
    logged = harness.log()
    assert logged.startswith(f"edgefsa {name}: ") and message in logged and logged.count("\n") == 1


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
@pytest.mark.parametrize(("is_null", "message"), [(True, "list of its 2 attributes is null"), (False, "0 of 2 has no")])
def test_a_broken_list_of_attributes_is_told(harness: Harness, name: str, is_null: bool, message: str) -> None:
    assert harness.create_from(name, 2, is_null=is_null) is None
    assert message in harness.log()


@pytest.mark.parametrize(("batch", "low_hw"), [(65536, (H, W)), (1, (65536, W)), (1, (H, 65536)), (1, (0, W))], ids=str)
def test_more_logits_than_the_kernels_take_are_told(harness: Harness, batch: int, low_hw: tuple[int, int]) -> None:
    tensors = [Tensor((batch, C, *low_hw)), Tensor((batch, 9, 14), INT32)]
    assert make(harness, "UpsampleArgmax").configure(tensors) != 0
    assert f"a batch of {batch} maps of {low_hw[0]} x {low_hw[1]}; it takes at most 65535" in harness.log()


def test_a_wrong_number_of_tensors_is_told(harness: Harness) -> None:
    plugin = make(harness, "SpectralMask")
    assert plugin.shape_change(tensors_of("UpsampleArgmax")) != 0
    assert "takes 6 inputs and gives 1 output, not 1 and 1" in harness.log()


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_clones_and_saved_plugins_are_like_the_first(harness: Harness, name: str) -> None:
    changes: dict[str, Any] = {}
    if name == "TruncatedDctAttention":
        changes = {"mode": "linsoftmax", "recurrence": 3}
    first = make(harness, name, **changes)
    tensors, identity = tensors_of(name), first.timing_cache_id()
    size = first.workspace_bytes(tensors)
    for other in (first.clone(), first.attach(), first.round_trip(), first.round_trip().clone().round_trip()):
        assert (other.name(), other.timing_cache_id()) == (name, identity)
        assert other.workspace_bytes(tensors) == size
        assert other.shape_change(tensors) == 0
        other.destroy()
    first.destroy()
    assert harness.log() == ""


def test_the_timing_cache_tells_settings_apart(harness: Harness) -> None:
    ids = [make(harness, "TruncatedDctAttention", recurrence=recurrence).timing_cache_id() for recurrence in (1, 2)]
    ids += [make(harness, "UpsampleArgmax", height=height).timing_cache_id() for height in (1, 2)]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_the_timing_cache_tells_the_kernels_sources_apart(harness: Harness, name: str) -> None:
    assert make(harness, name).timing_cache_id().startswith(f"edgefsa.{name}.1.{SOURCE_SHA256[:12]}.")


def test_a_launch_that_fails_is_logged_and_told(harness: Harness) -> None:
    too_many_classes = [Tensor((N, 256, H, W)), Tensor((N, 9, 14), INT32)]
    logits, mask = np.zeros((N, 256, H, W), np.float32), np.zeros((N, 9, 14), np.int32)
    assert make(harness, "UpsampleArgmax").enqueue(too_many_classes, [logits], mask) != 0
    assert harness.log() == "edgefsa UpsampleArgmax: the launch failed: an error of the emulated runtime\n"
    assert harness.launches == 0


def test_a_shape_that_is_unknown_at_a_launch_is_told(harness: Harness) -> None:
    unknown = [Tensor((N, C, -1, W)), Tensor((N, 9, 14), INT32)]
    assert make(harness, "UpsampleArgmax").enqueue(unknown, [np.zeros(1, np.float32)], np.zeros(1, np.int32)) != 0
    assert "is unknown or too large" in harness.log()


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_an_empty_batch_is_served_without_a_launch(harness: Harness, name: str) -> None:
    plugin, tensors = make(harness, name), tensors_of(name, batch=0)
    assert plugin.shape_change(tensors) == 0
    arrays = [np.zeros(tensor.dims, np.float32) for tensor in tensors[:-1]]
    output = np.zeros(tensors[-1].dims, np.int32 if name == "UpsampleArgmax" else np.float32)
    assert plugin.enqueue(tensors, arrays, output) == 0
    assert harness.launches == 0 and harness.log() == ""


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_the_workspace_of_the_largest_batch_serves_every_smaller_one(harness: Harness, name: str) -> None:
    plugin, largest = make(harness, name), 5
    fixed = [tensors_of(name, batch=batch) for batch in range(1, largest + 1)]
    dynamic = [
        replace(tensor, dims=(-1, *tensor.dims[1:]), largest=tensor.dims)
        if position in (0, len(fixed[-1]) - 1)
        else tensor
        for position, tensor in enumerate(fixed[-1])
    ]
    assert plugin.configure(dynamic) == 0
    assert all(plugin.supports(position, dynamic) for position in range(len(dynamic)))
    sizes = [plugin.workspace_bytes(tensors) for tensors in fixed]
    assert plugin.workspace_bytes(dynamic) == sizes[-1] == max(sizes)
    assert (sizes[-1] > 0) == (name != "UpsampleArgmax")
    assert harness.log() == ""


@pytest.mark.parametrize("rank", [0, -1])
@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_a_profile_that_says_nothing_leaves_the_shapes_of_the_description(
    harness: Harness, name: str, rank: int
) -> None:
    plugin, known = make(harness, name), tensors_of(name)
    silent = [replace(tensor, largest_rank=rank) for tensor in known]
    assert all(plugin.supports(position, silent) for position in range(len(silent)))
    assert plugin.configure(silent) == 0 and plugin.workspace_bytes(silent) == plugin.workspace_bytes(known)
    wrong = [Tensor((*silent[0].dims[:-1], 0), largest_rank=rank), *silent[1:]]
    assert plugin.configure(wrong) != 0 and harness.log() != "", "known shapes are checked"


@pytest.mark.parametrize("rank", [0, -1])
@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_shapes_that_nothing_says_are_taken_until_they_are_known(harness: Harness, name: str, rank: int) -> None:
    plugin, known = make(harness, name), tensors_of(name)
    unknown = [replace(tensor, dims=(-1, *tensor.dims[1:]), largest_rank=rank) for tensor in known]
    assert all(plugin.supports(position, unknown) for position in range(len(unknown)))
    assert plugin.configure(unknown) == 0 and harness.log() == ""
    assert plugin.shape_change(known) == 0
