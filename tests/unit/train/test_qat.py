"""Training for INT8, the whole way: weights and ranges that `edgefsa build` takes, and an engine that has them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file

from edgefsa.artifacts import Manifest
from edgefsa.build import BuildRequest, ModelRequest, build_from_request, calibrate_onnx
from edgefsa.commands.train import train as train_command
from edgefsa.data.readers import open_dataset
from edgefsa.engines import open_engine
from edgefsa.errors import CheckpointError, InputError
from edgefsa.export import load_graph
from edgefsa.media.frames import resize_frame
from edgefsa.models import load_checkpoint
from edgefsa.models.registry import MODELS
from edgefsa.quantize import Ranges
from edgefsa.train import qat
from edgefsa.train.checkpoint import write_weights
from edgefsa.train.evaluate import predict_mask
from edgefsa.train.qat import QatResult, train_quantised
from edgefsa.train.qat_network import QuantisedNetwork
from edgefsa.train.recipe import TrainResult
from edgefsa.train.settings import TrainSettings

from .qat_small import SIZE_HW, SmallNet, seasoned


@pytest.fixture
def small(monkeypatch) -> None:
    def build(name: str, num_classes: int = 11) -> SmallNet:
        return SmallNet(num_classes)

    monkeypatch.setitem(MODELS, "small", build)
    torch.set_num_threads(1)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text('model = "small"\ndata = "synthetic"\nmethod = "minmax"\nframes = 4\n')
    return path


@pytest.fixture
def settings(small, colour_data, tmp_path) -> TrainSettings:
    torch.manual_seed(0)
    initial = write_weights(seasoned(SmallNet()).state_dict(), tmp_path / "initial.safetensors")
    return TrainSettings(
        model="small",
        data=(colour_data,),
        out_dir=tmp_path / "run",
        crop_hw=SIZE_HW,
        batch_size=3,
        epochs=30,
        evaluate_every=30,
        learning_rate=5e-3,
        average_decay=0.8,
        initial_weights=initial,
        workers=0,
    )


def test_from_training_to_an_engine_with_the_trained_steps(settings, recipe, tmp_path):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_quantised(settings, recipe, progress=stop)
    said: list[str] = []
    result = train_quantised(dataclasses.replace(settings, resume=True), recipe, say=said.append)
    assert any("resuming after epoch 2 of 30" in line for line in said)
    assert result.run.accuracy["camvid"].miou > 0.5
    record = json.loads(result.run.record.read_text())
    assert record["quantisation"] == {"method": "minmax", "frames": 4, "skip": []}
    assert record["recipe"]["precision"] == "fp32"
    assert load_file(result.run.weights)["block.conv1.weight"].dtype == torch.float16

    ranges = Ranges.read(result.ranges)
    assert ranges.method == "qat" and ranges.data["frames"] == 4 and ranges.data["name"] == "camvid:data"
    model = ModelRequest(checkpoint=result.run.weights)
    request = BuildRequest("small", model, "int8", "onnxruntime", tmp_path / "engines", ranges=result.ranges)
    engine = Path(build_from_request(request, say=said.append)["engine"])
    manifest = Manifest.read(engine)
    scales = manifest.quantization["tensors"]
    # ONNX Runtime's form rounds the stem ahead of its ReLU too, with the ReLU's own steps.
    assert scales.pop("stem.0/Conv") == scales["stem.2/Relu"]
    # A tensor with zero point 0, as none of its values is negative, has 255 steps in that form, others have 127.
    graph = onnx.load(engine / "engine.onnx").graph
    zeros = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    rounded = {node.input[0]: zeros[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    steps = {name: 255 if rounded[name] == 0 else 127 for name in ranges.tensors}
    assert set(steps.values()) == {127, 255}
    assert scales == {name: pytest.approx(item["amax"] / steps[name]) for name, item in ranges.tensors.items()}

    network = SmallNet()
    load_checkpoint(network, result.run.weights)
    simulated = QuantisedNetwork(network.eval(), load_graph(engine / "model.onnx"), ranges).eval()
    measured = calibrate_onnx(engine / "model.onnx", settings.data[0], method="minmax", frames=4)
    moved = [name for name in simulated.amax() if abs(ranges.amax(name) / measured.amax(name) - 1) > 1e-3]
    assert len(moved) > len(simulated.amax()) / 2
    with open_engine(engine) as session:
        agreement = []
        for sample in open_dataset(settings.data[0], "val"):
            frame = resize_frame(sample.frame, SIZE_HW)
            agreement.append((session.run(frame[None])[0] == predict_mask(simulated, frame)).mean())
    assert np.mean(agreement) > 0.95


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "fsanet-edge"}, InputError, "the recipe is for small, not fsanet-edge"),
        ({"precision": "bf16"}, InputError, "runs in fp32, not bf16"),
        ({"data": ()}, InputError, "no data"),
        ({"initial_weights": None}, CheckpointError, "no weights of small .* are shipped"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, recipe, changes, error, message):
    with pytest.raises(error, match=message):
        train_quantised(dataclasses.replace(settings, **changes), recipe)
    assert not settings.out_dir.exists()


def test_settings_left_open_suit_a_fine_tune(settings, recipe, monkeypatch):
    seen = []

    class StoppedError(Exception):
        pass

    def stop(settings, **_):
        seen.append(settings)
        raise StoppedError

    monkeypatch.setattr(qat, "train", stop)
    with pytest.raises(StoppedError):
        train_quantised(dataclasses.replace(settings, learning_rate=None), recipe)
    assert (seen[0].learning_rate, seen[0].weight_decay, seen[0].precision) == (1e-4, 0.0, "fp32")


def test_the_command_hands_on_the_recipe_and_shows_the_ranges(small, recipe, tmp_path, monkeypatch, capsys):
    seen = []

    def fake(settings, recipe_path, *, skip, progress, say):
        seen.append((settings, recipe_path, skip))
        files = {name: tmp_path / name for name in ("weights", "record", "checkpoint", "log", "curve")}
        return QatResult(TrainResult(1, 1, 1.0, {}, "", **files), tmp_path / "ranges.json")

    monkeypatch.setattr(qat, "train_quantised", fake)
    train_command(model="small", data=["synthetic"], qat=recipe, skip=["head*"], json=True)
    ((settings, recipe_path, skip),) = seen
    assert (recipe_path, skip) == (recipe, ("head*",))
    assert (settings.epochs, settings.out_dir, settings.learning_rate) == (10, Path("runs/small-qat"), None)
    assert json.loads(capsys.readouterr().out)["ranges"] == str(tmp_path / "ranges.json")
    with pytest.raises(InputError, match="--skip is for"):
        train_command(model="small", data=["synthetic"], skip=["head*"])
