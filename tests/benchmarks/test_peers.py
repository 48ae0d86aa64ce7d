"""The benchmark beside other tools: its table, and the whole of it where NNCF is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefsa.errors import InputError

pytest.importorskip("openvino", reason="the program measures OpenVINO engines: pip install 'edgefsa[cpu]'")


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
