"""`quantize analyse`, `build --max-drop` and `build --recipe`, from the shell's side, on a network of three blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefsa.artifacts import Manifest
from edgefsa.quantize import read_recipe
from tests.commands.conftest import Run
from tests.unit.verify.sensitivity.small import NAMES, small_network, write_frames

QUICK = ("--target", "onnxruntime", "--search-frames", 6)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """The network with outliers in one block, and frames without labels."""
    from edgefsa.verify.sensitivity import bench

    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "ROUNDS", 4)
    path = tmp_path / "m.onnx"
    path.write_bytes(small_network(("a",)).SerializeToString())
    yield path, f"images:{write_frames(tmp_path / 'frames')}"


def test_a_search_is_built_recorded_and_replayed(run: Run, files: tuple[Path, str], tmp_path: Path) -> None:
    onnx, data = files
    built = run("build", onnx, "--data", data, *QUICK, "--max-drop", 10, "-o", tmp_path / "e", "--json")
    assert built.status == 0, built.err
    engine = Path(built.json["engine"])
    search = (Manifest.read(engine).quantization or {})["search"]
    assert search["in_float"] == [NAMES["a"]] and search["max_drop"] == 10
    assert re.search(r"evaluation 1 of 40: \+\d+.* with nothing in float", built.err)
    assert "blocks are judged on 6 frames of train; report accuracy on another split" in built.err
    assert f"mIoU is that against masks of the float network, since {data} has no labels" in built.err
    shown = run("inspect", engine)
    assert f"left in float: {NAMES['a']};" in shown.out and "on 6 frames of images:frames, split train" in shown.out

    recipe = tmp_path / "mine.toml"
    recipe.write_text((engine / "recipe.toml").read_text())
    assert read_recipe(recipe).skip == ("a1/Conv", "a2/Conv")
    ranges = ("--ranges", engine / "ranges.json")
    again = run("build", onnx, *QUICK[:2], "--recipe", recipe, *ranges, "--data", data, "-o", tmp_path / "r", "--json")
    assert again.status == 0, again.err
    first, second = (Manifest.read(path).quantization or {} for path in (engine, Path(again.json["engine"])))
    assert {**first, "skip": None} == {**second, "skip": None} and first["skip"] == second["skip"]

    recipe.write_text(recipe.read_text().replace('"a2/Conv"', '"a2/Conv", "b*"'))
    edited = run("build", onnx, *QUICK[:2], "--recipe", recipe, *ranges, "--data", data, "-o", tmp_path / "x", "--json")
    left = (Manifest.read(edited.json["engine"]).quantization or {})["float_nodes"]
    assert {name for name, why in left.items() if why == "skipped on request"} == {
        f"{block}/Conv" for block in ("a1", "a2", "b1", "b2")
    }


def test_what_cannot_be_searched_is_one_line(
    run: Run, files: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx, data = files
    common = ("build", onnx, "--data", data, *QUICK, "-o", tmp_path / "e")
    assert "--max-drop is for --precision int8" in run(*common, "--precision", "fp32", "--max-drop", 1).error()
    (tmp_path / "r.toml").write_text('model = "other"\ndata = "d"\n')
    replay = ("--recipe", tmp_path / "r.toml")
    assert "is a recipe for other, not small" in run(*common, *replay).error()
    assert "give one of them" in run(*common, *replay, "--max-drop", 1).error()
    monkeypatch.setattr("edgefsa.engines.cpu.onnxruntime.OnnxRuntimeTarget.unusable", lambda self: "no GPU is here")
    monkeypatch.setattr("edgefsa.engines.cpu.onnxruntime.OnnxRuntimeTarget.unbuildable", lambda self: None)
    told = run(*common, "--max-drop", 1).error()
    assert "cannot run and be measured on this machine: no GPU is here; search on a target that runs here" in told


def test_a_goal_that_is_not_reached_leaves_no_engine(run: Run, files: tuple[Path, str], tmp_path: Path) -> None:
    onnx, data = files
    failed = run("build", onnx, "--data", data, *QUICK, "-o", tmp_path / "e", "--max-drop", 1, "--budget", 1)
    assert failed.status == 2 and "after 1 evaluations INT8 still loses" in failed.err.splitlines()[-1]
    assert not list((tmp_path / "e").iterdir()), "no engine, and no part of one"


def test_the_ranking_is_printed_written_and_drawn(run: Run, files: tuple[Path, str], tmp_path: Path) -> None:
    onnx, data = files
    asked = ("quantize", "analyse", onnx, "--data", data, *QUICK, "--budget", 4, "-o", tmp_path / "s")
    found = run(*asked)
    assert found.status == 0, found.err
    rows = [line.split() for line in found.out.splitlines()]
    table = next(index for index, row in enumerate(rows) if row[:2] == ["block", "MACs"])
    assert rows[table + 2][0] == NAMES["a"], "the block with outliers comes first"
    written = json.loads((tmp_path / "s" / "ranking.json").read_text())
    assert written["blocks"][0]["lost"] > 50 and written["blocks"][1]["lost"] is None
    assert (tmp_path / "s" / "ranking.png").read_bytes().startswith(b"\x89PNG")
    again = run(*asked, "--json")
    assert {name: again.json[name] for name in written} == written, "measured once, and kept"
