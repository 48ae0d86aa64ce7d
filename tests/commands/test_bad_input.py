"""Each thing that a user can get wrong: one clear line, status 2, and nothing half-written left behind."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefsa.artifacts import Manifest
from tests.commands.conftest import Run


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if "partial" in path.name or path.name.endswith(".old")]


def edit_manifest(engine: Path, **changes: object) -> None:
    """Change fields of a manifest as another build would have written them (it guards itself with a hash)."""
    manifest = Manifest.read(engine)
    for name, value in changes.items():
        assert hasattr(manifest, name)
        setattr(manifest, name, value)
    manifest.write(engine)


# Frames ---------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_image(run: Run, engine: Path, tmp_path: Path) -> None:
    text = tmp_path / "street.jpg"
    text.write_text("this is no picture")
    assert "street.jpg" in run("predict", engine, text, "-o", tmp_path / "out").error()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def half_of_a_picture(path: Path, picture: np.ndarray) -> None:
    data = bytes(cv2.imencode(path.suffix, picture)[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_half_of_a_picture(run: Run, engine: Path, tmp_path: Path, suffix: str) -> None:
    half = tmp_path / "in" / f"half{suffix}"
    half_of_a_picture(half, np.random.default_rng(0).integers(0, 255, (128, 160, 3), np.uint8))
    arguments = ("predict", engine, half, "-o", tmp_path / "out"), ("eval", engine, "--data", f"images:{half.parent}")
    for outcome in (run(*each) for each in arguments):
        assert outcome.status == 2
        assert len(outcome.err.splitlines()) == 1, f"the decoder's own words are shown: {outcome.err}"
        assert outcome.err.startswith(f"error: {half} is damaged or cut short"), outcome.err
    assert not (tmp_path / "out").exists()


def test_half_of_a_label(run: Run, engine: Path, tmp_path: Path) -> None:
    label = tmp_path / "labels" / "a.png"
    half_of_a_picture(label, np.random.default_rng(0).integers(0, 11, (128, 160), np.uint8))
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((128, 160, 3), np.uint8))
    message = run("eval", engine, "--data", f"folder:{tmp_path}").error()
    assert message.startswith(f"error: {label} is damaged or cut short")


def test_an_output_folder_that_is_a_file(run: Run, engine: Path, tmp_path: Path) -> None:
    picture, there = tmp_path / "a.png", tmp_path / "there"
    cv2.imwrite(str(picture), np.zeros((128, 160, 3), np.uint8))
    there.write_text("mine")
    message = run("predict", engine, picture, "-o", there).error()
    assert f"{there}: file exists; give another path with -o" in message
    assert there.read_text() == "mine"


def test_an_empty_source_is_not_the_current_folder(
    run: Run, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((128, 160, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert "the source is empty" in run("predict", engine, "", "-o", tmp_path / "out").error()
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_missing(run: Run, engine: Path, tmp_path: Path) -> None:
    assert "nowhere" in run("predict", engine, tmp_path / "nowhere", "-o", tmp_path / "out").error()


def test_an_empty_folder(run: Run, engine: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "empty" in run("predict", engine, empty, "-o", tmp_path / "out").error()
    assert "empty" in run("eval", engine, "--data", f"images:{empty}").error()


def test_a_video_of_zeros(run: Run, engine: Path, tmp_path: Path) -> None:
    video = tmp_path / "drive.mp4"
    video.write_bytes(bytes(4096))
    assert "drive.mp4" in run("predict", engine, video, "-o", tmp_path / "out").error()


def test_a_truncated_video_is_used_as_far_as_it_goes_with_a_note(run: Run, engine: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 128))
    for value in range(20):
        writer.write(np.random.default_rng(value).integers(0, 255, (128, 160, 3), np.uint8))
    writer.release()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    outcome = run("predict", engine, cut, "-o", tmp_path / "out", "--json")
    assert outcome.status == 0, outcome.err
    frames = outcome.json["frames"]
    assert 5 <= frames < 20
    assert f"note: {cut} is cut short or damaged: {frames} frames, {frames / 10:.2f} of its 2.00 s" in outcome.err
    assert all(line.startswith("note: ") for line in outcome.err.splitlines())
    assert not leftovers(tmp_path)


def test_labels_out_of_range(run: Run, engine: Path, tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "data/images/a.png"), np.zeros((128, 160, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "data/labels/a.png"), np.full((128, 160), 77, np.uint8))
    message = run("eval", engine, "--data", f"folder:{tmp_path / 'data'}").error()
    assert "labels/a.png holds class 77" in message


def test_one_damaged_file_of_a_folder(run: Run, engine: Path, tmp_path: Path) -> None:
    """The rest is evaluated and calibrated on, the file is named; the evaluation's status says that it is not all."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 3)):
        for index in range(count):
            for part, shape in (("images", (128, 160, 3)), ("labels", (128, 160))):
                (tmp_path / split / part).mkdir(parents=True, exist_ok=True)
                picture = rng.integers(0, 11, shape, np.uint8)
                cv2.imwrite(str(tmp_path / split / part / f"{index}.png"), picture)
    damaged = [tmp_path / split / "images" / "1.png" for split in ("train", "val")]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:200])
    outcome = run("eval", engine, "--data", f"camvid:{tmp_path}", "--json")
    assert outcome.status == 1 and outcome.json["frames"] == 2
    assert [str(damaged[1]) in line for line in outcome.json["unreadable"]] == [True]
    assert f"failed: {damaged[1]}" in outcome.err and "error" not in outcome.err
    ranges = tmp_path / "ranges.json"
    arguments = ("calibrate", engine / "model.onnx", "--data", f"camvid:{tmp_path}", "-o", ranges)
    outcome = run(*arguments)
    assert outcome.status == 0 and f"note: left out of the calibration: {damaged[0]}" in outcome.err
    assert json.loads(ranges.read_text())["data"]["frames"] == 2


