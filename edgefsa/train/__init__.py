"""Training: CamVid-like data in; checkpoints, a log, a curve and fp16 weights out.

    recipe.train          one run, from TrainSettings (settings) to TrainResult
      data, loader        data sets -> batches: number `step` is a pure function of the seed and the step
      compute, processes  CPU or GPU and in which type; several processes under `torchrun`
      loop, average       TrainingRun: steps, and what the end of an epoch does (evaluate, checkpoint, log, curve)
      schedule, losses    optimiser and rate; pixel and region losses
      record              weights.safetensors and weights.json

    qat.train_quantised   the same for INT8: the engine's roundings are in the network, and ranges.json comes out too

Another way of training (as that one) takes hold through `train(settings, hooks=Hooks(prepare, finish,
record))`, see hooks: `prepare` turns the network, which has its initial weights, into the module that is trained;
`finish` turns the averaged one into the module whose tensors are written; `record` goes beside the weights, and a
run resumes only under the same.

Names are loaded on first use, so that `import edgefsa.train` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Hooks": "hooks",
    "TrainResult": "recipe",
    "TrainSettings": "settings",
    "train": "recipe",
    "train_quantised": "qat",
    "evaluate_model": "evaluate",
    "write_weights": "checkpoint",
}
__all__ = ["Hooks", "TrainResult", "TrainSettings", "evaluate_model", "train", "train_quantised", "write_weights"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
