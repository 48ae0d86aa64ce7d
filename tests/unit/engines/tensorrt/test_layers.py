"""Reading an inspector's report. The rows have the fields and spellings of reports that TensorRT 8.6 to 10.x wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgefsa.engines.precision import layer_counts, prove_precision
from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.tensorrt.layers import layers_from_inspector
from edgefsa.errors import PrecisionError

INT8_MAP = "Thirty-two wide channel vectorized row major Int8 format"
HALF_MAP = "Channel major FP16 format where channel % 8 == 0"
FLOAT_MAP = "Row major linear FP32"


def row(name: str, kind: str, inputs: list[str], outputs: list[str], **fields: Any) -> dict[str, Any]:
    def tensors(side: str, types: list[str]) -> list[dict[str, Any]]:
        return [
            {"Name": f"{side}{index}", "Location": "Device", "Dimensions": [1, 8, 6, 4], "Format/Datatype": text}
            for index, text in enumerate(types)
        ]

    return {"Name": name, "LayerType": kind, "Inputs": tensors("i", inputs), "Outputs": tensors("o", outputs), **fields}


def conv(name: str, weights: str, inputs: list[str], metadata: str | None = None, **fields: Any) -> dict[str, Any]:
    metadata = f"[ONNX Layer: {name}]" if metadata is None else metadata
    facts = {"ParameterType": "Convolution", "Weights": {"Type": weights, "Count": 9408}, "Metadata": metadata}
    return row(name, "CaskConvolution", inputs, [HALF_MAP], **{**facts, **fields})


def read(*rows: dict[str, Any]) -> list[LayerPrecision]:
    return layers_from_inspector(json.dumps({"Layers": rows, "Bindings": ["frames", "masks"]}))


@pytest.mark.parametrize(
    ("weights", "inputs", "precision"),
    [
        ("Int8", [INT8_MAP], "int8"),
        ("Int8", [INT8_MAP, FLOAT_MAP], "int8"),  # the second is the skip connection
        ("Half", [HALF_MAP], "f16"),
        ("FP16", [HALF_MAP], "f16"),
        ("Float", [FLOAT_MAP], "f32"),
        ("Float", [INT8_MAP], "f32"),  # integers that are made float again before the product
        ("BFloat16", ["Channel major BFloat16 format where channel % 8 == 0"], "bf16"),
        ("UInt8", [INT8_MAP], "unknown"),
    ],
)
def test_a_convolution_runs_in_its_weights_type(weights: str, inputs: list[str], precision: str) -> None:
    (layer,) = read(conv("conv1", weights, inputs))
    assert (layer.kind, layer.precision, layer.nodes) == ("convolution", precision, ("conv1",))


def test_a_convolution_with_a_pooling_fused_to_it() -> None:
    fields = {"ParameterType": "ConvActPool", "ConvWeights": {"Type": "Int8", "Count": 9408}}
    metadata = "[ONNX Layer: conv1]\x1e[ONNX Layer: pool1]"
    (layer,) = read(row("a + b", "ConvActPool", [INT8_MAP], [INT8_MAP], Metadata=metadata, **fields))
    assert (layer.precision, layer.nodes) == ("int8", ("conv1", "pool1")) and layer_counts([layer]) == {"int8": 1}


@pytest.mark.parametrize("separator", ["\x1e", "\x1f", "+", ""])
def test_fused_nodes_are_all_named(separator: str) -> None:
    metadata = separator.join(
        ["[ONNX Layer: s1.conv | block (Block)]", "[ONNX Layer: s1.add]", "[ONNX Layer: s1.relu]"]
    )
    (layer,) = read(conv("fused", "Half", [HALF_MAP], metadata))
    assert layer.nodes == ("s1.conv", "s1.add", "s1.relu")


def test_without_metadata_a_fused_layers_name_tells_its_nodes() -> None:
    (layer,) = read(conv("w + QuantizeLinear_7 + conv1 + relu1", "Int8", [INT8_MAP], metadata=""))
    assert layer.nodes == ("w", "QuantizeLinear_7", "conv1", "relu1")


@pytest.mark.parametrize(
    ("tactic", "inputs", "precision"),
    [
        ("sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x64x64", ["Int8"], "int8"),
        ("sm80_xmma_gemm_i8f16_i8i32_f32_tn_n_tilesize64x64x64", ["Int8", "Half"], "int8"),
        ("sm86_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize64x64", ["Half"], "f16"),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize32x32x64", ["Float", "Float"], "f32"),
        ("ampere_h16816gemm_256x128_ldg8_nn_v1", ["Half", "Float"], "f16"),
        ("__myl_gemm_0x1234", ["Half", "Half"], "f16"),
        ("__myl_gemm_0x1234", ["Half", "Float"], "unknown"),
        ("__myl_gemm_0x1234", ["N/A due to dynamic shapes"], "unknown"),
    ],
)
def test_a_product_of_the_graph_compiler(tactic: str, inputs: list[str], precision: str) -> None:
    made = row("__myln_k_arg__bb1_4", "gemm", inputs, ["Half"], TacticName=tactic, Metadata="[ONNX Layer: attend]\x1f")
    (layer,) = read(made)
    assert (layer.precision, layer.nodes) == (precision, ("attend",))
    assert layer_counts([layer]) == {precision: 1}


INT8_GEMM = "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize32x64x64_stage6_warpsize2x2x1_tensor16x8x32"


@pytest.mark.parametrize(
    ("kind", "tactic", "inputs", "precision"),
    [
        ("fusion", f"{INT8_GEMM}_by_fusion_tactic", ["Int8", "Int8"], "int8"),  # a linear with what is around it
        ("gemm", INT8_GEMM, ["Int8"], "int8"),
        ("CaskGemmMatrixMultiply", INT8_GEMM, [INT8_MAP, INT8_MAP], "int8"),
        ("CaskGemmMatrixMultiply", "ampere_h16816gemm_256x128_ldg8_nn_v1", [HALF_MAP, HALF_MAP], "f16"),
        ("MatrixMultiply", "sm90_mma", [HALF_MAP, HALF_MAP], "f16"),
        ("fusion", "sm80_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize32x32x64", ["Int8", "Half"], "f16"),  # weights alone
    ],
)
def test_a_linear(kind: str, tactic: str, inputs: list[str], precision: str) -> None:
    """Products that share their input are one layer, as query, key and value of an attention."""
    metadata = "[ONNX Layer: query/MatMul][ONNX Layer: query/Add][ONNX Layer: key/MatMul]"
    (layer,) = read(row("__myl_FcMulAdd_myl0_25", kind, inputs, ["Half"], TacticName=tactic, Metadata=metadata))
    assert (layer.precision, layer.nodes) == (precision, ("query/MatMul", "query/Add", "key/MatMul"))
    assert layer_counts([layer]) == {precision: 1}


def test_the_scalars_of_a_product_are_no_factors() -> None:
    made = row("g", "gemm", ["Half", "Half", "Float"], ["Half"], Metadata="[ONNX Layer: attend]")
    made["Inputs"][0], made["Inputs"][2] = {**made["Inputs"][2], "Dimensions": [1]}, made["Inputs"][0]
    assert read(made)[0].precision == "f16"


def test_a_type_may_have_a_field_of_its_own() -> None:
    made = row("g", "gemm", ["Half"], ["Half"], Metadata="[ONNX Layer: attend]")
    made["Inputs"] = [{"Name": "x", "Dimensions": [4, 4], "Format": "Row major linear", "Datatype": "BFloat16"}]
    assert read(made)[0].precision == "bf16"


def test_a_part_of_the_graph_in_one_layer_proves_nothing() -> None:
    made = row("{ForeignNode[a...b]}", "Myelin", ["Int8"], ["Int8"], Metadata="[ONNX Layer: a][ONNX Layer: b]")
    layers = read({**made, "TacticName": "conv"})
    assert layers[0].precision == "unknown"
    with pytest.raises(PrecisionError, match=r"a \(unknown\)"):
        prove_precision("int8", ["a"], layers, "the inspector", "engine")


def test_layers_around_a_product_do_not_speak_for_it() -> None:
    """Copies, roundings and poolings name nodes too; of two products the one in the wider type counts."""
    around = [
        row("Reformatting CopyNode for Input Tensor 0 to conv1", "Reformat", [FLOAT_MAP], [INT8_MAP], Metadata=""),
        row("q", "kgen", ["Int8"], ["Int8"], TacticName="__myl_MulRoundConvert", Metadata="[ONNX Layer: conv1]"),
        row("p", "CaskPooling", ["Int8"], ["Int8"], TacticName="sm50_xmma_pooling_i8", Metadata="[ONNX Layer: conv1]"),
    ]
    layers = read(*around, conv("conv1", "Float", [FLOAT_MAP]), conv("half", "Int8", [INT8_MAP], "[ONNX Layer: conv1]"))
    assert [layer.precision for layer in layers if "conv1" in layer.nodes] == ["f32"]
    with pytest.raises(PrecisionError, match=r"conv1 \(f32\)"):
        prove_precision("int8", ["conv1"], layers, "the inspector", "engine")
    with pytest.raises(PrecisionError, match=r"conv1 \(not found\)"):
        prove_precision("int8", ["conv1"], read(*around), "the inspector", "engine")


@pytest.mark.parametrize(("kind", "fields"), [("PluginV3", {}), ("PluginV2", {}), ("Custom", {"PluginType": "S"})])
def test_a_plugin_layer(kind: str, fields: dict[str, str]) -> None:
    (layer,) = read(row("stage1.mask", kind, [HALF_MAP], [HALF_MAP], Metadata="[ONNX Layer: stage1.mask]", **fields))
    assert (layer.kind, layer.precision, layer.nodes[0]) == ("plugin", "f16", "stage1.mask")
    assert layer_counts([layer]) == {}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "not the JSON"),
        ("[]", "not the JSON"),
        ("{}", "not the JSON"),
        ('{"Layers": []}', "without detailed profiling"),
        ('{"Layers": ["conv1", "conv2"]}', "without detailed profiling"),
        (json.dumps({"Layers": [row("x", "kgen", ["Half"], ["Half"])]}), "names no ONNX nodes"),
    ],
)
def test_an_answer_that_lacks_what_is_needed(answer: str, told: str) -> None:
    with pytest.raises(PrecisionError, match=told) as caught:
        layers_from_inspector(answer)
    assert "\n" not in str(caught.value)