@pytest.mark.parametrize("kind", ["camvid", "cityscapes", "folder"])
def test_every_split_can_be_evaluated(run: Run, engine: Path, tmp_path: Path, kind: str) -> None:
    names = {"cityscapes": ("leftImg8bit/{}/ulm/a_leftImg8bit.png", "gtFine/{}/ulm/a_gtFine_labelIds.png")}
    for split in ("train", "val", "test"):
        image, label = (
            tmp_path / name.format(split) for name in names.get(kind, ("{}/images/a.png", "{}/labels/a.png"))
        )
        for path, picture in ((image, np.zeros((128, 160, 3), np.uint8)), (label, np.full((128, 160), 7, np.uint8))):
            path.parent.mkdir(parents=True)
            cv2.imwrite(str(path), picture)
        outcome = run("eval", engine, "--data", f"{kind}:{tmp_path}", "--split", split)
        if kind == "cityscapes":
            assert "the engine knows 11 classes" in outcome.error()  # the split was found; the engine is CamVid's
        else:
            assert outcome.status == 0 and f"1 frames of {kind}:{tmp_path}, split {split}" in outcome.out
    assert "split 'holdout'" in run("eval", engine, "--data", "synthetic", "--split", "holdout").error()


def test_folders_without_splits_are_said_to_be_shared(run: Run, engine: Path, tmp_path: Path) -> None:
    for folder, picture in (("images", np.zeros((128, 160, 3), np.uint8)), ("labels", np.zeros((128, 160), np.uint8))):
        (tmp_path / "data" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / folder / "a.png"), picture)
    data = ("--data", f"folder:{tmp_path / 'data'}")
    shared = "training, calibration and evaluation take the same frames"
    assert shared in run("eval", engine, *data).err
    assert shared in run("calibrate", engine / "model.onnx", *data, "-o", tmp_path / "ranges.json").err


def test_data_of_other_classes(run: Run, engine: Path, tmp_path: Path) -> None:
    for folder, picture in (("images", np.zeros((128, 160, 3), np.uint8)), ("labels", np.zeros((128, 160), np.uint8))):
        (tmp_path / "data" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / folder / "a.png"), picture)
    names = [f"room {index}" for index in range(11)]
    (tmp_path / "data" / "classes.txt").write_text("\n".join(names))
    message = run("eval", engine, "--data", f"folder:{tmp_path / 'data'}").error()
    assert "class 0 is 'sky' to the engine and 'room 0' in folder:" in message
    (tmp_path / "data" / "classes.txt").write_text("\n".join(["room 1", *names[1:]]))
    message = run("eval", engine, "--data", f"folder:{tmp_path / 'data'}").error()
    assert "classes.txt: the class name 'room 1' is given more than once" in message


# Weights --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_model(run: Run, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(3, 3)}, path)
    message = run("export", "fsanet-edge", "--checkpoint", path, "-o", tmp_path / "m.onnx").error()
    assert message.startswith(f"error: {path} does not fit fsanet-edge: ")
    assert "1 left over (conv.weight)" in message
    assert not (tmp_path / "m.onnx").exists()


