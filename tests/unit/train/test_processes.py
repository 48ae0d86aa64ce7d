"""Two processes under torchrun train one model, on the batches that one process would see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgefsa.data.readers import open_dataset
from edgefsa.errors import InputError
from edgefsa.train.augment import Augmentation
from edgefsa.train.loader import TrainingBatches
from edgefsa.train.processes import Processes, this_process

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
PROGRAM = """
import hashlib, json, os, sys
from pathlib import Path
import torch
from tests.unit.train.conftest import TinyNet
from edgefsa.train import Hooks, TrainSettings, loop, train

loop.create_model = lambda name, **options: TinyNet(**options)
torch.set_num_threads(1)
trained = []
def keep(model):
    trained.append(model)
    return model

result = train(
    TrainSettings("tiny", (sys.argv[1],), Path(sys.argv[2]), crop_hw=(24, 32), batch_size=4, epochs=2, precision="fp32",
                  learning_rate=0.05, workers=0, device="cpu", resume=len(sys.argv) > 3),
    hooks=Hooks(prepare=keep),
)
digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trained[0].parameters())).hexdigest()
facts = {"parameters": digest, "scored": sorted(result.accuracy), "steps": result.steps}
Path(sys.argv[2], f"rank-{os.environ.get('RANK', 'none')}.json").write_text(json.dumps(facts))
"""


def torchrun(program: Path, *arguments: object, count: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += [str(program), *map(str, arguments)]
    # A session of its own: what torchrun signals when it ends its processes cannot reach the test runner.
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, start_new_session=True)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch was built without torch.distributed")
def test_two_processes_end_with_equal_weights_and_one_set_of_files(colour_data: str, tmp_path: Path) -> None:
    program, out = tmp_path / "program.py", tmp_path / "run"
    program.write_text(PROGRAM)
    done = torchrun(program, colour_data, out)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((out / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first["parameters"] == second["parameters"]
    assert (first["scored"], second["scored"]) == (["camvid"], [])  # one evaluates
    assert first["steps"] == 4
    record = json.loads((out / "weights.json").read_text())
    assert record["recipe"]["processes"] == 2
    stored = torch.load(out / "checkpoint.pt", weights_only=True)
    assert stored["step"] == 4
    command = [sys.executable, str(program), colour_data, str(out), "--resume"]
    alone = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert "processes was 2, now 1" in alone.stderr  # a run goes on with as many processes as it began with


def test_the_parts_of_a_batch_make_the_whole(colour_data: str) -> None:
    datasets = [open_dataset(colour_data, "train"), open_dataset(colour_data, "val")]

    def batches(part: tuple[int, int]) -> TrainingBatches:
        return TrainingBatches(datasets, (2, 1), 6, (24, 32), Augmentation(), 5, part)

    for step in range(3):
        frames, labels = batches((0, 1))[step]
        parts = [batches((rank, 2))[step] for rank in range(2)]
        for rank, (part_frames, part_labels) in enumerate(parts):
            assert np.array_equal(part_frames, frames[rank::2])
            assert np.array_equal(part_labels, labels[rank::2])


def test_a_batch_that_cannot_be_split_is_refused(colour_data: str) -> None:
    with pytest.raises(InputError, match="a batch of 4 cannot be split over 3 processes"):
        TrainingBatches([open_dataset(colour_data, "train")], (1,), 4, (24, 32), Augmentation(), 5, (0, 3))


def test_a_process_alone_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # a cluster's own variable is not torchrun's
    alone = this_process()
    assert alone == Processes() and alone.first
    assert alone.mean(torch.tensor(2.5)) == 2.5
    module = torch.nn.Linear(2, 2)
    assert alone.shared(module, torch.device("cpu"), all_used=True) is module
