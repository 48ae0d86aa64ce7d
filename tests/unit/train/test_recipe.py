"""A run learns, resumes to the same curve, and leaves whole files."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edgefsa.errors import CheckpointError, InputError
from edgefsa.train.checkpoint import WeightAverage, read_checkpoint, write_checkpoint, write_weights
from edgefsa.train.recipe import TrainSettings, learning_rate, train


def settings_for(data: str, out_dir: Path, **changes) -> TrainSettings:
    base = TrainSettings(
        model="tiny",
        data=(data,),
        out_dir=out_dir,
        crop_hw=(24, 32),
        batch_size=4,
        steps=40,
        evaluate_every=20,
        learning_rate=0.05,
        average_decay=0.9,
        bf16=False,
        loss_stride=1,
        workers=0,
    )
    return dataclasses.replace(base, **changes)


def rows(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_a_run_learns_and_writes_its_files(tiny_model, colour_data, tmp_path):
    seen = []
    result = train(settings_for(colour_data, tmp_path / "run"), progress=lambda done, total: seen.append((done, total)))
    accuracy = result.accuracy[colour_data]
    assert accuracy.miou > 0.8
    assert accuracy.per_class_iou["sky"] > 0.8
    assert accuracy.per_class_iou["fence"] is None
    assert accuracy.frames == 2
    assert result.steps == 40
    assert seen[-1] == (1000, 1000)
    curve = rows(result.log)
    assert [row["step"] for row in curve] == [20, 40]
    assert curve[-1]["miou_camvid"] == pytest.approx(accuracy.miou, abs=1e-6)
    weights = load_file(result.weights)
    assert weights["head.weight"].dtype == torch.float16
    assert not any(name.endswith("num_batches_tracked") for name in weights)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_repeats_the_curve(tiny_model, colour_data, tmp_path, workers):
    whole = train(settings_for(colour_data, tmp_path / "whole"))

    def stop(done, total):
        if done >= 700:
            raise KeyboardInterrupt

    settings = settings_for(colour_data, tmp_path / "broken", workers=workers)
    with pytest.raises(KeyboardInterrupt):
        train(settings, progress=stop)
    assert read_checkpoint(tmp_path / "broken" / "checkpoint.pt")["step"] == 20
    resumed = train(dataclasses.replace(settings, resume=True))
    for first, second in zip(rows(whole.log), rows(resumed.log), strict=True):
        assert {**first, "cpu_seconds": 0} == {**second, "cpu_seconds": 0}
    first, second = load_file(whole.weights), load_file(resumed.weights)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_processor_time_ends_the_schedule(tiny_model, colour_data, tmp_path):
    result = train(settings_for(colour_data, tmp_path / "run", steps=100_000, max_seconds=0.5))
    assert 0 < result.steps < 100_000
    assert rows(result.log)[-1]["done"] == 1
    assert rows(result.log)[-1]["learning_rate"] == 0


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
    torch.testing.assert_close(average.tensors["weight"], expected, rtol=1e-12, atol=0)
    assert average.tensors["num_batches_tracked"] == 29


def test_a_kill_while_writing_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from edgefsa.train.checkpoint import write_checkpoint\n"
        "for step in range(10**6):\n"
        "    state = dict(step=step, seconds=0.0, history=[], optimizer={}, average={}, fingerprint='')\n"
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
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(again)
    torch.save({"step": Path("x")}, path)  # an object whose unpickling would run code
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(again)
    path.unlink()
    train(settings_for(colour_data, tmp_path / "run", steps=1))
    with pytest.raises(CheckpointError, match="another model"):
        train(dataclasses.replace(again, options={"k": 4}))


def test_weights_beyond_float16_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"bn\.running_var reaches 100000"):
        write_weights({"bn.running_var": torch.tensor([1.0, 1e5])}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ()}, "no data"),
        ({"shares": (1.0, 2.0)}, "2 shares for 1"),
        ({"steps": 0}, "steps is 0"),
        ({"crop_hw": (0, 32)}, "crop_hw"),
        ({"crop_hw": (24, 32), "loss_stride": 3}, "multiples of loss_stride"),
        ({"loss_stride": 2}, "loss_stride is 2"),
    ],
)
def test_bad_settings_are_refused(tiny_model, colour_data, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(settings_for(colour_data, tmp_path / "run"), **changes))
