from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from edgefsa.errors import GraphError
from edgefsa.graph.files import inline_functions, load_graph, read_metadata, write_metadata
from edgefsa.media.fit import DEFAULT_FIT, fit_of


def write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path) -> str:
    with pytest.raises(GraphError) as caught:
        load_graph(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_onnx(edge_onnx: Path, tmp_path: Path):
    assert "no such file" in refused(tmp_path / "none.onnx")
    path = tmp_path / "bad.onnx"
    data = edge_onnx.read_bytes()
    for content in (
        b"",
        b"not an onnx file at all",
        b"\x89PNG\r\n\x1a\n" + bytes(64),
        data[: len(data) // 2],
        data[:-9],
    ):
        path.write_bytes(content)
        refused(path)


def test_an_unknown_operator_is_named(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Swishy"
    message = refused(write(model, tmp_path / "m.onnx"))
    assert "ai.onnx::Swishy" in message and relu.name in message
    relu.op_type, relu.domain = "Relu", "com.vendor"
    assert "com.vendor::Relu" in refused(write(model, tmp_path / "m.onnx"))


def test_a_frequency_operator_without_its_body_is_unknown(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    del model.functions[:]
    assert "edgefsa::TruncatedDctAttention" in refused(write(model, tmp_path / "m.onnx"))


def test_an_unknown_operator_inside_a_function_is_found(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    model.functions[0].node[3].op_type = "Mystery"
    assert "Mystery" in refused(write(model, tmp_path / "m.onnx"))


def test_a_foreign_file_is_told_what_it_lacks(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    write_metadata(model, {"model": "fsanet-edge"})
    assert "metadata without options" in refused(write(model, tmp_path / "m.onnx"))
    del model.metadata_props[:]
    message = refused(write(model, tmp_path / "m.onnx"))
    assert "was not exported by edgefsa" in message and "palette" in message and "edgefsa export" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("model", value) for value in ("../../x", "", ".hidden", "a/b", "a\\b", "a\nb", 5, None)),
        *(("size_hw", value) for value in ([64], [64, 0], [64, 96.0], [True, 96], "ab", {"a": 1})),
        *(("batch", value) for value in (0, -1, 1.0, "1", True)),
        *(("outputs", value) for value in ("mask", None, ["masks"])),
        *(("num_classes", value) for value in (0, 256, "11")),
        *(("classes", value) for value in (["road"], "elevenchars", [1] * 11)),
        *(("palette", value) for value in ([[0, 0, 0]], [[0, 0, 256]] * 11, [[0, 0]] * 11, None)),
        *(("weights", value) for value in ("trained", {}, {"kind": 1})),
        *(("options", value) for value in ([], None, "k=8")),
        *(("ignore_index", value) for value in ("11", None)),
        *(("fit", value) for value in ("pad", None, ["crop"])),
        ("family", 3),
        ("tool_version", None),
    ],
)
def test_metadata_that_cannot_be_believed_are_refused_by_field(
    edge_onnx: Path, tmp_path: Path, field: str, value: object
):
    model = load_graph(edge_onnx)
    write_metadata(model, {**read_metadata(model), field: value})
    message = refused(write(model, tmp_path / "m.onnx"))
    assert "m.onnx has metadata with" in message and field in message


def test_a_file_of_a_version_without_fits_is_taken_as_it_was_made(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    metadata = read_metadata(model)
    assert fit_of(metadata) == DEFAULT_FIT
    write_metadata(model, {name: value for name, value in metadata.items() if name != "fit"})
    assert fit_of(read_metadata(write(model, tmp_path / "m.onnx"))) == "stretch"


@pytest.mark.parametrize("text", ["[]", "5", "null", "{", '"model"'])
def test_metadata_that_are_no_object(edge_onnx: Path, tmp_path: Path, text: str):
    model = load_graph(edge_onnx)
    model.metadata_props[0].value = text
    assert "metadata that is no" in refused(write(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"size_hw": [64, 64]}, "input frames uint8 [1, 64, 96, 3], its metadata say frames uint8 [1, 64, 64, 3]"),
        ({"batch": 2}, "input frames uint8 [1, 64, 96, 3]"),
        ({"outputs": "logits"}, "output masks uint8 [1, 64, 96], its metadata say logits float [1, 11]"),
    ],
)
def test_metadata_are_held_against_the_graph(edge_onnx: Path, tmp_path: Path, changes: dict, word: str):
    model = load_graph(edge_onnx)
    write_metadata(model, {**read_metadata(model), **changes})
    assert word in refused(write(model, tmp_path / "m.onnx"))


def test_an_invalid_graph_is_refused(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    model.graph.node[10].input[0] = "nowhere"
    assert "not a valid ONNX graph" in refused(write(model, tmp_path / "m.onnx"))


def test_metadata_is_replaced_and_other_keys_are_kept(edge_onnx: Path):
    model = load_graph(edge_onnx)
    model.metadata_props.add(key="other", value="kept")
    changed = {**read_metadata(model), "batch": 7}
    write_metadata(model, changed)
    assert read_metadata(model) == changed
    assert sorted(item.key for item in model.metadata_props) == ["edgefsa", "other"]


def test_inlining_keeps_names_and_the_original(edge_onnx: Path):
    model = load_graph(edge_onnx)
    before = model.SerializeToString(deterministic=True)
    inlined = inline_functions(model)
    kept = {node.name for node in model.graph.node if not node.domain}
    assert kept <= {node.name for node in inlined.graph.node}
    assert model.SerializeToString(deterministic=True) == before
    assert read_metadata(inlined) == read_metadata(model)


def test_subgraphs_are_searched_too(edge_onnx: Path, tmp_path: Path):
    model = load_graph(edge_onnx)
    body = helper.make_graph([helper.make_node("Odd", [], ["o"])], "b", [], [helper.make_empty_tensor_value_info("o")])
    model.graph.node.append(helper.make_node("If", ["c"], ["r"], then_branch=body, else_branch=body))
    assert "Odd" in refused(write(model, tmp_path / "m.onnx"))


def test_reading_graphs_needs_no_torch():
    code = "import sys, edgefsa.graph.files, edgefsa.graph.editing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
