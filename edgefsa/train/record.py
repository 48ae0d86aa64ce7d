"""What a run leaves: the weights with their classes, and a JSON of how they were made and what they reach."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

import edgefsa
from edgefsa.artifacts import sha256_of_file, write_json
from edgefsa.models.checkpoint import WEIGHTS_METADATA_KEY
from edgefsa.train.checkpoint import write_weights
from edgefsa.train.data import TrainingData, name_without_folders
from edgefsa.train.loop import TrainingRun

WEIGHTS_NAME = "weights.safetensors"
RECORD_NAME = "weights.json"
# Data set kind -> what its licence asks to be said of weights trained on it.
NOTICES = {
    "camvid": "Trained on CamVid, which is for personal and research use only; these weights carry that notice.",
    "cityscapes": "Trained on Cityscapes, which is for non-commercial use only; these weights carry that notice.",
}


def write_result(run: TrainingRun, model: nn.Module, fixed: Mapping[str, Any], extra: Mapping[str, Any]) -> Path:
    """Write `model`'s tensors as weights.safetensors, with weights.json beside it; return the former.

    The file's own metadata says the model, its options and its classes, so that `edgefsa build` finds them there.
    """
    config: Any = model.config
    classes = run.data.class_set
    path = run.settings.out_dir / WEIGHTS_NAME
    facts = {"model": config.name, "options": config.options, "classes": classes.names}
    write_weights(model.state_dict(), path, {WEIGHTS_METADATA_KEY: json.dumps(facts)})
    record = {
        "model": config.name,
        "options": config.options,
        "classes": list(classes.names),
        "sha256": sha256_of_file(path),
        "notice": notice(run.data, run.settings.initial_weights),
        "data": _data_facts(run.data, fixed),
        "recipe": dict(fixed),
        **extra,
        "device": str(run.compute),
        "versions": _versions(),
        "epochs": run.epoch,
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "accuracy": {name: report.as_dict() for name, report in run.accuracy.items()},
    }
    write_json(path.with_suffix(".json"), record)
    return path


def notice(data: TrainingData, initial_weights: Path | None) -> str:
    """Return the notices that the training data's licences ask for, and those that the initial weights carry.

    The latter stand in the record beside that file, where there is one. Empty where there are no notices.
    """
    inherited = _notice_beside(initial_weights) if initial_weights else ""
    kinds = dict.fromkeys(dataset.name.partition(":")[0] for dataset in data.train)
    own = [NOTICES[kind] for kind in kinds if kind in NOTICES]
    return " ".join(text for text in (inherited, *(text for text in own if text not in inherited)) if text)


def _notice_beside(weights: Path) -> str:
    try:
        record = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(record.get("notice", "")) if isinstance(record, dict) else ""


def _data_facts(data: TrainingData, fixed: Mapping[str, Any]) -> list[dict[str, Any]]:
    total = sum(data.shares)
    fingerprints = [value for name, value in fixed.items() if name.startswith("contents of ")]
    shares = [share / total for share in data.shares] + [None] * len(data.val)
    return [
        {
            "data": name_without_folders(dataset.name),
            "split": dataset.split,
            "frames": len(dataset),
            "share": share,
            "fingerprint": fingerprint,
        }
        for dataset, share, fingerprint in zip([*data.train, *data.val.values()], shares, fingerprints, strict=True)
    ]


def _versions() -> dict[str, str]:
    packages = ("torch", "numpy", "opencv-python-headless", "safetensors")
    found = {"edgefsa": edgefsa.__version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # OpenCV comes under several names
    return found