def test_a_pickle_that_would_run_code(run: Run, tmp_path: Path) -> None:
    victim = tmp_path / "victim"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return os.mkdir, (str(victim),)

    import torch

    raw, zipped = tmp_path / "raw.pth", tmp_path / "zipped.pth"
    raw.write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": Bomb()}, zipped)
    for path in (raw, zipped):
        run("export", "fsanet-edge", "--checkpoint", path, "-o", tmp_path / "m.onnx").error()
        assert not victim.exists()


def test_weights_that_a_checkpoint_does_not_hold(run: Run, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "net.pth.tar"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "model_ema": {"a": torch.zeros(1)}}, path)
    arguments = ("--checkpoint", path, "--weights-key", "ema", "-o", tmp_path / "m.onnx")
    message = run("export", "fsanet-edge", *arguments).error()
    assert "no weights under ema; --weights-key takes one of: state_dict (1 tensors), model_ema (1 tensors)" in message
    assert "--weights-key ema is for a checkpoint" in run("export", "fsanet-edge", *arguments[2:]).error()


def test_a_checkpoint_file_without_the_model_it_belongs_to(run: Run, tmp_path: Path) -> None:
    assert "--model" in run("build", tmp_path / "weights.safetensors", "-o", tmp_path / "engines").error()


# Graphs and ranges ----------------------------------------------------------------------------------------------


