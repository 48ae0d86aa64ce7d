"""`edgefsa adopt` as it is typed, and what other commands make of an adopted engine on a machine without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from edgefsa.artifacts import Manifest
from edgefsa.graph.files import read_metadata
from tests.commands.conftest import Run
from tests.unit.engines.tensorrt.test_layer_times import PROFILE
from tests.unit.engines.tensorrt.test_plan_file import HEADER, PLAN, with_header
from tests.unit.export.test_adapt import network

SIZE = ("--size", "32x48")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "other.engine"
    path.write_bytes(with_header(HEADER))
    return path


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    onnx.save(network(), tmp_path / "other.onnx")
    return tmp_path / "other.onnx"


def test_an_onnx_file_becomes_one_of_ours(run: Run, onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("sky\nroad\ncar\n")
    ours = tmp_path / "ours.onnx"
    given = ("--classes", tmp_path / "names.txt", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")
    found = run("adopt", onnx_file, *SIZE, *given, "--name", "streets", "-o", ours, "--json")
    assert found.status == 0 and found.json["onnx"] == str(ours)
    metadata = read_metadata(ours)
    assert (metadata["model"], metadata["classes"], metadata["size_hw"]) == (
        "streets",
        ["sky", "road", "car"],
        [32, 48],
    )


def test_a_plan_becomes_an_engine_that_says_what_it_is(run: Run, plan: Path, tmp_path: Path) -> None:
    assert "tensorrt 10.13.3.9, with a header of Ultralytics" in run("inspect", plan).out
    result = run("adopt", plan, "-o", tmp_path / "engines", "--json").json
    engine = Path(result["engine"])
    assert engine.name == "other-tensorrt-adopted-64x96-logits" and result["made_by"] == "tensorrt 10.13.3.9"
    assert "unknown: another tool made the engine" in run("inspect", engine).out
    (tmp_path / "times.json").write_text(json.dumps(PROFILE))
    layers = run("inspect", engine, "--profile", tmp_path / "times.json", "--json").json["layers"]
    assert [(layer["name"], layer["share"]) for layer in layers] == [
        ("conv2 + relu2", pytest.approx(0.75)),
        ("conv1", pytest.approx(0.25)),
    ]
    assert "exists already" in run("adopt", plan, "-o", tmp_path / "engines").error()
    for command in (("predict", engine, "synthetic:1"), ("eval", engine), ("bench", engine)):
        assert "cannot run on this machine" in run(*command).error()
    assert "has no ONNX file to compare with; adopt its plan with --onnx FILE" in run("parity", engine).error()
    assert "was adopted, and a bundle holds" in run("bundle", engine).error()


def test_a_plan_with_its_onnx_file_has_golden_outputs_for_the_gpu(run: Run, onnx_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bare.plan").write_bytes(PLAN)
    given = ("--num-classes", 3, "--onnx", onnx_file, "-o", tmp_path / "engines", "--json")
    engine = Path(run("adopt", tmp_path / "bare.plan", *SIZE, *given).json["engine"])
    manifest = Manifest.read(engine)
    assert manifest.golden["file"] in manifest.files and manifest.proof["numbers"]["converted_to_engine"] is None
    assert read_metadata(engine / "model.onnx")["outputs"] == "logits"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mean", "0.5,0.5"], "--mean 0.5,0.5 is not three numbers with commas"),
        (["--std", "a,b,c"], "--std a,b,c is not three numbers"),
        (["--layout", "chw"], "input layout 'chw' is unknown; use one of nchw, nhwc"),
        (["--dtype", "uint8", "--mean", "0.5"], "a uint8 input takes pixels as they are"),
        (["--outputs", "boxes"], "--outputs boxes is unknown; use masks or logits"),
        (["--fit", "squeeze"], "fit 'squeeze' is unknown"),
        (["--data", "synthetic"], "is what a plan and its ONNX file are compared on; give that with --onnx"),
        (["--layer-info", "none.json"], "cannot read none.json: no such file or directory"),
        (["--classes", "none.txt"], "none.txt cannot be read as text"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, plan: Path, tmp_path: Path, arguments: list[str], words: str) -> None:
    assert words in run("adopt", plan, "-o", tmp_path / "engines", *arguments).error()
    assert not (tmp_path / "engines").exists()


def test_an_engine_that_is_a_file_is_to_be_adopted(run: Run, plan: Path, onnx_file: Path) -> None:
    assert "make one of it with `edgefsa adopt`" in run("bench", plan).error()
    assert (
        "--onnx a.onnx is for plans" in run("adopt", onnx_file, *SIZE, "--num-classes", 3, "--onnx", "a.onnx").error()
    )


@pytest.mark.parametrize("text", ["other=times.json", "=times.json"])
def test_a_profile_of_no_engine(run: Run, plan: Path, tmp_path: Path, text: str) -> None:
    engine = run("adopt", plan, "-o", tmp_path / "engines", "--json").json["engine"]
    words = f"--profile {text} names no engine, or one twice; write ENGINE=FILE, once for each of {Path(engine).name}"
    assert words in run("inspect", engine, "--profile", text).error()
