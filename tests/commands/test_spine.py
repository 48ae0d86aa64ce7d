"""Every command on real files: what it prints for people, and the JSON keys that others script against."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgefsa.data.classes import CAMVID
from edgefsa.data.synthetic import render_scene
from edgefsa.models import create_model
from tests.commands.conftest import Run
from tests.reference import golden


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A picture file of odd size, as from a camera."""
    path = tmp_path / "street.png"
    cv2.imwrite(str(path), render_scene(5, (241, 321))[0])
    return path


def test_models_lists_both_families(run: Run) -> None:
    rows = {row["name"]: row for row in run("models", "--json").json}
    assert {"fsanet-edge", "fsanet-r18", "fsanet-r101", "spanet-s", "spanet-bx"} <= set(rows)
    assert rows["fsanet-edge"]["trained"] and not rows["fsanet-r18"]["trained"]
    assert all(row["params"] > 0 and row["macs"] > 0 for row in rows.values())
    text = run("models").out
    assert all(name in text for name in rows)


def test_from_a_model_to_ranges_to_an_engine_to_masks(run: Run, tmp_path: Path, street: Path) -> None:
    onnx_path, ranges = tmp_path / "m.onnx", tmp_path / "ranges.json"
    exported = run("export", "fsanet-edge", "-o", onnx_path, "--size", "128x160", "--json")
    assert exported.json["onnx"] == str(onnx_path)
    graph = onnx.load(onnx_path).graph
    assert [(i.name, i.type.tensor_type.elem_type) for i in graph.input] == [("frames", onnx.TensorProto.UINT8)]
    assert {node.domain for node in graph.node} >= {"edgefsa"}

    calibrated = run("calibrate", onnx_path, "--data", "synthetic", "--frames", 4, "-o", ranges, "--json").json
    assert calibrated["tensors"] > 10 and ranges.is_file()

    arguments = ("build", onnx_path, "--precision", "int8", "--ranges", ranges, "--target", "openvino")
    built = run(*arguments, "-o", tmp_path / "engines", "--json").json
    assert (built["target"], built["precision"]) == ("openvino", "int8")
    assert Path(built["engine"]).parent == tmp_path / "engines"

    predicted = run("predict", built["engine"], street, "-o", tmp_path / "out", "--json").json
    assert predicted["frames"] == 1
    masks = list((tmp_path / "out").glob("*_mask.png"))
    overlays = list((tmp_path / "out").glob("*_overlay.*"))
    assert len(masks) == len(overlays) == 1
    colours = cv2.imread(str(masks[0]))[..., ::-1].reshape(-1, 3)
    assert colours.shape[0] == 241 * 321
    assert {tuple(map(int, colour)) for colour in np.unique(colours, axis=0)} <= set(CAMVID.palette_rgb)
    assert cv2.imread(str(overlays[0])).shape == (241, 321, 3)


def test_eval_gives_the_keys_that_others_script_against(run: Run, built: Path) -> None:
    result = run("eval", built, "--data", "synthetic", "--limit", 3, "--json").json
    assert set(result) >= {"miou", "pixel_accuracy", "per_class_iou", "frames"}
    assert result["frames"] == 3 and 0 <= result["miou"] <= 1 and 0 <= result["pixel_accuracy"] <= 1
    assert set(result["per_class_iou"]) == set(CAMVID.names)
    assert "mIoU" in run("eval", built, "--data", "synthetic", "--limit", 2).out


def test_bench_gives_a_list_with_both_times(run: Run, built: Path) -> None:
    (row,) = run("bench", built, "--rounds", 5, "--warmup", 1, "--json").json
    assert (row["engine"], row["target"], row["precision"]) == (str(built), "openvino", "int8")
    for key in ("latency_ms", "frame_to_mask_ms"):
        times = row[key]
        assert 0 < times["min"] <= times["median"] <= times["p95"] <= times["p99"]
    assert "frame to mask" in run("bench", built, "--rounds", 3, "--warmup", 0).out


def test_parity_holds_the_engine_against_pytorch(run: Run, built: Path) -> None:
    outcome = run("parity", built, "--limit", 2, "--json")
    result = outcome.json
    assert outcome.status == 0 and result["passed"] and result["fault"] is None
    assert 0.9 < result["argmax_agreement"] <= 1 and 0 < result["relative_l2"] < 0.3
    stages = {stage["stage"]: stage for stage in result["stages"]}
    assert stages["onnx"]["relative_l2"] < 1e-4, "the float ONNX file must repeat the PyTorch model"
    # OpenVINO once computed the convolution behind a Concat of signed and unsigned codes wrongly: 0.07 here.
    assert stages["engine"]["relative_l2_to_previous"] < 0.03, "the engine must compute what its graph says"


