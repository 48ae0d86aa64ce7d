"""The benchmark beside other tools: what it counts, and the whole of it where NNCF is installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgefsa.engines.session import LayerPrecision
from edgefsa.errors import InputError

pytest.importorskip("openvino", reason="the program measures OpenVINO engines: pip install 'edgefsa[cpu]'")

GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[1,4,8,6] x) => (float[1,6,8,3] y) {
    plain = Conv <pads = [1, 1, 1, 1]> (x, plain_w, plain_b)
    grouped = Conv <group = 2> (plain, grouped_w)
    y = MatMul (grouped, product_w)
}"""
SHAPES = {"plain_w": (4, 4, 3, 3), "plain_b": (4,), "grouped_w": (6, 2, 1, 1), "product_w": (6, 3)}
MACS = {"plain": 8 * 6 * 4 * 4 * 9, "grouped": 8 * 6 * 6 * 2, "y": 6 * 8 * 3 * 6}


def test_multiply_adds_are_counted_by_node_and_shared_by_layer(program) -> None:
    peers = program("peers")
    model = onnx.parser.parse_model(GRAPH)
    for node in model.graph.node:
        node.name = node.output[0]
    for name, shape in SHAPES.items():
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    assert peers.macs_by_node(model) == MACS
    layers = [
        LayerPrecision("conv", "Convolution", "int8", "brgconv_i8", ("plain",)),
        LayerPrecision("grouped", "Convolution", "f32", "brgconv_f32", ("grouped",)),
        LayerPrecision("y", "Reorder", "int8", "reorder_i8", ("y",)),
    ]
    assert peers.int8_share(MACS, layers) == pytest.approx(MACS["plain"] / sum(MACS.values()))


def test_without_nncf_one_line_says_what_to_install(program, monkeypatch, small_camvid) -> None:
    peers = program("peers")
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"NNCF is not installed; pip install 'edgefsa\[peers\]'"):
        peers.main(["spanet-edge", "--data", small_camvid])


def test_all_tools_are_measured_on_one_network(program, few_frames, small_camvid, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("nncf", reason="needs the extra: pip install 'edgefsa[peers]'")
    peers = program("peers")
    monkeypatch.setattr(peers, "calibrate_onnx", program("_common").calibrate_onnx)
    peers.main(["spanet-edge", "--data", small_camvid, "--rounds", "2", "--results", str(tmp_path)])
    record = json.loads((tmp_path / "peers-cpu.json").read_text())
    assert [(row["target"], row["tool"]) for row in record["rows"]] == [
        *(("openvino", "edgefsa"), ("openvino", "NNCF")),
        *(("onnxruntime", "edgefsa"), ("onnxruntime", "quantize_static")),
    ]
    for row in record["rows"]:
        assert 0.5 < row["int8_macs_share"] < 1 and row["median_ms"] > 0 and 0 < row["miou"] < 1
    assert record["command"] == "python benchmarks/peers.py --data camvid:DIR"


def test_the_table_sets_each_tool_beside_ours(program) -> None:
    row = {"model": "a", "target": "openvino", "tool": "NNCF", "median_ms": 2.5, "share_of_ours": 1.25}
    rows = [{**row, "miou": 0.7, "int8_macs_share": 0.912}, {**row, "model": "b", "miou": None, "int8_macs_share": 1}]
    assert program("peers").cells(rows) == [
        ["a", "openvino", "NNCF", "2.50", "1.25", "70.00", "91.2"],
        ["b", "openvino", "NNCF", "2.50", "1.25", "-", "100.0"],
    ]
