"""The golden outputs of an engine directory: what the converted graph gives for stored frames, on any machine.

They are the truth that an engine is held against each time it is opened, so a runtime that computes wrongly on
another machine is noticed there. Imports neither torch nor onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgefsa.engines.names import GOLDEN_NAME
from edgefsa.errors import EngineError

if TYPE_CHECKING:
    from edgefsa.engines.session import Session

Frames = npt.NDArray[np.uint8]
NOT_RUN = "not proved: it cannot run on this machine, and is checked when it is first opened on one that can"


class Outputs(NamedTuple):
    """What one batch of frames becomes: `logits` float32 [N, K, h, w], `masks` uint8 [N, H, W], None where unknown."""

    logits: npt.NDArray[np.float32] | None
    masks: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class Bound:
    """The largest `relative_l2` of the logits and the smallest `agreement` of the masks that pass, both 0 to 1."""

    relative_l2: float
    agreement: float


@dataclass(frozen=True)
class Distance:
    """How far `found` is from `reference`, over all frames.

    `relative_l2` is |found - reference| / |reference| of the logits, None where one side has masks only; `agreement`
    is the share of mask pixels with the same class, None where one side has logits only.
    """

    relative_l2: float | None
    agreement: float | None

    def within(self, bound: Bound) -> bool:
        """Return whether both figures keep to `bound`; a logit that is not finite does not."""
        near = self.relative_l2 is None or self.relative_l2 <= bound.relative_l2
        return near and (self.agreement is None or self.agreement >= bound.agreement)

    def in_words(self) -> str:
        """Return the figures for people."""
        parts = [] if self.relative_l2 is None else [f"logits differ by {self.relative_l2:.2g} (relative L2)"]
        parts += [] if self.agreement is None else [f"{100 * self.agreement:.2f} % of the mask pixels agree"]
        return ", ".join(parts)


def patterned_frames(input_shape: tuple[int, int, int, int], seed: int) -> Frames:
    """Return frames of coloured blocks with noise, uint8 `input_shape` [N, H, W, 3], the same on every machine."""
    batch, height, width, _ = input_shape
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 224, (batch, -(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    large = blocks.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return large + rng.integers(0, 32, input_shape, dtype=np.uint8)


def write_golden(directory: Path, frames: Frames, outputs: list[npt.NDArray[Any]], agreement: float) -> dict[str, Any]:
    """Store frames [M, N, H, W, 3] and the converted graph's outputs for them; return the manifest's `golden`.

    `agreement` is the share of equal mask pixels that an engine must reach; engines of logits are held to the same
    share of equal classes.
    """
    np.savez_compressed(directory / GOLDEN_NAME, frames=frames, outputs=np.stack(outputs))
    return {"file": GOLDEN_NAME, "frames": "frames", "outputs": "outputs", "agreement": agreement}


def check_golden_output(session: Session) -> None:
    """Run the golden frames; EngineError where an open session gives other classes than its converted graph."""
    needed = float(session.manifest.golden["agreement"])
    share = golden_agreement(session, session.directory, session.manifest.golden)
    if share < needed:
        raise EngineError(
            f"{session.directory.name} does not give on this machine what its converted graph defines "
            f"({100 * share:.1f} % of the pixels agree, {100 * needed:.1f} % must); rebuild it here with "
            "`edgefsa build`"
        )


def golden_agreement(session: Session, directory: Path, golden: Mapping[str, Any]) -> float:
    """Return the share of pixels, 0 to 1, in which an open session has the class of golden outputs for their frames.

    `golden` is a manifest's entry for a file in `directory`, which need not be the session's own. Raises EngineError
    where that cannot be read, or is of another shape than the engine.
    """
    path = directory / golden["file"]
    try:
        with np.load(path, allow_pickle=False) as stored:
            frames, expected = stored[golden["frames"]], stored[golden["outputs"]]
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{path} cannot be read ({error}); rebuild the engine") from error
    found = np.stack([session.run(batch) for batch in frames])
    if found.shape != expected.shape or found.dtype != expected.dtype:
        here, there = (f"{output.dtype} {list(output.shape)}" for output in (found, expected))
        raise EngineError(f"{session.directory.name} gives {here}, and {path} holds {there}; rebuild the engine")
    classes = (found, expected) if expected.dtype == np.uint8 else (found.argmax(2), expected.argmax(2))
    return float((classes[0] == classes[1]).mean())
