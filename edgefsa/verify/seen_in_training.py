"""Whether an engine's weights were trained on the frames that it is evaluated on."""

from __future__ import annotations

from edgefsa.artifacts import Manifest
from edgefsa.data.readers import Dataset
from edgefsa.models.listing import trained_splits


def seen_in_training(manifest: Manifest, dataset: Dataset) -> list[str]:
    """Return a line where the engine has shipped weights that were trained on this split, by kind and name."""
    weights = manifest.model.get("weights") or {}
    kind = dataset.name.partition(":")[0]
    if (kind, dataset.split) not in trained_splits(weights.get("sha256", "")):
        return []
    return [
        f"these weights were trained on {kind}'s split {dataset.split}: the figures compare engines, "
        "and say nothing of how good the network is on new frames"
    ]
