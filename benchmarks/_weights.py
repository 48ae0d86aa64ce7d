"""Which weights figures were measured with, and whether they are still the shipped ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[1] / "edgefsa" / "models" / "weights"


def shipped_weights() -> dict[str, str]:
    """Return the SHA-256 of the shipped weights by model."""
    return {path.stem: json.loads(path.read_text())["sha256"] for path in sorted(WEIGHTS.glob("*.json"))}


def are_shipped(figures: dict[str, Any]) -> bool:
    """Return whether a record, or a row of one, was measured with the weights that are shipped now, as far as it says.

    A record says it by `weights`, model -> SHA-256; a row by `model` and `weights`, the manifest's words for them.
    """
    shipped, weights = shipped_weights(), figures.get("weights", {})
    if "sha256" in weights:
        return weights.get("kind") != "trained" or weights["sha256"] == shipped.get(figures["model"])
    return all(shipped.get(model) == sha256 for model, sha256 in weights.items())
