"""Where the stages part: PyTorch -> model.onnx -> converted ONNX -> engine, on the same frames.

This is a check for the desk, not for the device: torch and onnx are imported inside its functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import Manifest, sha256_of_file
from edgefsa.engines import Session, logits_session, open_engine
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME, SOURCE_NAME
from edgefsa.engines.registry import target_of
from edgefsa.errors import CheckpointError, InputError
from edgefsa.media.fit import fit_frame, fit_of

if TYPE_CHECKING:
    from torch import nn

    from edgefsa.data.readers import Dataset

Frames = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]
# From a batch of frames to logits [N, K, h, w] and masks [N, H, W]; each is None where the stage has none of its own.
Stage = Callable[[Frames], tuple[Logits | None, Frames | None]]

CONVERTED_NAMES = (QUANTISED_NAME, HALF_NAME)


@dataclass(frozen=True)
class StageParity:
    """How near a stage is to PyTorch, over all frames.

    `argmax_agreement` is the share of mask pixels with PyTorch's class, 0 to 1; `relative_l2` is
    |logits - PyTorch's| / |PyTorch's|, and `relative_l2_to_previous` the same against the stage before. Both are None
    for an engine whose target returns nothing but the masks that it was built for.
    """

    stage: str
    argmax_agreement: float
    relative_l2: float | None
    relative_l2_to_previous: float | None


@dataclass(frozen=True)
class ParityReport:
    """Every stage's parity in order; the engine is the last."""

    stages: list[StageParity]
    frames: int

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON: the engine's figures at the top, then every stage."""
        engine = self.stages[-1]
        return {
            "argmax_agreement": engine.argmax_agreement,
            "relative_l2": engine.relative_l2,
            "frames": self.frames,
            "stages": [asdict(stage) for stage in self.stages],
        }


