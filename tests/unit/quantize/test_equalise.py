"""Cross-layer equalisation: the same function, and less lost to INT8 where channels are outliers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgefsa.graph.editing import GraphEditor
from edgefsa.quantize import int8_onnx
from edgefsa.quantize.calibrate import Calibration
from edgefsa.quantize.equalise import equalise_file, equalised, joints, rescale
from tests.unit.quantize.conftest import run


def with_outliers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with the first channel of each joint 200 times larger."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    editor = GraphEditor(made)
    for joint in joints(editor):
        factors = np.ones(editor.array(joint.before.input[1]).shape[0])
        factors[0] = 1 / 200
        rescale(editor, joint, factors)
    return made


def depthwise() -> onnx.ModelProto:
    """expand -> ReLU -> depthwise -> ReLU -> project."""
    random = np.random.default_rng(3)
    shapes = {"expand": (6, 3, 1, 1), "deep": (6, 1, 3, 3), "project": (4, 6, 1, 1)}
    stored = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "expand"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["b"], "b"),
        helper.make_node("Conv", ["b", "deep"], ["c"], "c", group=6, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], "d"),
        helper.make_node("Conv", ["d", "project"], ["y"], "y"),
    ]
    ends = [helper.make_tensor_value_info(name, 1, [1, size, 5, 5]) for name, size in (("x", 3), ("y", 4))]
    graph = helper.make_graph(nodes, "deep", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_only_what_nothing_else_sees_is_a_joint(network: onnx.ModelProto) -> None:
    found = {joint.before.name: [node.name for node in joint.behind] for joint in joints(GraphEditor(network))}
    # stem is also a residual, a2, b2 and down are added, c goes to a frequency operator, mix to a norm.
    assert found == {"a1": ["a2"], "b1": ["b2"]}


@pytest.mark.parametrize("change", [equalised, with_outliers])
def test_the_function_stays(network: onnx.ModelProto, frames, change) -> None:
    changed = change(network)
    weights = {item.name: numpy_helper.to_array(item) for item in changed.graph.initializer}
    assert any((numpy_helper.to_array(item) != weights[item.name]).any() for item in network.graph.initializer)
    for frame in frames[:2]:
        (expected,), (found,) = (run(model, frame[None], ["logits"]) for model in (network, changed))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_convolution_over_each_channel_takes_factors_too() -> None:
    model = depthwise()
    changed = equalised(model)
    assert len(joints(GraphEditor(model))) == 2
    x = np.random.default_rng(0).standard_normal((1, 3, 5, 5)).astype(np.float32)
    (expected,), (found,) = (run(item, x, ["y"]) for item in (model, changed))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_int8_of_outlier_channels_loses_less(network: onnx.ModelProto, frames, tmp_path) -> None:
    path, lost = tmp_path / "m.onnx", {}
    for name in ("as it is", "equalised"):
        path.write_bytes(with_outliers(network).SerializeToString())
        if name == "equalised":
            equalise_file(path)
        model, calibration = onnx.load(path), Calibration(path)
        calibration.add(frames)
        quantised, _ = int8_onnx(model, calibration.ranges("minmax"))
        (expected,), (found,) = (run(item, frames[0][None], ["logits"]) for item in (model, quantised))
        lost[name] = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    assert lost["equalised"] < 0.5 * lost["as it is"], lost
