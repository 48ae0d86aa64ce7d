"""What ONNX Runtime makes of a graph: its own optimised form, layer by layer. Needs onnx; used at build time only."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection
from pathlib import Path

import onnx

from edgefsa.engines.cpu.onnxruntime import load_session
from edgefsa.engines.precision import half_products, int8_products
from edgefsa.engines.session import LayerPrecision

_MULTIPLYING = re.compile(
    r"(Nhwc)?(Fused)?(Conv|ConvTranspose|Gemm|MatMul)|QLinear(Conv|MatMul)|QGemm|(Conv|MatMul)Integer(ToFloat)?"
)
_INT8_OPERATORS = re.compile(r"QLinear|QGemm|MatMulInteger|ConvInteger")
# The layout pass renames a node, conv1 to conv1_token_12 or conv1_nchwc, and fusions do: fc1 with an addition behind it
# is fc1/MatMulAddFusion, and with an activation "fused fc1".
_RENAMED = re.compile(r"^fused |(_token_\d+|_nchwc|/(MatMulAdd|MatMulScale|MatmulTranspose)Fusion/?)+$")
_WORDS = {1: "f32", 2: "u8", 3: "i8", 6: "i32", 7: "i64", 9: "bool", 10: "f16", 16: "bf16"}
_INDEX_OPERATORS = ("ArgMax", "Shape")
_FLOAT, _UINT8, _INT64 = 1, 2, 7
_QGEMM_INPUTS = 9


def optimised_layers(path: Path, provider: str) -> list[LayerPrecision]:
    """Let ONNX Runtime optimise an ONNX file as it would to run it, and list the layers of the result."""
    with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
        optimised = Path(scratch) / "optimised.onnx"
        load_session(str(path), provider, optimised=optimised)
        graph = onnx.load(optimised).graph
    # A layer of its own memory layout is named after the tensor that it makes.
    maker = {output: node.name for node in onnx.load(path).graph.node for output in node.output}
    types = _tensor_types(graph)
    layers = []
    for node in graph.node:
        if node.op_type == "Constant":
            continue
        integer = _INT8_OPERATORS.search(node.op_type) is not None
        precision = "int8" if integer else _WORDS.get(types[node.output[0]], "other")
        name = _RENAMED.sub("", node.name)
        operator = f"{node.domain or 'ai.onnx'}.{node.op_type}"
        multiplies = _MULTIPLYING.fullmatch(node.op_type) is not None
        layers.append(
            LayerPrecision(node.name, node.op_type, precision, operator, (maker.get(name, name),), multiplies)
        )
    return layers


def typed_layers(graph: onnx.GraphProto, taken: Collection[str]) -> list[LayerPrecision]:
    """List the nodes of a graph without functions with the types that ONNX gives them, for a strongly typed compiler.

    Nodes that are not among `taken` stay with ONNX Runtime's CPU provider, which multiplies in float32.
    """
    quantised, half = set(int8_products(graph)), set(half_products(graph))
    layers = []
    for node in graph.node:
        multiplies = _MULTIPLYING.fullmatch(node.op_type) is not None
        precision = "int8" if node.name in quantised else "f16" if node.name in half else "f32"
        found = precision if multiplies and node.name in taken else "f32"
        where = "compiled" if node.name in taken else "CPU"
        layers.append(LayerPrecision(node.name, node.op_type, found, where, (node.name,), multiplies))
    return layers


def _tensor_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Return each tensor's element type; the optimised file stores those of inputs and initializers only."""
    types = {item.name: item.data_type for item in graph.initializer}
    types.update({item.name: item.type.tensor_type.elem_type for item in graph.input})
    for node in graph.node:
        kind = _output_type(node, types)
        types.update(dict.fromkeys(node.output, kind))
    return types


def _output_type(node: onnx.NodeProto, types: dict[str, int]) -> int:
    if node.op_type == "Cast":
        return next(int(item.i) for item in node.attribute if item.name == "to")
    if node.op_type == "QuantizeLinear":
        return types[node.input[2]] if len(node.input) > 2 else _UINT8
    if node.op_type == "DequantizeLinear":
        return types[node.input[1]]
    if node.op_type == "MatMulIntegerToFloat":
        return types[node.input[2]]
    if node.op_type == "QGemm" and len(node.input) < _QGEMM_INPUTS:  # no scale for the result
        return types[node.input[1]]
    if node.op_type in _INDEX_OPERATORS:
        return _INT64
    return next((types[name] for name in node.input if name in types), _FLOAT)
