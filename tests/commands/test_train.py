"""`edgefsa train` on files: own classes travel from a folder to the exported model; resume; mistakes in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgefsa.artifacts import sha256_of_file
from tests.commands.conftest import Run

CLASSES = ("background", "stripe", "disc")
QUICK = ("--size", "48x64", "--batch", 2, "--workers", 0, "--device", "cpu")


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder of a user's own: grey frames with a red stripe and a blue disc, three classes in classes.txt."""
    rng = np.random.default_rng(0)
    root = tmp_path / "shapes"
    for split, count in (("train", 4), ("val", 2)):
        for part in ("images", "labels"):
            (root / split / part).mkdir(parents=True)
        for index in range(count):
            label = np.zeros((64, 80), np.uint8)
            cv2.line(label, (int(rng.integers(80)), 0), (int(rng.integers(80)), 63), 1, 9)
            cv2.circle(label, (int(rng.integers(15, 65)), int(rng.integers(15, 49))), 12, 2, -1)
            colours = np.array([(120, 120, 120), (40, 40, 220), (220, 60, 40)], np.uint8)
            cv2.imwrite(str(root / split / "images" / f"{index}.png"), colours[label])
            cv2.imwrite(str(root / split / "labels" / f"{index}.png"), label)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root


def test_own_classes_travel_from_a_folder_to_the_exported_model(run: Run, shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("train", "fsanet-edge", "--data", f"folder:{shapes}", "-o", out, "--epochs", 2, *QUICK)
    done = run(*arguments, "--json")
    assert done.status == 0, done.err
    assert "training fsanet-edge in" in done.err and "epoch 2/2: loss" in done.err
    result = done.json
    assert (result["epochs"], result["steps"]) == (2, 4)
    assert set(result["accuracy"]["folder"]["per_class_iou"]) == set(CLASSES)
    assert {path.name for path in out.iterdir()} == {
        *("weights.safetensors", "weights.json", "checkpoint.pt", "log.csv", "curve.png")
    }
    assert cv2.imread(result["curve"]) is not None
    assert len(Path(result["log"]).read_text().splitlines()) == 3

    record = json.loads(Path(result["record"]).read_text())
    assert record["sha256"] == sha256_of_file(result["weights"])
    assert record["classes"] == list(CLASSES) and record["options"]["num_classes"] == 3
    assert record["accuracy"] == result["accuracy"]
    assert [(item["data"], item["split"], item["frames"]) for item in record["data"]] == [
        ("folder:shapes", "train", 4),
        ("folder:shapes", "val", 2),
    ]
    assert str(tmp_path) not in json.dumps(record), "the record travels, and must not tell where files lay"

    exported = run(
        "export", "fsanet-edge", "--checkpoint", result["weights"], "-o", tmp_path / "m.onnx", "--size", "64x80"
    )
    assert exported.status == 0, exported.err
    stored = {item.key: item.value for item in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(stored["edgefsa"])["classes"] == list(CLASSES)

    again = run(*arguments).error()
    assert "holds checkpoint.pt of an earlier run; go on with it by --resume" in again
    changed = run(*arguments, "--resume", "--lr", "0.01").error()
    assert "learning rate was 0.0015, now 0.01" in changed
    text = run(*arguments, "--resume").out
    assert all(name in text for name in (*CLASSES, "IoU % on folder", "weights.safetensors"))


def test_the_weights_name_their_model(run: Run, shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'edgefsa[build]'")
    arguments = ("train", "fsanet-edge", "--data", f"folder:{shapes}", "-o", tmp_path / "run", "--epochs", 1, *QUICK)
    weights = run(*arguments, "--option", "k=4", "--json").json["weights"]
    built = run(
        *("build", weights, "--precision", "fp32", "--target", "onnxruntime", "--size", "64x80"),
        *("-o", tmp_path / "engines", "--json"),
    )
    assert built.status == 0, built.err
    manifest = json.loads((Path(built.json["engine"]) / "manifest.json").read_text())["model"]
    assert (manifest["model"], manifest["classes"]) == ("fsanet-edge", list(CLASSES))
    assert manifest["options"]["k"] == 4


def test_a_killed_run_goes_on_to_the_same_log_and_weights(shapes: Path, tmp_path: Path) -> None:
    def command(name: str, *more: str) -> list[str]:
        fixed = ["--data", f"folder:{shapes}", "--epochs", "4", "--size", "48x64", "--batch", "2", "--workers", "1"]
        return [
            *(sys.executable, "-m", "edgefsa.cli", "train", "fsanet-edge", *fixed),
            *("--device", "cpu", "-o", str(tmp_path / name), *more),
        ]

    subprocess.run(command("whole"), check=True, capture_output=True)
    child = subprocess.Popen(command("broken"), stderr=subprocess.DEVNULL, start_new_session=True)
    while not (tmp_path / "broken" / "checkpoint.pt").exists():
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    subprocess.run(command("broken", "--resume"), check=True, capture_output=True)
    for name in ("log.csv", "weights.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--data", "folder:{there}", "--optimizer", "lion"),
            "the optimizer 'lion' is unknown; choose one of adamw, sgd",
        ),
        (("--data", "folder:{there}", "--size", "50x64"), "fsanet-edge cannot take 50x64; give a height and a width"),
        (("--data", "folder:{there}", "--size", "wide"), "--size wide is not HEIGHTxWIDTH"),
        (("--data", "folder:{there}", "--scale", "2"), "--scale 2 is not LOW,HIGH"),
        (("--data", "folder:{there}", "--jitter", "wild"), "--jitter wild is unknown; choose normal or strong"),
        (("--data", "folder:{there}/gone"), "gone is not a folder that exists"),
        (("--data", "images:{there}"), "has no label; training and evaluation need labelled data"),
        (("--data", "folder:{there}", "--share", "0"), "shares of the data sets are positive numbers"),
        (("--data", "folder:{there}", "--data", "synthetic"), "have different classes"),
        (("--data", "folder:{there}", "--batch", "0"), "Invalid value for '--batch'"),
        (("--data", "folder:{there}", "--init", "{there}/none.safetensors"), "none.safetensors: no such file"),
        (("--data", "folder:{there}", "--init", "{there}/classes.txt"), "classes.txt cannot be read as weights"),
        (("--data", "folder:{there}", "--option", "num_classes=7"), "num_classes=7 does not fit the data"),
        ((), "Missing option '--data'"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, shapes: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [argument.format(there=shapes) for argument in arguments]
    outcome = run("train", "fsanet-edge", *given, "-o", tmp_path / "run", "--workers", 0, "--device", "cpu")
    assert message in outcome.error()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (("fsanet-edgy",), "no model is called 'fsanet-edgy'"),
        (("spanet-s", "--option", "head=classifier"), "spanet-s is built for classification; only segmentation models"),
    ],
)
def test_a_model_that_is_none(run: Run, shapes: Path, model: tuple[str, ...], message: str) -> None:
    assert message in run("train", *model, "--data", f"folder:{shapes}", "--workers", 0, "--device", "cpu").error()


def test_a_gpu_that_is_not_there(run: Run, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    error = run("train", "fsanet-edge", "--data", f"folder:{shapes}", "--device", "cuda").error()
    assert "device cuda needs GPU 0" in error and "--device cpu" in error


def test_frames_of_training_are_no_val(run: Run, shapes: Path) -> None:
    flat = f"folder:{shapes / 'train'}"
    (shapes / "train" / "classes.txt").write_text("\n".join(CLASSES))
    error = run("train", "fsanet-edge", "--data", flat, "--device", "cpu").error()
    assert "gives the same frames for training and for val" in error and "--val-data" in error
