"""The module exported for Torch-TensorRT: the numbers of its ONNX file, in the types that it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgefsa.build import ModelRequest, export_model
from edgefsa.engines.precision import half_products, prove_precision
from edgefsa.engines.tensorrt.torch_tensorrt import program_layers
from edgefsa.errors import CheckpointError
from edgefsa.export.program import CameraProgram, camera_program
from edgefsa.graph.files import load_graph, read_metadata
from edgefsa.graph.running import onnx_runner
from edgefsa.quantize import fp16_onnx

SIZE_HW = (64, 96)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("program") / "model.onnx"
    export_model(ModelRequest("fsanet-edge", size_hw=SIZE_HW), path)
    return load_graph(path)


def run(camera: CameraProgram, frames: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return camera.program.module()(torch.from_numpy(frames)).numpy()


@pytest.mark.parametrize(("half", "agreement"), [(False, 0.9999), (True, 0.99)])
def test_a_program_gives_the_masks_of_the_onnx_file(model: onnx.ModelProto, half: bool, agreement: float) -> None:
    camera = camera_program(read_metadata(model), half=half)
    frames = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)
    masks, (_, expected) = run(camera, frames), onnx_runner(model)(frames)
    assert masks.dtype == np.int32 and (masks == expected).mean() >= agreement
    targets = {str(node.target) for node in camera.program.graph.nodes if node.op == "call_function"}
    assert not any("baddbmm" in target for target in targets), "Torch-TensorRT has no converter for it"
    layers = program_layers(camera, model.graph)
    if half:
        half_model, _ = fp16_onnx(model, None, None)
        expected_nodes = half_products(half_model.graph)
        assert len(expected_nodes) > 20
        assert prove_precision("fp16", expected_nodes, layers, "", "network")["proved"] == len(expected_nodes)
    assert {layer.precision for layer in layers if layer.detail == "attention"} == {"f32"}
    assert {layer.precision for layer in layers if layer.nodes} == {"f16" if half else "f32"}


def test_a_model_of_another_tool_has_no_module(model: onnx.ModelProto, tmp_path: Path) -> None:
    facts = {**read_metadata(model), "weights": {"kind": "foreign", "source": "other.onnx", "sha256": ""}}
    with pytest.raises(
        CheckpointError, match=r"module is compiled, and cannot be made: other\.onnx was made by another"
    ):
        camera_program(facts, half=False)
