"""What models there are, how large they are, and what they cost: as recorded, so that listing them needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS_DIRECTORY = Path(__file__).parent / "weights"
RECORD = Path(__file__).parent / "models.json"  # written by `python -m edgefsa.models.costs`


@dataclass(frozen=True)
class ModelInfo:
    """A segmentation model with its default options.

    `params` leaves out the auxiliary head, which only training uses; `macs` are the multiply-accumulates of one
    image of `default_size_hw`; `weights` is the shipped file, or None: then the weights are random.
    """

    name: str
    family: str
    num_classes: int
    params: int
    macs: int
    default_size_hw: tuple[int, int]
    weights: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return name, family, params, macs, size_hw, num_classes and trained (False: random weights) for JSON."""
        return {
            "name": self.name,
            "family": self.family,
            "params": self.params,
            "macs": self.macs,
            "size_hw": list(self.default_size_hw),
            "num_classes": self.num_classes,
            "trained": self.weights is not None,
        }


def list_models() -> list[ModelInfo]:
    """Return every model, the default first."""
    return [_info(**row) for row in json.loads(RECORD.read_text(encoding="utf-8"))]


def trained_splits(weights_sha256: str) -> list[tuple[str, str]]:
    """Return what the shipped weights with this SHA-256 were trained on, as (kind of data, split); else nothing."""
    records = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(WEIGHTS_DIRECTORY.glob("*.json")))
    data: list[dict[str, Any]] = next((record["data"] for record in records if record["sha256"] == weights_sha256), [])
    return [(item["data"], split) for item in data if item["share"] for split in item["split"].split(" + ")]


def _info(name: str, family: str, num_classes: int, params: int, macs: int, size_hw: list[int]) -> ModelInfo:
    weights = WEIGHTS_DIRECTORY / f"{name}.safetensors"
    height, width = size_hw
    return ModelInfo(name, family, num_classes, params, macs, (height, width), weights if weights.is_file() else None)