def test_inspect_shows_the_precision_of_each_layer(run: Run, built: Path) -> None:
    result = run("inspect", built, "--json").json
    kinds = {layer["precision"] for layer in result["layers"]}
    assert any("i8" in kind or "u8" in kind or "int8" in kind for kind in kinds), kinds
    assert result["manifest"]["precision"] == "int8"


def test_doctor_says_what_can_be_used_and_why_not(run: Run) -> None:
    result = run("doctor", "--json").json
    targets = result["targets"]
    assert {"openvino", "onnxruntime", "tensorrt-rtx"} <= set(targets)
    assert "openvino" in run("doctor").out


def test_a_model_without_weights_can_be_built_and_says_so(run: Run, tmp_path: Path) -> None:
    arguments = ("build", "fsanet-r18", "--precision", "fp32", "--target", "onnxruntime", "--size", "64x96")
    outcome = run(*arguments, "-o", tmp_path / "engines", "--json")
    assert outcome.json["weights"]["kind"] == "random"
    assert "random" in outcome.err
    assert "random" in run("bench", outcome.json["engine"], "--rounds", 2, "--warmup", 0).err


@pytest.mark.parametrize(
    "command",
    ["models", "export", "calibrate", "build", "predict", "eval", "bench", "report", "parity", "inspect", "doctor"],
)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    text = run(command, "--help").out
    assert "Example: edgefsa" in text and "--json" in text


def test_an_engine_runs_where_neither_torch_nor_onnx_is_loaded(built: Path, street: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from edgefsa import cli\n"
        f"sys.argv = ['edgefsa', 'predict', {str(built)!r}, {str(street)!r}, '-o', {str(tmp_path / 'out')!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as stopped:\n    assert not stopped.code, stopped.code\n"
        "print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("[]")


def test_a_checkpoint_of_the_authors_gives_their_outputs(
    run: Run, golden_index: dict[str, dict], shared_dir: Path, tmp_path: Path
) -> None:
    """From a file in their layout, with its settings named by --option, to an ONNX file with their logits."""
    case = "fsanet_mmseg_dot"
    torch.save({"state_dict": golden.state_dict(shared_dir / "golden", case)}, tmp_path / "theirs.pth")
    options = ("--option", "recurrence=2", "--option", "use_scale=true", "--option", "basis=official")
    arguments = ("export", "fsanet-r50", "--checkpoint", tmp_path / "theirs.pth", "--num-classes", 19, *options)
    outcome = run(*arguments, "--size", "97x97", "--outputs", "logits", "-o", tmp_path / "m.onnx", "--json")
    assert outcome.json["weights"]["kind"] == "checkpoint"
    assert "recurrence=2" in outcome.err and "use_scale=true" in outcome.err

    model = onnx.load(tmp_path / "m.onnx")
    image = model.graph.node[2].output[0]
    assert [node.op_type for node in model.graph.node[:3]] == ["Cast", "Sub", "Transpose"]
    del model.graph.node[:3], model.graph.input[:]
    model.graph.input.append(onnx.helper.make_tensor_value_info(image, onnx.TensorProto.FLOAT, [1, 3, 97, 97]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    config = create_model("fsanet-r50").config
    rgb = golden.image(golden_index[case]).numpy() * np.asarray(config.std_rgb, np.float32)[:, None, None]
    (logits,) = session.run(["logits"], {image: np.ascontiguousarray(rgb[:, ::-1])})
    assert golden.relative_l2(logits, golden.outputs(shared_dir / "golden", case)[0]) <= 1e-4


def test_own_class_names_travel_with_an_engine_that_is_calibrated_on_synthetic_scenes(run: Run, tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("floor\nwall\nshelf\n")
    arguments = ("build", "fsanet-edge", "--classes", names, "--size", "128x160", "--precision", "int8")
    outcome = run(*arguments, "-o", tmp_path, "--json")
    assert "synthetic" in outcome.err
    assert outcome.json["ranges"]["data"]["name"].startswith("synthetic")
    engine = outcome.json["engine"]
    assert run("inspect", engine, "--json").json["manifest"]["model"]["classes"] == ["floor", "wall", "shelf"]
    message = run("build", "fsanet-edge", "--classes", names, "--num-classes", 4, "-o", tmp_path).error()
    assert "3" in message and "4" in message
