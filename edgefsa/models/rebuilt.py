"""The module that an exported file or an engine was made of, built again from what its metadata say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from edgefsa.artifacts import sha256_of_file
from edgefsa.errors import CheckpointError
from edgefsa.models.checkpoint import load_checkpoint
from edgefsa.models.registry import create_model
from edgefsa.models.weights import load_default_weights, shipped_weights


def module_of(
    facts: Mapping[str, Any], checkpoint: Path | None = None, weights_key: str | None = None
) -> tuple[nn.Module, Path | None]:
    """Build the network of a model's metadata again; return it in eval mode, and the file that its weights are of.

    The weights are the shipped ones, the seeded random ones (of no file), or the checkpoint that was recorded
    (`checkpoint` says where it lies now, `weights_key` names other weights in it than the build's). Raises
    CheckpointError where they are not those of the build.
    """
    weights = facts["weights"]
    if weights["kind"] == "foreign":
        raise CheckpointError(f"{weights['source']} was made by another tool: no module of ours repeats it")
    model = create_model(facts["model"], **facts["options"])
    if weights["kind"] in ("trained", "random") and checkpoint is None:
        if weights_key is not None:
            raise CheckpointError(f"--weights-key {weights_key} is for checkpoints, and this engine has none")
        if load_default_weights(model)["sha256"] != weights["sha256"]:
            raise CheckpointError(f"{facts['model']} had other weights when the engine was built; rebuild the engine")
        return model.eval(), shipped_weights(model.config)  # type: ignore[arg-type]
    path = checkpoint_of(facts, checkpoint)
    load_checkpoint(model, path, weights_key=weights_key or weights.get("key"))
    return model.eval(), path


def checkpoint_of(facts: Mapping[str, Any], checkpoint: Path | None) -> Path:
    """Return the checkpoint that an engine was built from; CheckpointError where it is not here."""
    weights = facts["weights"]
    if checkpoint is None and not weights["source"]:
        raise CheckpointError("the engine does not say where its weights came from; give their file with --checkpoint")
    path = Path(checkpoint or weights["source"])
    if not path.is_file():
        raise CheckpointError(f"the engine's checkpoint {path} is not here; say where it lies with --checkpoint")
    if weights["sha256"] and sha256_of_file(path) != weights["sha256"]:
        raise CheckpointError(f"{path} is not the file that the engine was built from; give that with --checkpoint")
    return path
