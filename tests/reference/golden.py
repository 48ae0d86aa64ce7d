"""The golden cases: weights and inputs made from their names, and the outputs of the authors' code."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.floating[Any]]


def weight(key: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Make one tensor of a state dict from its key."""
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape or (1,), dtype=np.float32)
    noise = noise.reshape(shape)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return (0.5 + 0.5 * np.abs(noise)).astype(np.float32)
    if key.endswith(("running_mean", "bias")):
        return (0.1 * noise).astype(np.float32)
    if len(shape) >= 2 and key.endswith("weight"):
        return (0.5 * noise / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    if "filter" in key.rsplit(".", 1)[-1]:
        return noise
    return (1 + 0.1 * noise).astype(np.float32)


def state_dict(golden: Path, case: str) -> dict[str, Tensor]:
    """Make the state dict of a case, with the official keys."""
    shapes = json.loads((golden / f"{case}.keys.json").read_text())
    return {key: torch.from_numpy(np.asarray(weight(key, tuple(shape)))) for key, shape in shapes.items()}


def image(settings: dict[str, Any]) -> Tensor:
    """Make the input of a case."""
    random = np.random.default_rng(zlib.crc32(settings["input_name"].encode()))
    return torch.from_numpy(random.standard_normal(settings["input_shape"], dtype=np.float32))


def outputs(golden: Path, case: str) -> list[Floats]:
    """Return the authors' outputs of a case; of some, only every eighth channel is stored."""
    with np.load(golden / f"{case}.npz") as file:
        return [file[name] for name in sorted(file.files)]


def relative_l2(actual: Tensor | Floats, expected: Tensor | Floats) -> float:
    """Return |actual - expected| / |expected|."""
    actual, expected = (np.asarray(value, np.float64) for value in (actual, expected))
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
