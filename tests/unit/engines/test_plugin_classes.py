"""The plugin classes as TensorRT drives them: fields, shapes, types, workspace and errors.

They are compiled for the host against TensorRT's public headers, with the emulated kernels behind them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgefsa.engines.plugin_library import PLUGINS
from tests.unit.engines.plugin_harness.cases import ATTENTION, ATTRIBUTES, C, H, N, W, make, tensors_of
from tests.unit.engines.plugin_harness.harness import (
    FIELD_CHAR,
    FIELD_FLOAT32,
    FIELD_INT32,
    FLOAT,
    HALF,
    INT8,
    INT32,
    Harness,
    Tensor,
)


def test_the_creators_are_the_operators_with_their_attributes(harness: Harness) -> None:
    creators = {item.name: item for item in harness.creators()}
    assert {(item.name, item.version, item.namespace) for item in creators.values()} == {
        (name, version, "") for name, version in PLUGINS.items()
    }
    scales = {"x_scale": FIELD_FLOAT32, "y_scale": FIELD_FLOAT32}
    attention = {"mode": FIELD_CHAR, "recurrence": FIELD_INT32, "scale": FIELD_FLOAT32}
    assert creators["TruncatedDctAttention"].fields == attention | scales
    assert creators["SpectralMask"].fields == scales
    assert creators["UpsampleArgmax"].fields == {"height": FIELD_INT32, "width": FIELD_INT32}


@pytest.mark.parametrize("name", ["TruncatedDctAttention", "SpectralMask"])
def test_a_map_keeps_its_shape_and_type_and_any_batch(harness: Harness, name: str) -> None:
    plugin = make(harness, name)
    inputs = tensors_of(name, Tensor((-1, C, H, W)))[:-1]
    assert plugin.output_shape(inputs) == (-1, C, H, W)
    for kind in (FLOAT, HALF, INT8):
        assert plugin.output_type([kind, *[FLOAT] * (len(inputs) - 1)]) == kind
    assert harness.log() == ""


def test_the_mask_has_the_given_size_any_batch_and_int32(harness: Harness) -> None:
    plugin = make(harness, "UpsampleArgmax")
    assert plugin.output_shape([Tensor((-7, C, H, W))]) == (-7, 9, 14)
    assert plugin.output_type([HALF]) == INT32
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
        ("TruncatedDctAttention", {**ATTENTION, "scale": 1}, "scale has to be one float"),
        ("TruncatedDctAttention", {**ATTENTION, "mode": 3}, "mode has to be a text"),
        ("SpectralMask", {"x_scale": "wide"}, "x_scale has to be one float"),
        ("SpectralMask", {"x_scale": 0.5}, "x_scale and y_scale are 0.500000 and 0.000000; both have to be positive"),
        ("SpectralMask", {"x_scale": 0.5, "y_scale": float("inf")}, "are 0.500000 and inf"),
        ("TruncatedDctAttention", {**ATTENTION, "x_scale": -1.0, "y_scale": -1.0}, "are -1.000000 and -1.000000"),
        ("UpsampleArgmax", {"height": 0, "width": 4}, "are 0 and 4"),
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


def test_a_launch_that_fails_is_logged_and_told(harness: Harness) -> None:
    plugin = make(harness, "UpsampleArgmax")
    tensors = [Tensor((0, C, H, W)), Tensor((0, 9, 14), INT32)]
    negative = [Tensor((N, C, -1, W)), tensors[1]]
    assert plugin.enqueue(negative, [np.zeros(1, np.float32)], np.zeros(1, np.int32)) != 0
    assert "is unknown or too large" in harness.log()
