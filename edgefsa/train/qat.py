"""Quantisation-aware training: a short fine-tune with the roundings of the INT8 engine in the network.

    qat            train_quantised: `recipe.train` with its hooks, and the ranges that it learnt as a file
    qat_network    QuantisedNetwork: the module that is trained, and its way back to the model's own weights
    qat_calls      which calls of the network are which nodes of the graph with the Q/DQ pairs
    qat_rounding   the roundings and their gradients

What is learnt: the weights, with the batch norms folded into convolutions (their statistics stay), and the range of
each quantised tensor. Everything runs in float32, whatever the CPU is fast in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from edgefsa.build import calibrate_onnx
from edgefsa.errors import CheckpointError, InputError
from edgefsa.export import load_graph, onnx_from_model
from edgefsa.models import create_model, load_checkpoint
from edgefsa.models.weights import shipped_weights
from edgefsa.quantize import Ranges, Recipe, read_recipe
from edgefsa.train.hooks import Hooks
from edgefsa.train.processes import this_process
from edgefsa.train.qat_network import QuantisedNetwork
from edgefsa.train.recipe import TrainResult, train
from edgefsa.train.settings import TrainSettings

METHOD = "qat"
RANGES_NAME = "ranges.json"
LEARNING_RATE = 1e-4  # where none is given; an INT8 step of a weight is some 1e-3


@dataclass(frozen=True)
class QatResult:
    """A run, whose accuracy is that of the INT8 network, and the ranges that belong to its weights."""

    run: TrainResult
    ranges: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self.run.as_dict(), "ranges": str(self.ranges)}


def train_quantised(
    settings: TrainSettings,
    recipe_path: str | Path,
    *,
    skip: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> QatResult:
    """Fine-tune a model for INT8 as `settings` say; weights.safetensors and ranges.json land in `out_dir`.

    `edgefsa build MODEL --checkpoint weights.safetensors --ranges ranges.json --precision int8` then rounds as the
    network was trained. Training starts from the initial weights (the shipped ones where the settings name none) and
    from ranges calibrated on the first data set's training frames by the method and with the number of frames of the
    recipe, a file such as calibration/recipes/fsanet-edge.toml. `skip` are name patterns of nodes that stay in float
    beside the recipe's; the build needs the same. Where the settings leave them open, the learning rate is 1e-4 and
    nothing decays.
    Raises what `recipe.train` raises, and InputError for a recipe or a network that cannot be used.
    """
    recipe = read_recipe(recipe_path)
    skip = tuple(dict.fromkeys([*skip, *recipe.skip]))
    settings = _settings(settings, recipe)
    quantiser = _Quantiser(settings, recipe, skip, say)
    record = {"quantisation": {"method": recipe.method, "frames": recipe.frames, "skip": list(skip)}}
    hooks = Hooks(quantiser.prepare, quantiser.finish, record)
    run = train(settings, hooks=hooks, progress=progress, say=say)
    ranges = settings.out_dir / RANGES_NAME
    if this_process().first:
        quantiser.ranges_of(run.weights).write(ranges)
    return QatResult(run, ranges)


def _settings(settings: TrainSettings, recipe: Recipe) -> TrainSettings:
    if recipe.model != settings.model:
        raise InputError(f"the recipe is for {recipe.model}, not {settings.model}; take that model's recipe")
    if settings.precision not in ("auto", "fp32"):
        raise InputError(f"training for INT8 runs in fp32, not {settings.precision}: 16 bits do not hold its steps")
    if not settings.data:
        raise InputError("no data to train on; give at least one data set, for example camvid:DIR")
    rate = LEARNING_RATE if settings.learning_rate is None else settings.learning_rate
    return replace(
        settings,
        initial_weights=settings.initial_weights or _shipped(settings),
        precision="fp32",
        auxiliary=0.0,
        learning_rate=rate,
        weight_decay=settings.weight_decay or 0.0,
    )


def _shipped(settings: TrainSettings) -> Path:
    config: Any = create_model(settings.model, **settings.options).config
    path = shipped_weights(config)
    if path is None:
        raise CheckpointError(f"no weights of {settings.model} with these options are shipped; say which to start from")
    return path


class _Quantiser:
    """The hooks of a run: from a model to the network that is trained, and back."""

    def __init__(
        self, settings: TrainSettings, recipe: Recipe, skip: tuple[str, ...], say: Callable[[str], None]
    ) -> None:
        self.settings, self.recipe, self.skip, self.say = settings, recipe, skip, say
        self.model: nn.Module = nn.Identity()
        self.amax: dict[str, float] = {}

    def prepare(self, model: nn.Module) -> nn.Module:
        """Return the network with the roundings of the model's INT8 engine."""
        self.model = model.eval()
        self.say(f"calibrating {self.settings.model} on {self.settings.data[0]}")
        with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
            path, ranges = self._calibrated(Path(scratch))
            return QuantisedNetwork(model, load_graph(path), ranges, skip=self.skip)

    def finish(self, trained: nn.Module) -> nn.Module:
        """Return the model with what was learnt in its own places."""
        assert isinstance(trained, QuantisedNetwork)
        self.amax = trained.amax()
        self.model.load_state_dict(trained.model_state())
        return self.model

    def ranges_of(self, weights: Path) -> Ranges:
        """Return the learnt ranges for the network with these weights.

        Tensors that only other forms of the INT8 graph round, and no training saw, are calibrated.
        """
        load_checkpoint(self.model, weights)
        with tempfile.TemporaryDirectory(prefix="edgefsa-") as scratch:
            _, ranges = self._calibrated(Path(scratch))
        ranges.method = METHOD
        ranges.tensors.update({name: {"amax": amax} for name, amax in self.amax.items()})
        return ranges

    def _calibrated(self, folder: Path) -> tuple[Path, Ranges]:
        path, recipe = folder / "model.onnx", self.recipe
        onnx_from_model(self.model, path)
        return path, calibrate_onnx(path, self.settings.data[0], method=recipe.method, frames=recipe.frames)
