"""Sizes of tensors by their shapes, against the tensors that ONNX Runtime makes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edgefsa.graph.files import inline_functions
from edgefsa.graph.sizes import activations_mb, weights_mb
from tests.unit.engines import tiny


def test_every_tensor_has_the_size_that_it_has_when_it_is_run() -> None:
    model = tiny.tiny_graph()
    inlined = inline_functions(model)
    sizes = activations_mb(model)
    made = [name for node in inlined.graph.node for name in node.output]
    assert set(sizes) == set(made)
    probe = onnx.ModelProto()
    probe.CopyFrom(inlined)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in made)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(made, {"frames": np.zeros((1, *tiny.SIZE_HW, 3), np.uint8)})
    for name, value in zip(made, values, strict=True):
        assert sizes[name] * 2**20 == pytest.approx(value.nbytes), name


def test_the_weights_are_the_stored_tensors() -> None:
    model = tiny.tiny_graph()
    stored = sum(onnx.numpy_helper.to_array(item).nbytes for item in model.graph.initializer)
    assert weights_mb(model) * 2**20 == pytest.approx(stored)


def test_activations_grow_with_the_frame_and_weights_do_not() -> None:
    small, large = tiny.tiny_graph(), tiny.tiny_graph(size_hw=[64, 96])
    assert weights_mb(small) == weights_mb(large)
    ratio = sum(activations_mb(large).values()) / sum(activations_mb(small).values())
    assert 3.9 < ratio < 4.1
