"""A run learns, resumes to the same curve, and leaves whole files."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgefsa.errors import CheckpointError, InputError, OutputError, TrainingError
from edgefsa.models import create_model
from edgefsa.train import recipe
from edgefsa.train.augment import Augmentation
from edgefsa.train.average import WeightAverage
from edgefsa.train.checkpoint import read_checkpoint, write_checkpoint, write_weights
from edgefsa.train.compute import Compute
from edgefsa.train.data import open_training_data
from edgefsa.train.hooks import Hooks
from edgefsa.train.recipe import train
from edgefsa.train.record import NOTICES, notice
from edgefsa.train.schedule import learning_rate, optimizer_for
from edgefsa.train.settings import TrainSettings, checked
from tests.unit.train.conftest import TinyNet


def settings_for(data: str, out_dir: Path, **changes) -> TrainSettings:
    base = TrainSettings(
        model="tiny",
        data=(data,),
        out_dir=out_dir,
        crop_hw=(24, 32),
        batch_size=4,
        epochs=20,
        evaluate_every=10,
        learning_rate=0.05,
        average_decay=0.9,
        precision="fp32",
        workers=0,
    )
    return dataclasses.replace(base, **changes)


def rows(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_run_learns_and_writes_its_files(tiny_model, colour_data, tmp_path):
    seen = []
    result = train(settings_for(colour_data, tmp_path / "run"), progress=lambda done, total: seen.append((done, total)))
    accuracy = result.accuracy["camvid"]
    assert accuracy.miou > 0.8
    assert accuracy.per_class_iou["sky"] > 0.8
    assert accuracy.per_class_iou["fence"] is None
    assert accuracy.frames == 2
    assert result.steps == 40
    assert seen[-1] == (40, 40)
    curve = rows(result.log)
    assert [row["step"] for row in curve] == list(range(2, 42, 2))
    assert [row["epoch"] for row in curve if row["miou camvid"] >= 0] == [10, 20]
    assert curve[-1]["miou camvid"] == pytest.approx(accuracy.miou, rel=1e-8)
    assert curve[-1]["loss"] < 0.5 * curve[0]["loss"]
    weights = load_file(result.weights)
    assert weights["head.weight"].dtype == torch.float16
    assert not any(name.endswith("num_batches_tracked") for name in weights)


def test_without_matplotlib_a_run_has_its_log_and_says_so_once(tiny_model, colour_data, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefsa.train.loop.can_draw", lambda: False)
    said = []
    result = train(settings_for(colour_data, tmp_path / "run", epochs=3), say=said.append)
    assert result.curve is None and result.as_dict()["curve"] is None
    assert len(rows(result.log)) == 3 and not (tmp_path / "run" / "curve.png").exists()
    assert [line for line in said if "matplotlib" in line] == [
        "note: matplotlib draws the curve and is not installed, log.csv has its figures; pip install 'edgefsa[report]'"
    ]


def test_the_curve_is_drawn_now_and_then_and_at_the_end(tiny_model, colour_data, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "edgefsa.train.loop.draw_curve", lambda path, history, title, epochs: drawn.append(len(history))
    )
    train(settings_for(colour_data, tmp_path / "run", epochs=5))
    assert drawn == [1, 5]
    monkeypatch.setattr("edgefsa.train.loop._DRAWN_EVERY_S", 0.0)
    train(settings_for(colour_data, tmp_path / "other", epochs=3))
    assert drawn == [1, 5, 1, 2, 3]


def stop_at(step: int):
    def stop(done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize(("workers", "changes"), [(0, {}), (2, {}), (0, {"optimizer": "sgd", "precision": "bf16"})])
def test_resume_repeats_the_curve_bit_by_bit(tiny_model, colour_data, tmp_path, workers, changes):
    whole = train(settings_for(colour_data, tmp_path / "whole", epochs=8, evaluate_every=2, **changes))
    settings = settings_for(colour_data, tmp_path / "broken", epochs=8, evaluate_every=2, workers=workers, **changes)
    for step in (5, 11, 16):  # within an epoch, within a later one, and after the last but before the weights
        with pytest.raises(KeyboardInterrupt):
            train(dataclasses.replace(settings, resume=step > 5), progress=stop_at(step))
        assert read_checkpoint(tmp_path / "broken" / "checkpoint.pt")["step"] == (step - 1) // 2 * 2
    resumed = train(dataclasses.replace(settings, resume=True))
    assert whole.log.read_bytes() == resumed.log.read_bytes()
    assert whole.weights.read_bytes() == resumed.weights.read_bytes()
    assert whole.accuracy == resumed.accuracy


def test_resume_of_a_run_that_is_over_gives_its_result_again(tiny_model, colour_data, tmp_path):
    settings = settings_for(colour_data, tmp_path / "run", epochs=2)
    first = train(settings)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = train(dataclasses.replace(settings, resume=True))
    assert dataclasses.replace(again, seconds=0) == dataclasses.replace(first, seconds=0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_is_not_written_over(tiny_model, colour_data, tmp_path):
    settings = settings_for(colour_data, tmp_path / "run", epochs=1)
    result = train(settings)
    with pytest.raises(OutputError, match=r"holds checkpoint\.pt of an earlier run; go on with it by --resume"):
        train(settings)
    result.checkpoint.unlink()
    with pytest.raises(OutputError, match=r"holds weights\.safetensors of an earlier run; train into another folder"):
        train(dataclasses.replace(settings, resume=True))


def test_resume_without_a_checkpoint_starts_and_says_so(tiny_model, colour_data, tmp_path):
    said = []
    train(settings_for(colour_data, tmp_path / "run", epochs=1, resume=True), say=said.append)
    assert any("no checkpoint.pt yet: starting at the beginning" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.01}, "learning rate was 0.05, now 0.01"),
        ({"seed": 3, "epochs": 5}, "epochs was 2, now 5, seed was 0, now 3"),
        ({"augmentation": Augmentation(scale=(0.5, 2.0))}, r"augmentation scale was \[0.75, 2.0\], now \[0.5, 2.0\]"),
        ({"options": {"width": 8}}, r'options was \{\}, now \{"width": 8\}'),
        ({"precision": "bf16"}, "precision was fp32, now bf16"),
    ],
)
def test_resume_with_what_alters_the_curve_is_refused(tiny_model, colour_data, tmp_path, changes, message):
    settings = settings_for(colour_data, tmp_path / "run", epochs=2)
    train(settings)
    with pytest.raises(CheckpointError, match=message):
        train(dataclasses.replace(settings, resume=True, **changes))


def test_resume_knows_the_data_by_its_contents(tiny_model, colour_data, tmp_path):
    settings = settings_for(colour_data, tmp_path / "run", epochs=2)
    train(settings)
    moved = Path(shutil.copytree(tmp_path / "data", tmp_path / "moved"))
    again = dataclasses.replace(settings, data=(f"camvid:{moved}",), resume=True, workers=1, threads=1)
    assert train(again).epochs == 2
    shutil.copy(moved / "train" / "labels" / "0.png", moved / "train" / "labels" / "1.png")
    with pytest.raises(CheckpointError, match="contents of train camvid was"):
        train(again)


def test_hooks_change_what_is_trained_and_what_is_written(tiny_model, colour_data, tmp_path):
    class Wrapped(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.config = inner, inner.config
            self.factor = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            outputs = self.inner(x)
            return tuple(self.factor * item for item in outputs) if self.training else self.factor * outputs

    seen = []

    def finish(model):
        seen.append((type(model), model.training))
        return model.inner

    settings = settings_for(colour_data, tmp_path / "run", epochs=2)
    result = train(settings, hooks=Hooks(Wrapped, finish, {"wrapped": True}))
    assert seen == [(Wrapped, False)]
    factor = read_checkpoint(result.checkpoint)["average"]["factor"]
    assert factor != 1
    assert {"head.weight", "stem.0.weight"} <= set(load_file(result.weights))
    assert json.loads(result.record.read_text())["wrapped"] is True
    with pytest.raises(CheckpointError, match="wrapped was true, now null"):
        train(dataclasses.replace(settings, resume=True))


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tiny_model, colour_data, tmp_path):
    settings = settings_for(colour_data, tmp_path / "run", optimizer="sgd", learning_rate=1e30, clip_norm=1e30)
    with pytest.raises(TrainingError, match=r"the loss became \w+ in epoch \d+; train with a lower"):
        train(settings)
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_weight_that_is_no_number_stops_the_run_before_its_checkpoint(tiny_model, colour_data, tmp_path):
    gradients = []

    def spoil_the_last(gradient):
        gradients.append(gradient)
        return gradient * (float("inf") if len(gradients) == 4 else 1)

    def prepare(model):
        model.head.weight.register_hook(spoil_the_last)
        return model

    with pytest.raises(TrainingError, match="a weight became infinite or NaN in epoch 2; train with a lower"):
        train(settings_for(colour_data, tmp_path / "run"), hooks=Hooks(prepare))
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 2


def test_too_little_memory_is_told_in_one_line(tiny_model, colour_data, tmp_path):
    def prepare(model):
        def full(*_):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory\nlong advice")

        model.register_forward_pre_hook(full)
        return model

    with pytest.raises(TrainingError, match=r"^a batch of 4 views of 24x32 does not fit .* --batch or --size$"):
        train(settings_for(colour_data, tmp_path / "run"), hooks=Hooks(prepare))


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_folder_that_cannot_be_is_told_before_training(tiny_model, colour_data, tmp_path, inside):
    (tmp_path / "file").touch()
    steps = []
    with pytest.raises(
        OutputError, match=r"cannot write .*checkpoint\.pt: .*: (file exists|not a directory); give another"
    ):
        train(settings_for(colour_data, tmp_path / "file" / inside), progress=lambda *done: steps.append(done))
    assert steps == []


def test_loss_scaling_changes_neither_clipping_nor_rate(tiny_model, colour_data, tmp_path, monkeypatch):
    """In fp16 the gradients are 65536 times as large until the optimiser takes them; clipping sees the true ones."""
    changes = {"epochs": 2, "optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 0.1}
    plain = load_file(train(settings_for(colour_data, tmp_path / "fp32", **changes)).weights)
    on_cpu = Compute(torch.device("cpu"), torch.float16, "for the test")
    monkeypatch.setattr(recipe, "choose_compute", lambda *_: on_cpu)
    result = train(settings_for(colour_data, tmp_path / "fp16", **changes))
    scaled = load_file(result.weights)
    torch.manual_seed(0)
    moved = (plain["head.weight"].float() - TinyNet().head.weight).abs().max()
    apart = (plain["head.weight"].float() - scaled["head.weight"].float()).abs().max()
    assert apart < 0.02 * moved
    assert read_checkpoint(result.checkpoint)["scaler"]["scale"] == 65536


def test_weight_decay_is_on_kernels_and_matrices_only():
    model = create_model("fsanet-edge")
    names = {id(value): name for name, value in model.named_parameters()}
    groups = optimizer_for(model, checked(TrainSettings("fsanet-edge", ("x",), Path()))).param_groups
    decayed, others = ({names[id(value)] for value in group["params"]} for group in groups)
    assert [group["weight_decay"] for group in groups] == [0.05, 0]
    kernels = (torch.nn.Conv1d, torch.nn.Conv2d)
    assert decayed == {f"{name}.weight" for name, part in model.named_modules() if isinstance(part, kernels)}
    assert decayed | others == set(names.values()) and {"attention.gamma", "attention.out_bias"} <= others


def test_initial_weights_are_counted(tiny_model, colour_data, tmp_path):
    said = []
    first = train(settings_for(colour_data, tmp_path / "first", epochs=1))
    settings = settings_for(colour_data, tmp_path / "next", epochs=1, initial_weights=first.weights)
    train(settings, say=said.append)
    assert f"9 of 9 tensors taken from {first.weights}" in said
    assert NOTICES["camvid"] == first.notice
    save_file({"elsewhere": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no tensor of .* fits this model"):
        train(settings_for(colour_data, tmp_path / "other", initial_weights=tmp_path / "other.safetensors"))


def test_the_notice_of_initial_weights_goes_on_to_what_they_become(colour_data, tmp_path):
    camvid = open_training_data(TrainSettings("tiny", (colour_data,), Path()))
    synthetic = open_training_data(TrainSettings("tiny", ("synthetic",), Path()))
    beside = tmp_path / "w.json"
    assert notice(synthetic, None) == notice(synthetic, tmp_path / "w.safetensors") == ""
    beside.write_text("no record")
    assert notice(camvid, tmp_path / "w.safetensors") == NOTICES["camvid"]
    both = f"{NOTICES['cityscapes']} {NOTICES['camvid']}"
    beside.write_text(json.dumps({"notice": NOTICES["cityscapes"]}))
    assert notice(synthetic, tmp_path / "w.safetensors") == NOTICES["cityscapes"]
    assert notice(camvid, tmp_path / "w.safetensors") == both
    beside.write_text(json.dumps({"notice": both}))
    assert notice(camvid, tmp_path / "w.safetensors") == both


def test_learning_rate_warms_up_and_decays():
    settings = TrainSettings("tiny", ("x",), Path(), learning_rate=0.1, warmup=0.1, poly_power=0.9)
    assert learning_rate(settings, 0.0) == pytest.approx(0.001)
    assert learning_rate(settings, 0.05) == pytest.approx(0.1 * 0.95**0.9 * (0.01 + 0.99 / 2))
    assert learning_rate(settings, 0.5) == pytest.approx(0.1 * 0.5**0.9)
    assert learning_rate(settings, 1.0) == 0


def test_average_is_the_exponential_formula():
    module = torch.nn.BatchNorm1d(2).double()
    expected = module.weight.detach().clone()
    average = WeightAverage(module, decay=0.6)
    for step in range(1, 30):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([step**0.5, -step], dtype=torch.float64))
            module.num_batches_tracked.fill_(step)
        decay = min(0.6, step / (step + 9))
        expected = decay * expected + (1 - decay) * module.weight.detach()
        average.update(module, step)
    torch.testing.assert_close(average.module.weight.detach(), expected, rtol=1e-12, atol=0)
    assert average.module.num_batches_tracked == 29 and not average.module.training


def test_a_kill_while_writing_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from edgefsa.train.checkpoint import write_checkpoint\n"
        "for step in range(10**6):\n"
        "    state = dict.fromkeys(('seconds', 'history', 'accuracy', 'fixed', 'optimizer', 'scaler', 'average'))\n"
        "    state['step'] = step\n"
        "    write_checkpoint(Path(sys.argv[1]), {**state, 'model': {'w': torch.full((500_000,), float(step))}})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(path)])
    try:
        while not path.exists():
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    state = read_checkpoint(path)
    assert (state["model"]["w"] == state["step"]).all()


def test_bad_checkpoints_are_refused(tiny_model, colour_data, tmp_path):
    path = tmp_path / "run" / "checkpoint.pt"
    write_checkpoint(path, {"step": 1})
    again = settings_for(colour_data, tmp_path / "run", resume=True)
    with pytest.raises(CheckpointError, match="no training checkpoint"):
        train(again)
    whole = path.read_bytes()
    for damaged in (b"", b"not a checkpoint", whole[:-100], bytes(range(256)) * 9):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read: .*; start anew in another folder$"):
            train(again)
    torch.save({"step": Path("x")}, path)  # an object whose unpickling would run code
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(again)


def test_weights_beyond_float16_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"bn\.running_var reaches 100000"):
        write_weights({"bn.running_var": torch.tensor([1.0, 1e5])}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "no data"),
        ({"shares": (1.0, 2.0)}, "2 shares for 1"),
        ({"epochs": 0}, "the epochs is 0; give 1 or more"),
        ({"crop_hw": (25, 32)}, "tiny cannot take 25x32"),
        ({"optimizer": "adagrad"}, "the optimizer 'adagrad' is unknown; choose one of adamw, sgd"),
        ({"loss": "mse"}, "the loss 'mse' is unknown"),
        ({"learning_rate": float("nan")}, "the learning rate is nan"),
        ({"augmentation": Augmentation(scale=(2.0, 0.5))}, "a scale from 2 to 0.5"),
        ({"augmentation": Augmentation(scale=(0.5, float("inf")))}, "a scale from 0.5 to inf"),
        ({"augmentation": Augmentation(scale=(1e-7, 1.0))}, "two rising numbers from 0.1 to 10"),
        ({"augmentation": Augmentation(paste=1.5)}, "paste is 1.5; give a probability from 0 to 1"),
        ({"seed": -1}, "the seed is -1; give 0 or more"),
        ({"seed": 2**32}, "the seed is 4.29497e"),
        ({"shares": (float("inf"),)}, "shares of the data sets are positive numbers"),
        ({"options": {"num_classes": 5}}, "num_classes=5 does not fit the data, which has 11 classes"),
        ({"device": "cuda"}, "device cuda needs GPU 0, and PyTorch .* sees 0 here"),
        ({"precision": "fp16"}, "fp16 training needs a CUDA GPU"),
    ],
)
def test_bad_settings_are_refused(tiny_model, colour_data, tmp_path, changes, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(settings_for(colour_data, tmp_path / "run"), **changes))
