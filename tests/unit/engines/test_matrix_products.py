"""A network of matrix products in INT8 on every target: what is proved, and what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgefsa.artifacts import Manifest
from edgefsa.data.synthetic import render_scene
from edgefsa.engines import build_engine, inspect_engine, logits_session, targets
from edgefsa.export import load_graph, onnx_from_model
from edgefsa.graph.running import onnx_runner
from edgefsa.quantize import Ranges, int8_onnx, ranges_from_calibration
from tests.unit.engines.tensorrt.played_machine import VERSIONS, play_machine
from tests.unit.quantize.conftest import run
from tests.unit.small_transformer import CONVOLUTIONS, PRODUCTS, SIZE_HW, SmallTransformer

# Of the float logits: the order of sums alone, and what values on the edge between two steps make of it.
SAME, ROUNDING = 1e-5, 0.02
CONVERTED = {"openvino": "int8.onnx", "onnxruntime": "engine.onnx"}
FORMS = {"openvino": "int8", "onnxruntime": "uint8"}


@pytest.fixture(scope="module", params=[1, 2], ids=["batch 1", "batch 2"])
def transformer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("transformer") / "model.onnx"
    onnx_from_model(SmallTransformer().eval(), path, batch=request.param)
    return path


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [render_scene(index, SIZE_HW)[0] for index in range(6)]


@pytest.fixture(scope="module")
def ranges(transformer: Path, frames: list[np.ndarray]) -> Ranges:
    return ranges_from_calibration(transformer, frames, method="percentile")


def proved(engine: Path) -> dict[str, str]:
    """What each ONNX node runs in by the engine's record, the part of it that multiplies where it has several."""
    proof = Manifest.read(engine).proof
    assert proof["proved"] == proof["expected"] >= len(PRODUCTS) + 1
    layers = sorted(inspect_engine(engine)["layers"], key=lambda row: row["multiplies"])
    return {node: row["precision"] for row in layers for node in row["nodes"]}


@pytest.mark.parametrize("target", FORMS)
def test_products_run_in_int8_and_compute_what_the_graph_says(
    transformer: Path, ranges: Ranges, frames: list[np.ndarray], tmp_path: Path, target: str
) -> None:
    engine = build_engine(transformer, tmp_path, precision="int8", target=target, ranges=ranges).engine
    kinds = proved(engine)
    assert {kinds[name] for name in PRODUCTS} == {"int8"}
    graph = load_graph(transformer)
    quantised = load_graph(engine / CONVERTED[target])
    errors = []
    with logits_session(engine) as session:
        for index in range(0, len(frames), session.batch):
            batch = np.stack(frames[index : index + session.batch])
            (wanted,), (floats,) = (run(model, batch, ["logits"]) for model in (quantised, graph))
            errors.append(np.linalg.norm(session.run(batch) - wanted) / np.linalg.norm(floats))
    assert min(errors) < SAME and max(errors) < ROUNDING


def test_tensorrt_rtx_takes_products_as_int8(transformer: Path, ranges: Ranges, tmp_path: Path) -> None:
    if targets()["tensorrt-rtx"].unbuildable() is not None:
        pytest.skip(str(targets()["tensorrt-rtx"].unbuildable()))
    engine = build_engine(transformer, tmp_path, precision="int8", target="tensorrt-rtx", ranges=ranges).engine
    kinds = proved(engine)
    assert {kinds[name] for name in PRODUCTS | CONVOLUTIONS} == {"int8"}
    assert kinds["blocks.0.attention/MatMul"] == kinds["blocks.0.attention/MatMul_1"] == kinds["MatMul"] == "f16"
    assert kinds["blocks.0.norm1/LayerNormalization"] == kinds["blocks.0.attention/Softmax"] == "f32"


@pytest.mark.parametrize("version", VERSIONS)
def test_tensorrt_takes_products_as_int8(
    version: str, transformer: Path, ranges: Ranges, tmp_path: Path, shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = play_machine(version, shared_dir, monkeypatch, tmp_path)
    quantised, _ = int8_onnx(load_graph(transformer), ranges, rest="f16")
    runner = onnx_runner(quantised, optimised=False)
    played.run = lambda frames: runner(frames)[1]
    engine = build_engine(transformer, tmp_path, precision="int8", target="tensorrt", ranges=ranges).engine
    kinds = proved(engine)
    assert {kinds[name] for name in PRODUCTS | CONVOLUTIONS} == {"int8"}
    assert "int8" not in {kinds["blocks.0.attention/MatMul"], kinds["MatMul"]}


def test_what_stays_in_float_says_why(transformer: Path, ranges: Ranges) -> None:
    graph = load_graph(transformer)
    quantised, summary = int8_onnx(graph, ranges)
    assert set(summary.quantised) == PRODUCTS | CONVOLUTIONS
    assert summary.float_nodes.items() >= {
        ("blocks.1.attention/MatMul", "product of two activations"),
        ("blocks.1.attention/MatMul_1", "product of two activations"),
        ("MatMul", "its left factor is stored"),
        ("blocks.0.norm2/LayerNormalization", "norm"),
        ("blocks.0.attention/Softmax", "softmax"),
    }
    # The stream of tokens is added to in float, and Gelu and softmax read floats.
    made = {name: node.op_type for node in quantised.graph.node for name in node.output}
    for node in quantised.graph.node:
        if node.op_type in ("Add", "Gelu", "Softmax", "LayerNormalization"):
            assert "DequantizeLinear" not in {made.get(name) for name in node.input}, node.name


def test_a_shared_weight_is_stored_once(transformer: Path, ranges: Ranges) -> None:
    graph = load_graph(transformer)
    forms = [int8_onnx(graph, ranges, activations=form)[0] for form in FORMS.values()]
    for model in (graph, *forms):
        first, again = (node for node in model.graph.node if node.name in ("first/MatMul", "first/MatMul_1"))
        assert first.input[1] == again.input[1]
        onnx.checker.check_model(model, full_check=True)
