"""The training recipe: CamVid-like data in, checkpoints, a CSV curve and fp16 weights out.

Names are loaded on first use, so that `import edgefsa.train` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "TrainResult": "recipe",
    "TrainSettings": "recipe",
    "train": "recipe",
    "evaluate_model": "evaluate",
    "write_weights": "checkpoint",
}
__all__ = ["TrainResult", "TrainSettings", "evaluate_model", "train", "write_weights"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