def parity(
    engine: str | Path,
    *,
    checkpoint: str | Path | None = None,
    weights_key: str | None = None,
    dataset: Dataset,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ParityReport:
    """Run the PyTorch model, its ONNX files and the engine on the same frames and compare them with PyTorch.

    The model is built again from the manifest; its weights are the shipped ones, the seeded random ones, or the
    checkpoint that was recorded (`checkpoint` says where it lies now, and `weights_key` names other weights in it
    than the build's). Raises CheckpointError where they are not those of the build, and what opening the engine raises.
    """
    directory = Path(engine)
    manifest = Manifest.read(directory)
    with contextlib.ExitStack() as stack:
        stages: dict[str, Stage] = {"pytorch": _torch_stage(manifest, checkpoint, weights_key)}
        for name in (SOURCE_NAME, *CONVERTED_NAMES):
            if (directory / name).is_file():
                stages[name] = _onnx_stage(directory / name)
        stages["engine"] = _engine_stage(directory, stack)
        tallies = [_Tally(name) for name in list(stages)[1:]]
        count = 0
        for batch, real in _batches(dataset, manifest, limit):
            _compare(list(stages.values()), tallies, batch, real)
            count += real
            if progress is not None:
                progress(count, min(len(dataset), limit or len(dataset)))
    if not count:
        raise InputError(f"{dataset.name} has no frames to compare on; give --data with frames")
    return ParityReport([tally.result() for tally in tallies], count)


class _Tally:
    """The sums over frames that a stage's parity comes from."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.same = self.pixels = 0
        self.to_torch = self.to_previous = self.torch = self.previous = 0.0

    def result(self) -> StageParity:
        if not self.torch:
            return StageParity(self.stage, self.same / self.pixels, None, None)
        to_torch = (self.to_torch / max(self.torch, 1e-30)) ** 0.5
        to_previous = (self.to_previous / max(self.previous, 1e-30)) ** 0.5
        return StageParity(self.stage, self.same / self.pixels, to_torch, to_previous)


def _compare(stages: Sequence[Stage], tallies: Sequence[_Tally], batch: Frames, real: int) -> None:
    """Run every stage on one batch, of which the first `real` frames count."""
    from edgefsa.export.check import upsampled

    size_hw = (int(batch.shape[1]), int(batch.shape[2]))
    reference = previous = _some(stages[0](batch)[0])[:real].astype(np.float64)
    truth = upsampled(reference.astype(np.float32), size_hw).argmax(1)
    for stage, tally in zip(stages[1:], tallies, strict=True):
        logits, masks = stage(batch)
        found = masks[:real] if masks is not None else upsampled(_some(logits)[:real], size_hw).argmax(1)
        tally.same += int((found == truth).sum())
        tally.pixels += truth.size
        if logits is None:
            continue
        wide = logits[:real].astype(np.float64)
        tally.to_torch += float(np.square(wide - reference).sum())
        tally.torch += float(np.square(reference).sum())
        tally.to_previous += float(np.square(wide - previous).sum())
        tally.previous += float(np.square(previous).sum())
        previous = wide


def _some(logits: Logits | None) -> Logits:
    if logits is None:
        raise InputError("a stage returned neither masks nor logits; rebuild the engine")
    return logits


def _batches(dataset: Dataset, manifest: Manifest, limit: int | None) -> Iterator[tuple[Frames, int]]:
    """Yield full batches of the engine's size, the last one padded, with how many of its frames are real."""
    size_hw, fit = manifest.model["size_hw"], fit_of(manifest.model)
    size = int(manifest.model["batch"])
    total = min(len(dataset), limit or len(dataset))
    for start in range(0, total, size):
        frames = [fit_frame(dataset.frame(index), size_hw, fit) for index in range(start, min(start + size, total))]
        yield np.stack(frames + frames[-1:] * (size - len(frames))), len(frames)


def _torch_stage(manifest: Manifest, checkpoint: str | Path | None, weights_key: str | None) -> Stage:
    from edgefsa.export.check import module_logits

    model = _torch_model(manifest, checkpoint, weights_key)
    config: Any = model.config
    return lambda frames: (module_logits(model, frames, config.mean_rgb, config.std_rgb), None)


def _torch_model(manifest: Manifest, checkpoint: str | Path | None, weights_key: str | None) -> nn.Module:
    from edgefsa.models import create_model, load_checkpoint, load_default_weights

    facts = manifest.model
    weights = facts["weights"]
    model = create_model(facts["model"], **facts["options"])
    known = weights["kind"] in ("trained", "random")
    if known and checkpoint is None:
        if weights_key is not None:
            raise CheckpointError(f"--weights-key {weights_key} is for checkpoints, and this engine has none")
        if load_default_weights(model)["sha256"] != weights["sha256"]:
            raise CheckpointError(f"{facts['model']} had other weights when the engine was built; rebuild the engine")
        return model.eval()
    if checkpoint is None and not weights["source"]:
        raise CheckpointError("the engine does not say where its weights came from; give their file with --checkpoint")
    path = Path(checkpoint or weights["source"])
    if not path.is_file():
        raise CheckpointError(f"the engine's checkpoint {path} is not here; say where it lies with --checkpoint")
    if weights["sha256"] and sha256_of_file(path) != weights["sha256"]:
        raise CheckpointError(f"{path} is not the file that the engine was built from; give that with --checkpoint")
    load_checkpoint(model, path, weights_key=weights_key or weights.get("key"))
    return model.eval()


def _onnx_stage(path: Path) -> Stage:
    from edgefsa.graph.files import load_graph
    from edgefsa.graph.running import onnx_runner

    return onnx_runner(load_graph(path))


def _engine_stage(directory: Path, stack: contextlib.ExitStack) -> Stage:
    engine: Session = stack.enter_context(open_engine(directory))
    if engine.manifest.model["outputs"] == "logits":
        return lambda frames: (engine.run(frames), None)
    if not target_of(engine.manifest.target).gives_logits:
        return lambda frames: (None, engine.run(frames))
    logits: Session = stack.enter_context(logits_session(directory))
    return lambda frames: (logits.run(frames), engine.run(frames))
