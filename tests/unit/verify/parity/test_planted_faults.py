"""A fault in each stage: the right stage is named, and in it the right block, with what it looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import helper, numpy_helper

from edgefsa.artifacts import Manifest, sha256_of_file
from edgefsa.data.readers import Dataset
from edgefsa.engines import build_engine
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME
from edgefsa.export import onnx_from_model
from edgefsa.graph import files
from edgefsa.graph.files import load_graph
from edgefsa.models import create_model, rebuilt
from edgefsa.quantize import fp16_onnx
from edgefsa.verify.parity import Fault, ParityReport, parity
from tests.unit.verify.parity.conftest import SIZE_HW, plant, rehash, store, stored

CopyOf = Callable[[str, str], Path]


def fault_of(report: ParityReport) -> Fault:
    assert not report.passed and report.fault is not None
    names = [stage.stage for stage in report.stages]
    before = report.stages[: names.index(report.fault.stage)]
    assert not any(stage.faults for stage in before)
    return report.fault


def onnx_engine(exported: Path, folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """Build an engine from an ONNX file that is changed after its export, so that all that follows has the fault."""
    model = load_graph(exported)
    change(model)
    (folder / "changed.onnx").write_bytes(model.SerializeToString())
    return build_engine(folder / "changed.onnx", folder, target="onnxruntime").engine


def test_a_channel_that_is_zeroed_on_the_way_from_the_checkpoint(
    scenes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    network = create_model("fsanet-edge").eval()
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    weights = {"kind": "checkpoint", "source": str(path), "sha256": sha256_of_file(path)}
    onnx_from_model(network, tmp_path / "m.onnx", size_hw=SIZE_HW, weights=weights)
    engine = build_engine(tmp_path / "m.onnx", tmp_path, target="onnxruntime").engine
    assert parity(engine, dataset=scenes, limit=1).passed
    load = rebuilt.load_checkpoint

    def zeroing(model: torch.nn.Module, *arguments: object, **options: object) -> object:
        loaded = load(model, *arguments, **options)
        with torch.no_grad():
            model.layer2[0].conv1.weight[3] = 0
        return loaded

    monkeypatch.setattr(rebuilt, "load_checkpoint", zeroing)
    fault = fault_of(parity(engine, dataset=scenes, limit=1))
    assert (fault.stage, fault.against) == ("module", "checkpoint")
    assert "1 of 132 weights" in fault.why and "layer2.0.conv1.weight" in fault.why


def test_a_mean_in_the_other_channel_order(exported: Path, scenes: Dataset, tmp_path: Path):
    engine = onnx_engine(exported, tmp_path, lambda model: store(model, "mean_bgr", stored(model, "mean_bgr")[::-1]))
    fault = fault_of(parity(engine, dataset=scenes))
    assert (fault.stage, fault.block) == ("onnx", "frames") and "reach the first weight otherwise" in fault.why


def test_a_first_weight_in_the_other_channel_order(exported: Path, scenes: Dataset, tmp_path: Path):
    def swap(model: onnx.ModelProto) -> None:
        store(model, "stem.0.weight", stored(model, "stem.0.weight")[:, ::-1])

    fault = fault_of(parity(onnx_engine(exported, tmp_path, swap), dataset=scenes))
    assert (fault.stage, fault.against, fault.block) == ("onnx", "module", "stem.0..3")
    assert "stem.0/Conv" in fault.nodes and fault.error > 0.01 and fault.error_before == 0


def test_frames_that_arrive_in_the_other_channel_order(exported: Path, scenes: Dataset, tmp_path: Path):
    def swap(model: onnx.ModelProto) -> None:
        store(model, "stem.0.weight", stored(model, "stem.0.weight")[:, ::-1])
        store(model, "mean_bgr", stored(model, "mean_bgr")[::-1])

    fault = fault_of(parity(onnx_engine(exported, tmp_path, swap), dataset=scenes))
    assert (fault.stage, fault.block) == ("onnx", "frames")
    assert any(hint.startswith("channel order") for hint in fault.hints)


ALIGNED = """<domain: "edgefsa", opset_import: ["" : 20]>
UpsampleArgmax <height, width> (logits) => (indices)
{
    height = Constant <value_int: int = @height> ()
    width = Constant <value_int: int = @width> ()
    axes = Constant <value_ints = [0]> ()
    kept = Shape <start = 0, end = 2> (logits)
    height_1 = Unsqueeze (height, axes)
    width_1 = Unsqueeze (width, axes)
    sizes = Concat <axis = 0> (kept, height_1, width_1)
    large = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (logits, , , sizes)
    index = ArgMax <axis = 1, keepdims = 0> (large)
    indices = Cast <to = 6> (index)
}
"""


def test_logits_that_are_resized_with_align_corners(exported: Path, scenes: Dataset, tmp_path: Path):
    def align(model: onnx.ModelProto) -> None:
        body = next(item for item in model.functions if item.name == "UpsampleArgmax")
        body.CopyFrom(onnx.parser.parse_function(ALIGNED))

    report = parity(onnx_engine(exported, tmp_path, align), dataset=scenes)
    fault = fault_of(report)
    assert (fault.stage, fault.block) == ("onnx", "masks") and "UpsampleArgmax" in fault.nodes
    assert any(hint.startswith("align_corners") for hint in fault.hints)
    stage = next(stage for stage in report.stages if stage.stage == "onnx")
    assert stage.to_previous.relative_l2 < 1e-5, "the logits are right"
    assert stage.to_previous.at_borders < stage.to_previous.elsewhere


def test_a_scale_10_times_too_large_in_a_body_that_is_inlined(
    copy_of: CopyOf, scenes: Dataset, monkeypatch: pytest.MonkeyPatch
):
    inline = files.inline_functions

    def scaling(model: onnx.ModelProto) -> onnx.ModelProto:
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        node = next(node for node in wrong.graph.node if node.op_type == "TruncatedDctAttention")
        scale = next(item for item in node.attribute if item.name == "scale")
        scale.f *= 10
        return inline(wrong)

    monkeypatch.setattr(files, "inline_functions", scaling)
    fault = fault_of(parity(copy_of("onnxruntime", "fp32"), dataset=scenes, first="onnx"))
    assert (fault.stage, fault.against, fault.block) == ("inlined", "onnx", "attention")


def test_a_quantisation_scale_10_times_too_large(copy_of: CopyOf, scenes: Dataset):
    def scale(model: onnx.ModelProto) -> None:
        name = "layer2.0.relu/Relu.scale"
        store(model, name, stored(model, name) * np.float32(10))

    engine = copy_of("openvino", "int8")
    plant(engine, QUANTISED_NAME, scale)
    fault = fault_of(parity(engine, dataset=scenes, first="onnx"))
    assert (fault.stage, fault.against, fault.block) == ("converted", "inlined", "layer2.0.downsample.0..conv2")
    assert "layer2.0.relu/Relu is about" in fault.why and "times too large" in fault.why


def test_codes_of_unequal_scales_that_are_joined(copy_of: CopyOf, scenes: Dataset):
    """A concatenation of codes, read back with the scale of one side, while the other was rounded with another."""

    def join(model: onnx.ModelProto) -> None:
        nodes = model.graph.node
        concat = next(node for node in nodes if node.name == "Concat")
        makers = {node.output[0]: node for node in nodes}
        one, other = (makers[name] for name in concat.input)
        assert one.op_type == other.op_type == "DequantizeLinear"
        assert stored(model, one.input[1]) == stored(model, other.input[1]), "a build gives both one scale"
        wrong = stored(model, other.input[1]) * np.float32(4)
        model.graph.initializer.append(numpy_helper.from_array(wrong, "wrong_scale"))
        rounded = makers[other.input[0]]
        index = list(nodes).index(concat)
        codes = [rounded.input[0], "wrong_scale", rounded.input[2]]
        nodes.insert(index, helper.make_node("QuantizeLinear", codes, ["other_codes"], "other_codes"))
        made = concat.output[0]
        concat.input[:], concat.output[0] = [one.input[0], "other_codes"], "joined_codes"
        nodes.insert(
            index + 2, helper.make_node("DequantizeLinear", ["joined_codes", *one.input[1:]], [made], "joined")
        )

    engine = copy_of("openvino", "int8")
    plant(engine, QUANTISED_NAME, join)
    fault = fault_of(parity(engine, dataset=scenes, first="onnx"))
    assert (fault.stage, fault.block) == ("converted", "fuse.0..narrow.0") and "Concat" in fault.nodes


def test_float16_that_overflows(copy_of: CopyOf, scenes: Dataset):
    """Weights of 2^16 times the size in one convolution and 2^-16 times in the next: the same network in float32."""

    def stretch(model: onnx.ModelProto) -> None:
        for name, factor in (("conv1.weight", 2.0**16), ("conv1.bias", 2.0**16), ("conv2.weight", 2.0**-16)):
            store(model, f"layer3.0.{name}", stored(model, f"layer3.0.{name}") * np.float32(factor))

    engine = copy_of("onnxruntime", "fp32")
    model = load_graph(engine / "model.onnx")
    stretch(model)
    # What a TensorRT engine in fp16 has beside its float graph.
    (engine / HALF_NAME).write_bytes(fp16_onnx(model)[0].SerializeToString())
    manifest = Manifest.read(engine)
    manifest.precision, manifest.precision_detail["compute"] = "fp16", "f16"
    manifest.write(engine)
    rehash(engine)
    report = parity(engine, dataset=scenes, first="onnx")
    fault = fault_of(report)
    assert (fault.stage, fault.against, fault.block) == ("converted", "inlined", "layer3.0.downsample.0..conv2")
    assert np.isinf(fault.error) and report.as_dict()["fault"]["error"] is None, "JSON has no number for it"
    assert any(hint.startswith("overflow") for hint in fault.hints)


def test_a_channel_that_is_zeroed_in_the_engine(copy_of: CopyOf, scenes: Dataset):
    from edgefsa.engines.cpu.openvino import ENGINE_NAME, _save_ir

    engine = copy_of("openvino", "fp32")
    model = load_graph(engine / "model.onnx")
    weight = stored(model, "layer3.1.conv2.weight")
    weight[5] = 0
    store(model, "layer3.1.conv2.weight", weight)
    for path in engine.glob("engine.*"):
        path.unlink()
    _save_ir(files.inline_functions(model), engine / ENGINE_NAME, half_weights=False)
    rehash(engine)
    fault = fault_of(parity(engine, dataset=scenes, first="onnx"))
    assert (fault.stage, fault.against, fault.block) == ("engine", "inlined", "layer3.1.conv1..conv2")
    assert "same result as untapped" in fault.note
    assert any("channel 5" in hint for hint in fault.hints)


def test_a_channel_that_is_zeroed_in_an_int8_engine(copy_of: CopyOf, scenes: Dataset):
    """Too little of it reaches the logits to pass their bound; the block alone shows it."""
    from edgefsa.engines.cpu.openvino import ENGINE_NAME, _save_ir
    from edgefsa.engines.cpu.openvino_graph import join_codes, keep_reduced_axes, transpose_weights

    engine = copy_of("openvino", "int8")
    model = load_graph(engine / QUANTISED_NAME)
    codes = stored(model, "layer3.1.conv2.weight.int8")
    codes[5] = 0
    store(model, "layer3.1.conv2.weight.int8", codes)
    graph = files.inline_functions(model)
    for change in (join_codes, keep_reduced_axes, transpose_weights):
        change(graph)
    for path in engine.glob("engine.*"):
        path.unlink()
    _save_ir(graph, engine / ENGINE_NAME, half_weights=False)
    rehash(engine)
    report = parity(engine, dataset=scenes, first="onnx")
    fault, last = fault_of(report), report.stages[-1]
    assert last.to_previous.distance.within(last.bound), "the figures of the whole stage keep to its bound"
    assert (fault.stage, fault.against, fault.block) == ("engine", "converted", "layer3.1.conv1..conv2")
    assert fault.error > 5 * fault.error_before and last.block.growth > 5