def test_an_onnx_file_that_is_none(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x00\x01 not a graph")
    assert "m.onnx" in run("build", path, "-o", tmp_path / "engines").error()


def test_an_onnx_file_with_an_unknown_operator(run: Run, engine: Path, tmp_path: Path) -> None:
    import onnx

    graph = onnx.load(engine / "model.onnx")
    graph.graph.node[3].op_type = "Frobnicate"
    onnx.save(graph, tmp_path / "m.onnx")
    assert "Frobnicate" in run("build", tmp_path / "m.onnx", "--precision", "fp32", "-o", tmp_path / "engines").error()
    assert not (tmp_path / "engines").exists() or not list((tmp_path / "engines").iterdir())


def test_ranges_of_another_model(run: Run, engine: Path, tmp_path: Path) -> None:
    onnx_path = tmp_path / "m.onnx"
    assert run("export", "fsanet-edge", "--num-classes", 5, "--size", "128x160", "-o", onnx_path).status == 0
    ranges = tmp_path / "ranges.json"
    assert run("calibrate", engine / "model.onnx", "--frames", 2, "-o", ranges).status == 0
    arguments = ("build", onnx_path, "--precision", "int8", "--ranges", ranges, "-o", tmp_path / "engines")
    assert "ranges" in run(*arguments).error()


def test_ranges_that_are_no_ranges(run: Run, engine: Path, tmp_path: Path) -> None:
    ranges = tmp_path / "ranges.json"
    ranges.write_text('{"format": 1}')
    arguments = ("build", engine / "model.onnx", "--precision", "int8", "--ranges", ranges, "-o", tmp_path / "engines")
    assert "ranges.json" in run(*arguments).error()


def test_a_recipe_of_another_model(run: Run, engine: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "spanet-s"\ndata = "synthetic"\n')
    message = run("calibrate", engine / "model.onnx", "--recipe", recipe, "-o", tmp_path / "r.json").error()
    assert "spanet-s" in message and "fsanet-edge" in message
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("size", ["0x480", "361x480", "360x1", "1000"])
def test_sizes_that_the_network_cannot_take(run: Run, tmp_path: Path, size: str) -> None:
    message = run("build", "fsanet-edge", "--precision", "fp32", "--size", size, "-o", tmp_path / "engines").error()
    assert size in message or size.replace("x", " x ") in message
    assert not (tmp_path / "engines").exists() or not list((tmp_path / "engines").iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("build", "fsanet-huge"), "fsanet-huge"),
        (("build", "fsanet-edge", "--precision", "int4"), "int4"),
        (("build", "fsanet-edge", "--target", "tpu"), "tpu"),
        (("build", "fsanet-edge", "--precision", "fp32", "--skip", "stem*"), "--skip"),
        (("build", "fsanet-edge", "--precision", "int8", "--data", "imagenet:x"), "imagenet"),
        (("export", "fsanet-edge", "--outputs", "boxes"), "boxes"),
        (("calibrate", "nothing.onnx"), "nothing.onnx"),
    ],
)
def test_options_that_do_not_exist(run: Run, tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    assert named in run(*arguments, "--output", tmp_path / "x").error()
    assert not leftovers(tmp_path)


# Engines --------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_engine(run: Run, tmp_path: Path) -> None:
    assert "edgefsa build" in run("bench", tmp_path).error()


def test_an_engine_with_a_changed_byte(run: Run, engine: Path) -> None:
    largest = max((p for p in engine.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    assert largest.name in run("bench", engine).error()


def test_an_engine_of_another_tool_version(run: Run, engine: Path) -> None:
    versions = json.loads((engine / "manifest.json").read_text())["versions"]
    edit_manifest(engine, versions={**versions, "edgefsa": "99.0.0"})
    message = run("bench", engine).error()
    assert "99.0.0" in message and "rebuild" in message


def test_an_engine_that_needs_another_cpu(run: Run, engine: Path) -> None:
    device = json.loads((engine / "manifest.json").read_text())["device"]
    edit_manifest(engine, device={**device, "cpu_features": [*device["cpu_features"], "quantum_dot"]})
    message = run("bench", engine).error()
    assert "quantum_dot" in message and "rebuild" in message


def test_an_engine_that_is_there_already_is_kept(run: Run, engine: Path, tmp_path: Path) -> None:
    before = (engine / "manifest.json").read_bytes()
    arguments = ("build", engine / "model.onnx", "--precision", "int8", "--target", "openvino", "--data", "synthetic")
    assert "--overwrite" in run(*arguments, "-o", tmp_path).error()
    assert (engine / "manifest.json").read_bytes() == before


# Interruptions --------------------------------------------------------------------------------------------------

FULL_DISK = """
import resource, sys
from edgefsa import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # every write past 200 kB fails, as on a full disk
sys.argv = ["edgefsa", "build", sys.argv[1], "--precision", "fp32", "--target", sys.argv[3], "-o", sys.argv[2]]
cli.main()
"""


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_a_full_disk(engine: Path, tmp_path: Path, target: str) -> None:
    output = tmp_path / "engines"
    command = [sys.executable, "-c", FULL_DISK, str(engine / "model.onnx"), str(output), target]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: "), result.stderr
    assert not output.exists() or not list(output.iterdir())


def test_a_kill_in_the_middle_of_a_build(engine: Path, tmp_path: Path) -> None:
    output = tmp_path / "engines"
    command = [sys.executable, "-m", "edgefsa.cli", "build", str(engine / "model.onnx"), "--precision", "fp32"]
    command += ["--target", "openvino", "-o", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not leftovers(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    visible = [path for path in output.iterdir() if not path.name.startswith(".")] if output.exists() else []
    assert not visible, "a killed build left something that looks like an engine"
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert not leftovers(tmp_path), "the next build did not clear what the killed one left"


def test_an_unreadable_manifest(run: Run, engine: Path) -> None:
    (engine / "manifest.json").write_text("{")
    assert "manifest.json" in run("inspect", engine).error()


def test_a_missing_file_of_an_engine(run: Run, engine: Path) -> None:
    names = json.loads((engine / "manifest.json").read_text())["files"]
    name = next(iter(names))
    path = engine / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert Path(name).name in run("bench", engine).error()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("export", "fsanet-edge", "--batch", "0"), "--batch"),
        (("build", "--option", "recurrence"), "recurrence"),
        (("build", "--option", "recurrence=many"), "many"),
        (("build", "--option", "depth=3"), "depth"),
        (("bench",), "ENGINE"),
        (("models", "--nothing"), "--nothing"),
        (("nothing",), "nothing"),
    ],
)
def test_options_and_arguments_that_cannot_be_used(run: Run, arguments: tuple[str, ...], named: str) -> None:
    assert named in run(*arguments).error()


@pytest.mark.parametrize(
    "option",
    [("--size", "8x8"), ("--num-classes", "5"), ("--batch", "4"), ("--model", "spanet-s"), ("--option", "k=4")],
)
def test_an_exported_file_takes_no_options_of_a_model(run: Run, engine: Path, tmp_path: Path, option: tuple) -> None:
    message = run("build", engine / "model.onnx", *option, "-o", tmp_path / "engines").error()
    assert "model.onnx" in message and "edgefsa export" in message
    assert not (tmp_path / "engines").exists()


def test_a_terminated_build_leaves_nothing(engine: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgefsa.cli", "build", str(engine / "model.onnx"), "--target", "openvino"]
    command += ["--data", "synthetic", "-o", str(tmp_path / "engines")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not leftovers(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.terminate()
    assert process.wait() == 143
    assert not list((tmp_path / "engines").iterdir())
