"""What the layers of a TensorRT engine run in, by its own inspector's JSON.

The fields were read from reports of TensorRT 8.6 to 10.x: "Layers" with "Name", "LayerType", "ParameterType", "Inputs"
and "Outputs" ("Format/Datatype"), "Weights" or "ConvWeights" ("Type"), "TacticName" and "Metadata". Types are written
in two ways: "Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP32", or "Int8", "Half",
"Float" where TensorRT's graph compiler made the kernel.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from edgefsa.engines.precision import UNKNOWN
from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.tensorrt.builder import onnx_nodes
from edgefsa.errors import PrecisionError

PLUGIN_KIND = "plugin"
# In this order, as "BFloat16" has "Float" in it; "UInt8" is not "Int8", nor "Int32" one of these.
_TYPES = (
    (re.compile(r"\b(bfloat16|bf16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\b(half|fp16)\b", re.IGNORECASE), "f16"),
    (re.compile(r"\b(float|fp32)\b", re.IGNORECASE), "f32"),
    (re.compile(r"\b(fp8|fp8e4m3)\b", re.IGNORECASE), "f8"),
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
)
# How kernels of NVIDIA's libraries name what they multiply: "i8i8_i8i32_f32", "f32f32_tf32f32", "ampere_h16816gemm".
_COMPUTES = (
    (re.compile(r"_i8i32_|imma|_i\d+gemm"), "int8"),
    (re.compile(r"_f16f16_|hmma|_h\d+gemm"), "f16"),
    (re.compile(r"_bf16bf16_"), "bf16"),
    (re.compile(r"_f32f32_"), "f32"),
)
_MULTIPLYING_KINDS = frozenset(
    ("convolution", "deconvolution", "matmul", "gemm", "fullyconnected", "matrix_multiply", "matrixmultiply")
    + ("convactpool",)
)
_MULTIPLIES = re.compile(r"gemm|conv(?!ert)|fprop|dgrad|matmul|_mha|_fc", re.IGNORECASE)
_POOLS = re.compile(r"pooling", re.IGNORECASE)
_WIDEST_FIRST = (UNKNOWN, "f32", "bf16", "f16", "f8", "int8")


def layers_from_inspector(text: str) -> list[LayerPrecision]:
    """Read the answer of `EngineInspector.get_engine_information` in JSON.

    A multiplying layer's precision is its weights' type; where the answer has no weights, what its kernel's name says;
    else the one type of its two factors, and "unknown" where these differ or are missing. An ONNX node that several
    layers name is given to the one that multiplies, of several such to the one in the widest type. Raises
    PrecisionError where the answer has another form, lacks the layers' types, or names no ONNX nodes.
    """
    try:
        rows = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        raise _lacking("is not the JSON that TensorRT documents") from None
    if not rows or not all(isinstance(row, dict) and {"Name", "LayerType"} <= set(row) for row in rows):
        raise _lacking("lists names and no types: the engine was built without detailed profiling")
    layers = [layer_of(row) for row in rows]
    if not any(layer.nodes for layer in layers):
        raise _lacking("names no ONNX nodes")
    return _each_node_once(layers)


def _lacking(what: str) -> PrecisionError:
    return PrecisionError(
        f"the precision cannot be proved: the answer of TensorRT's engine inspector {what}; build with another "
        "version of TensorRT or for another target, and report this version"
    )


def layer_of(row: dict[str, Any]) -> LayerPrecision:
    """Return what one row of "Layers" runs in."""
    kind = str(row.get("ParameterType") or row["LayerType"]).lower()
    tactic, nodes = str(row.get("TacticName", "")), onnx_nodes(str(row.get("Metadata", "")))
    multiplies = False
    if row["LayerType"].lower().startswith(PLUGIN_KIND) or "PluginType" in row:
        kind, precision = PLUGIN_KIND, _type_of(_tensors(row, "Inputs")[:1])
        nodes = [*nodes, row["Name"]]
    elif kind in _MULTIPLYING_KINDS or _weights(row) or (_MULTIPLIES.search(f"{kind} {tactic}") and not _is_pool(row)):
        kind, precision = kind if kind in _MULTIPLYING_KINDS else "matmul", _factor_type(row)
        nodes, multiplies = nodes or str(row["Name"]).split(" + "), True
    else:
        precision = _type_of(_tensors(row, "Outputs")[:1])
    return LayerPrecision(
        row["Name"], kind, precision, f"{row['LayerType']} {tactic}".strip(), tuple(nodes), multiplies
    )


def _is_pool(row: dict[str, Any]) -> bool:
    return bool(_POOLS.search(f"{row['LayerType']} {row.get('ParameterType', '')} {row.get('TacticName', '')}"))


def _weights(row: dict[str, Any]) -> str:
    """Return the type of a layer's weights as it is written, or ""."""
    for field in ("Weights", "ConvWeights"):
        value = row.get(field)
        if isinstance(value, dict) and value.get("Count", 1):
            return str(value.get("Type", ""))
    return ""


def _factor_type(row: dict[str, Any]) -> str:
    if _weights(row):
        return _type_of([_weights(row)])
    if row["LayerType"].lower() == "myelin":  # a whole part of the graph, of which only the ends are listed
        return UNKNOWN
    tactic = str(row.get("TacticName", ""))
    named = next((word for pattern, word in _COMPUTES if pattern.search(tactic)), None)
    return named or _type_of(_tensors(row, "Inputs")[:2])


def _tensors(row: dict[str, Any], side: str) -> list[str]:
    """List how the types of a layer's tensors are written; scalars (alpha and beta of a product) are left out."""
    tensors = row.get(side) or []
    factors = [item for item in tensors if item.get("Dimensions", [0]) not in ([], [1])]
    return [str(item.get("Format/Datatype", item.get("Datatype", ""))) for item in factors]


def _type_of(texts: list[str]) -> str:
    words = {next((word for pattern, word in _TYPES if pattern.search(text)), UNKNOWN) for text in texts}
    return words.pop() if len(words) == 1 else UNKNOWN


def _each_node_once(layers: list[LayerPrecision]) -> list[LayerPrecision]:
    def rank(layer: LayerPrecision) -> tuple[int, int]:
        heavy = layer.multiplies or layer.kind == PLUGIN_KIND
        return (0 if heavy else 1, _WIDEST_FIRST.index(layer.precision))

    owner: dict[str, int] = {}
    for index in sorted(range(len(layers)), key=lambda index: rank(layers[index])):
        for node in layers[index].nodes:
            owner.setdefault(node, index)
    return [
        replace(layer, nodes=tuple(node for node in layer.nodes if owner[node] == index))
        for index, layer in enumerate(layers)
    ]
