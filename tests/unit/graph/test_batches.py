"""Graphs whose batch is open."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from edgefsa.graph.batches import BATCH, fixed_batch, free_batch
from edgefsa.graph.cost import macs_by_node
from edgefsa.graph.files import largest_batch
from edgefsa.graph.running import tensors_runner
from edgefsa.graph.sizes import activations_mb
from tests.unit.engines import tiny

TRACED = """
<ir_version: 10, opset_import: ["" : 20]>
traced (uint8[3,4,6,3] frames) => (float[3,2,9] flat, float[3,8,12,3] large, float[3,4,6,3] spread)
<int64[3] flat_shape = {3, 2, -1}, int64[4] sizes = {3, 8, 12, 3}, int64[4] wide = {3, 1, 1, 3},
 int64[2] other = {3, 3},
 float[1,1,1,3] offsets = {1.0, 2.0, 3.0}, float[9] square = {0., 1., 2., 3., 4., 5., 6., 7., 8.},
 int64[4] starts = {0, 0, 0, 0}, int64[4] ends = {99, 2, 3, 3}>
{
    image = Cast <to = 1> (frames)
    part = Slice (image, starts, ends)
    flat = Reshape (part, flat_shape)
    large = Resize <mode = "nearest"> (image, , , sizes)
    expanded = Expand (offsets, wide)
    spread = Add (image, expanded)
    matrix = Reshape (square, other)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(TRACED)
    for index, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{index}"
    free_batch(model)
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.mark.parametrize("count", [1, 3, 5])
def test_each_number_of_frames_gives_what_numpy_gives(model: onnx.ModelProto, count: int) -> None:
    frames = np.random.default_rng(count).integers(0, 256, (count, 4, 6, 3), dtype=np.uint8)
    image = frames.astype(np.float32)
    flat, large, spread, matrix = tensors_runner(model, ["flat", "large", "spread", "matrix"])(frames)
    assert (flat == image[:, :2, :3].reshape(count, 2, 9)).all()
    assert (large == image.repeat(2, axis=1).repeat(2, axis=2)).all()
    assert (spread == image + [1, 2, 3]).all() and matrix.shape == (3, 3), "a 3 that is not the batch stays"


def test_the_ends_name_the_batch_once(model: onnx.ModelProto) -> None:
    ends = [*model.graph.input, *model.graph.output]
    assert {item.type.tensor_type.shape.dim[0].dim_param for item in ends} == {BATCH}
    assert [node.op_type for node in model.graph.node].count("Shape") == 1


def test_sizes_and_costs_are_those_of_the_largest_batch() -> None:
    free, fixed = tiny.tiny_graph(batch=8, batches=[1, 4, 8]), tiny.tiny_graph(batch=8)
    assert free.graph.input[0].type.tensor_type.shape.dim[0].dim_param == BATCH
    assert macs_by_node(free) == macs_by_node(fixed) and activations_mb(free) == activations_mb(fixed)
    assert largest_batch(free).graph.input == fixed.graph.input
    assert largest_batch(fixed) is fixed and fixed_batch(fixed, 2) == fixed
