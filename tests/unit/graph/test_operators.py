"""The table of our operators against what the exporter writes, what the bodies take and what the C++ plugins read."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, numpy_helper

from edgefsa.engines.tensorrt.plugins import aot_plugins
from edgefsa.engines.tensorrt.plugins.library import PLUGINS
from edgefsa.engines.tensorrt.plugins.sources import sources_folder
from edgefsa.graph.functions import function_for
from edgefsa.graph.operators import DOMAIN, HALF_INDICES, INT8_SCALES, OPERATORS, UPSAMPLE_ARGMAX, Operator, operator

ALL = pytest.mark.parametrize("item", OPERATORS.values(), ids=OPERATORS)
ONNX_KINDS = {int: AttributeProto.INT, float: AttributeProto.FLOAT, str: AttributeProto.STRING}
TENSORRT_KINDS = {int: "kINT32", float: "kFLOAT32", str: "kCHAR"}


@pytest.fixture(scope="module")
def exported(
    edge_onnx: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[onnx.NodeProto, dict[str, list[int]]]]:
    """A node of each operator as the export writes it, with the shapes of all tensors of its graph."""
    from edgefsa.export import onnx_from_model
    from edgefsa.models import create_model

    found = {}
    spanet = tmp_path_factory.mktemp("graphs") / "spanet-edge.onnx"
    onnx_from_model(create_model("spanet-edge").eval(), spanet, size_hw=(64, 96))
    for path in (edge_onnx, spanet):
        graph = onnx.load(path).graph
        shapes = {item.name: list(item.dims) for item in graph.initializer}
        for item in [*graph.input, *graph.output, *graph.value_info]:
            shapes[item.name] = [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        found.update({node.op_type: (node, shapes) for node in graph.node if node.domain == DOMAIN})
    return found


def plugin_source(item: Operator, suffix: str) -> str:
    folder = re.sub(r"(?<!^)(?=[A-Z])", "_", item.name).lower()
    return (sources_folder() / "tensorrt" / folder / f"{folder}_plugin.{suffix}").read_text()


@ALL
def test_the_export_writes_the_inputs_and_attributes_of_the_table(item: Operator, exported) -> None:
    node, shapes = exported[item.name]
    assert {given.name: given.type for given in node.attribute} == {
        given.name: ONNX_KINDS[given.type] for given in item.attributes
    }
    sizes: dict[str, int] = {}
    assert len(node.input) == len(item.inputs)
    for tensor, given in zip(node.input, item.inputs, strict=True):
        letters = given.shape.split()
        assert len(shapes[tensor]) == len(letters), given.name
        for letter, size in zip(letters, shapes[tensor], strict=True):
            assert sizes.setdefault(letter, size) == size, f"{given.name} has another {letter} than its neighbours"
        if len(item.inputs) > 1 and given is not item.inputs[0]:
            assert tensor.rpartition(".")[2] == given.name  # the export names stored tensors after the layer's
    for attribute in node.attribute:
        sizes[attribute.name] = attribute.i
    result = [sizes[letter] for letter in item.output.shape.split()]
    assert shapes.get(node.output[0], result) == result


@ALL
def test_the_body_takes_what_the_table_says(item: Operator, exported) -> None:
    body = function_for(exported[item.name][0])
    assert (body.domain, body.name) == (DOMAIN, item.name)
    assert tuple(body.input) == item.input_names and list(body.output) == [item.output.name]
    assert tuple(body.attribute) == item.attribute_names


@ALL
def test_the_plugins_in_c_plus_plus_read_the_same(item: Operator) -> None:
    header, source = plugin_source(item, "h"), plugin_source(item, "cpp")
    assert f'kName = "{item.name}"' in header
    fields = dict(re.findall(r'fields\.announce\("(\w+)", nvinfer1::PluginFieldType::(\w+)\)', source))
    assert fields == {given.name: TENSORRT_KINDS[given.type] for given in item.attributes}
    assert ("announceScales(fields)" in source) == item.keeps_type
    assert (f'kHalfIndices = "{HALF_INDICES}"' in source) == (item is UPSAMPLE_ARGMAX)
    first = re.findall(r"constexpr std::int32_t k(\w+) = 0;", source)
    names = [name.lower() for name in first] or ["x", *re.findall(r'\{"(\w+)", &P::\1, ', source)]
    assert tuple(names) == item.input_names


def test_versions_and_scales_are_those_of_the_c_plus_plus_plugins() -> None:
    folder = sources_folder() / "tensorrt"
    creators = (folder / "registration" / "creators.cpp").read_text()
    assert set(re.findall(r"Creator<edgefsa::(\w+)Plugin>", creators)) == set(OPERATORS)
    versions = set(re.findall(r'kPluginVersion = "(\d+)"', "".join(map(Path.read_text, folder.rglob("*.h")))))
    assert versions == {item.plugin_version for item in OPERATORS.values()} == set(PLUGINS.values())
    scales = re.findall(r'k[XY]Scale = "(\w+)"', (folder / "common" / "map_plugin.cpp").read_text())
    assert tuple(scales) == INT8_SCALES


def test_kernels_inside_an_engine_take_the_inputs_of_the_table() -> None:
    files = {path.stem for path in (sources_folder() / "aot").glob("*.cu")}
    assert files == {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in aot_plugins.OPERATORS}
    made = {
        "SpectralMask": aot_plugins._spectral_mask(SimpleNamespace(), SimpleNamespace()),
        "UpsampleArgmax": aot_plugins._upsample_argmax(SimpleNamespace(), SimpleNamespace()),
    }
    assert set(made) == set(aot_plugins.OPERATORS)
    for name, (describe, implement) in made.items():
        wanted = (*OPERATORS[name].input_names, *OPERATORS[name].attribute_names)
        wanted += (HALF_INDICES,) if name == "UpsampleArgmax" else ()
        assert tuple(inspect.signature(describe).parameters) == wanted
        assert tuple(inspect.signature(implement).parameters) == (*wanted, "outputs", "tactic")


def test_docs_name_the_operators_with_their_plugins() -> None:
    page = (sources_folder().parent / "docs" / "plugins.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| yes \| (yes|no)", page, re.MULTILINE))
    assert rows == {name: "yes" if item.one_kernel else "no" for name, item in OPERATORS.items()}


def test_only_our_domain_has_our_operators() -> None:
    assert operator(DOMAIN, "SpectralMask") is OPERATORS["SpectralMask"]
    assert operator("", "SpectralMask") is None and operator(DOMAIN, "Conv") is None


def test_a_computed_input_does_not_change_the_hash(exported) -> None:
    """Those that depend on the size are left out, and all others count."""
    from edgefsa.graph.files import weights_hash

    for item in OPERATORS.values():
        node, shapes = exported[item.name]
        stored = {name: np.ones(shapes[name], np.float32) for name in node.input[1:]}

        def hash_of(changed: str = "", node: onnx.NodeProto = node, stored: dict = stored) -> str:
            tensors = [numpy_helper.from_array(array + (name == changed), name) for name, array in stored.items()]
            x = onnx.helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)
            y = onnx.helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
            return weights_hash(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y], tensors)))

        for given, name in zip(item.inputs[1:], node.input[1:], strict=True):
            assert (hash_of(name) == hash_of()) == (given.computed or given.folded), given.name


def test_the_table_needs_neither_onnx_nor_torch() -> None:
    heavy = '("onnx", "torch", "numpy")'
    code = f"import sys, edgefsa.graph.operators; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
