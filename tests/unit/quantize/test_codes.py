from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgefsa.quantize import int8_onnx
from edgefsa.quantize.codes import code_use
from tests.unit.quantize.conftest import run
from tests.unit.quantize.test_qdq import ranges_of


def measured(network: onnx.ModelProto, frames: list[np.ndarray], **changes: float) -> list:
    """Quantise with the true ranges of the frames, but for those in `changes`, which are factors."""
    names = list(ranges_of(network).tensors)
    values = [run(network, frame[None], names) for frame in frames]
    amax = {name: max(float(np.abs(item[index]).max()) for item in values) for index, name in enumerate(names)}
    ranges = ranges_of(network, 1.0, **{name: amax[name] * changes.get(name, 1.0) for name in names})
    quantised, _ = int8_onnx(network, ranges)
    return code_use(quantised, [frame[None] for frame in frames])


def test_measured_ranges_fit(network: onnx.ModelProto, frames: list[np.ndarray]):
    uses = measured(network, frames)
    assert len(uses) > 5 and not [use.fault for use in uses if use.fault]
    assert all(0.2 < use.used < 1.05 and use.clipped == 0 for use in uses if not use.shares)


@pytest.mark.parametrize(("factor", "words"), [(10.0, "times too large"), (0.1, "too small")])
def test_a_scale_that_is_off_by_ten_is_named(
    network: onnx.ModelProto, frames: list[np.ndarray], factor: float, words: str
):
    faults = {use.tensor: use.fault for use in measured(network, frames, a1_relu=factor) if use.fault}
    assert list(faults) == ["a1_relu"] and words in faults["a1_relu"]


def test_what_shares_its_scale_may_use_little_of_it(network: onnx.ModelProto, frames: list[np.ndarray]):
    uses = {use.tensor: use for use in measured(network, frames)}
    assert uses["large"].shares and not uses["a1_relu"].shares


def test_a_float_graph_has_no_codes(network: onnx.ModelProto, frames: list[np.ndarray]):
    assert code_use(network, [frames[0][None]]) == []


def test_clipping_is_counted_above_the_largest_code_only(network: onnx.ModelProto, frames: list[np.ndarray]):
    quantised, _ = int8_onnx(network, ranges_of(network, 10.0, image=100.0))
    use = next(item for item in code_use(quantised, [frames[4][None]]) if item.tensor == "image")
    scale = float(numpy_helper.to_array(next(i for i in quantised.graph.initializer if i.name == "image.scale")))
    assert use.clipped == np.mean(frames[4] > scale * 127.5)
