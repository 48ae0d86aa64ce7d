"""Matrix products beside what they stand beside in networks: the CPU runtimes run them in INT8, and rightly.

The reference is the graph with the Q/DQ pairs, every operator as written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgefsa.engines.cpu.onnxruntime import CPU_PROVIDER, load_session
from edgefsa.engines.cpu.onnxruntime_layers import optimised_layers
from edgefsa.engines.cpu.openvino import _executed_layers
from edgefsa.engines.cpu.openvino_graph import join_codes, keep_reduced_axes, transpose_weights
from edgefsa.engines.precision import int8_products, prove_precision
from edgefsa.graph.files import weights_hash
from edgefsa.quantize import Ranges, int8_onnx
from edgefsa.quantize.calibrate import calibrated_tensors
from tests.unit.quantize.conftest import run

SHAPES = {"w": (16, 16), "v": (16, 16), "b": (16,), "c": (16,), "one": (1,), "where": (96, 16), "conv": (16, 16, 1, 1)}
INTEGERS = {"first": [0], "second": [1], "both": [1, 2], "map": [2, 16, 8, 12], "tokens": [2, 16, 96]}
TOKENS, ROWS, MAP, GRID = (2, 96, 16), (96, 16), (2, 16, 8, 12), (2, 8, 12, 16)
PATTERNS = {
    "a linear": (TOKENS, "h = MatMul (x, w) y = Add (h, b)"),
    "without bias": (TOKENS, "y = MatMul (x, w)"),
    "on rows": (ROWS, "y = Gemm <transB = 1> (x, w, b)"),
    "on rows, as stored": (ROWS, "y = Gemm (x, w, b)"),
    "on rows, without bias": (ROWS, "y = Gemm <transB = 1> (x, w)"),
    "one weight twice": (TOKENS, "h = MatMul (x, w) s = Add (h, b) g = Gelu (s) k = MatMul (g, w) y = Add (k, c)"),
    "one weight twice, both ways": (ROWS, "h = Gemm (x, w, b) g = Gelu (h) y = Gemm <transB = 1> (g, w, c)"),
    "relu": (TOKENS, "h = MatMul (x, w) s = Add (h, b) r = Relu (s) y = MatMul (r, v)"),
    "gelu": (TOKENS, "h = MatMul (x, w) s = Add (h, b) g = Gelu (s) k = MatMul (g, v) y = Add (k, c)"),
    "sigmoid of rows": (ROWS, "h = Gemm <transB = 1> (x, w, b) g = Sigmoid (h) y = Gemm <transB = 1> (g, v, c)"),
    "a factor": (TOKENS, "h = MatMul (x, w) s = Add (h, b) y = Mul (s, one)"),
    "a factor per channel": (TOKENS, "h = MatMul (x, w) s = Mul (h, b) y = MatMul (s, v)"),
    "a skip": (TOKENS, "h = MatMul (x, w) r = Add (x, h) g = Gelu (r) k = MatMul (g, v) y = Add (r, k)"),
    "a skip of rows": (
        ROWS,
        "h = MatMul (x, w) r = Add (x, h) g = Gelu (r) k = Gemm <transB = 1> (g, v) y = Add (r, k)",
    ),
    "an embedding": (ROWS, "h = MatMul (x, w) y = Add (h, where)"),
    "integers and floats": (TOKENS, "h = MatMul (x, w) k = MatMul (h, v) y = Add (h, k)"),
    "integers and floats of rows": (ROWS, "h = Gemm (x, w, b) k = Gemm (h, v) y = Add (h, k)"),
    "a norm": (
        TOKENS,
        "h = MatMul (x, w) s = Add (h, b) r = Add (s, x) n = LayerNormalization (r, c) y = MatMul (n, v)",
    ),
    "a softmax": (TOKENS, "h = MatMul (x, w) s = Softmax (h) y = Mul (s, x)"),
    "a gate": (TOKENS, "h = MatMul (x, w) g = MatMul (x, v) s = Sigmoid (g) m = Mul (h, s) y = MatMul (m, v)"),
    "a join": (TOKENS, "h = MatMul (x, w) m = Concat <axis = 1> (x, h) y = MatMul (m, v)"),
    "mean of tokens": (
        TOKENS,
        "h = MatMul (x, w) m = ReduceMean <keepdims = 0> (h, second) y = Gemm <transB = 1> (m, v, b)",
    ),
    "largest of tokens": (TOKENS, "h = MatMul (x, w) m = ReduceMax <keepdims = 0> (h, second) y = Gemm (m, v, b)"),
    "mean of a grid": (GRID, "h = MatMul (x, w) m = ReduceMean <keepdims = 0> (h, both) y = MatMul (m, v)"),
    "mean over the batch": (TOKENS, "h = MatMul (x, w) m = ReduceMean <keepdims = 0> (h, first) y = MatMul (m, v)"),
    "columns": (TOKENS, "h = MatMul (x, w) s = Add (h, b) y = Transpose <perm = [0, 2, 1]> (s)"),
    "from a map": (
        MAP,
        "h = Conv (x, conv) t = Reshape (h, tokens) m = Transpose <perm = [0, 2, 1]> (t) y = MatMul (m, v)",
    ),
    "to a map": (
        TOKENS,
        "h = MatMul (x, w) t = Transpose <perm = [0, 2, 1]> (h) m = Reshape (t, map) y = Conv (m, conv)",
    ),
}


def quantised(shape: tuple[int, ...], body: str, form: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """A pattern's INT8 graph, and an input for it."""
    head = f'<ir_version: 10, opset_import: ["" : 20]> pattern (float{list(shape)} x) => (float y)'
    model = onnx.parser.parse_model(f"{head} {{{body}}}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    rng = np.random.default_rng(5)
    for node in model.graph.node:
        node.name = node.output[0]
    stored = {name: rng.normal(0, 0.25, size).astype(np.float32) for name, size in SHAPES.items()}
    stored["w"] *= np.geomspace(0.05, 3, 16).astype(np.float32)  # channels of very different scales
    stored |= {name: np.array(value, np.int64) for name, value in INTEGERS.items()}
    for name in {name for node in model.graph.node for name in node.input} & stored.keys():
        model.graph.initializer.append(numpy_helper.from_array(stored[name], name))
    model = onnx.shape_inference.infer_shapes(model)
    x, tensors = rng.normal(0, 1, shape).astype(np.float32), calibrated_tensors(model)
    values = dict(zip(tensors, run(model, x, tensors), strict=True))
    amax = {name: {"amax": float(np.abs(value).max())} for name, value in values.items()}
    facts = {"name": "noise", "fingerprint": "", "frames": 1}
    return int8_onnx(model, Ranges("pattern", weights_hash(model), "minmax", facts, amax), activations=form)[0], x


def relative_l2(value: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(value - wanted) / np.linalg.norm(wanted.astype(np.float64)))


@pytest.mark.parametrize("name", PATTERNS)
def test_openvino(name: str) -> None:
    import openvino

    model, x = quantised(*PATTERNS[name], "int8")
    (wanted,) = run(model, x)
    join_codes(model)
    keep_reduced_axes(model)
    transpose_weights(model)
    onnx.checker.check_model(model, full_check=True)
    core = openvino.Core()
    graph = core.read_model(model.SerializeToString(), b"")
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    prove_precision("int8", int8_products(model.graph), _executed_layers(compiled), "OpenVINO", "engine")
    assert relative_l2(compiled([x])[0], wanted) < 2e-3


@pytest.mark.parametrize("name", PATTERNS)
def test_onnx_runtime(name: str, tmp_path: Path) -> None:
    model, x = quantised(*PATTERNS[name], "uint8")
    (wanted,) = run(model, x)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path / "engine.onnx"
    path.write_bytes(model.SerializeToString())
    # As in networks: a convolution that gives the floats of the output stays in float.
    kinds = {node.name: node.op_type for node in model.graph.node}
    expected = [name for name in int8_products(model.graph) if kinds[name] != "Conv"]
    prove_precision("int8", expected, optimised_layers(path, CPU_PROVIDER), "ONNX Runtime", "engine")
    (found,) = load_session(str(path), CPU_PROVIDER).run(None, {"x": x})
    assert relative_l2(found, wanted) < 2e-3


@pytest.mark.parametrize("name", ["gelu", "on rows, without bias", "relu"])
def test_onnx_runtimes_layers_tell_what_they_give(name: str, tmp_path: Path) -> None:
    """Integer products give floats where nothing rounds their result: what reads these is float too."""
    model, _ = quantised(*PATTERNS[name], "uint8")
    (tmp_path / "engine.onnx").write_bytes(model.SerializeToString())
    layers = optimised_layers(tmp_path / "engine.onnx", CPU_PROVIDER)
    kinds = {layer.kind: layer.precision for layer in layers}
    assert {kinds[kind] for kind in kinds if kind in ("QGemm", "MatMulIntegerToFloat", "QLinearMatMul")} == {"int8"}
    if name == "gelu":
        assert kinds["Gelu"] == "f32"
