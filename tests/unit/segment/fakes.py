"""A session without an engine, and the frames of a test clip."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from edgefsa.engines.session import Ticket
from edgefsa.metadata import Batches
from edgefsa.segment import SegmentationTimes

NAMES = ("dark", "dim", "light", "bright")
TIMES = SegmentationTimes(0.1, 0.8, 0.1)
PALETTE = ((10, 20, 30), (200, 0, 0), (0, 200, 0), (0, 0, 250))


class FakeSession:
    """Class = blue // 64; with `outputs="logits"` the same as one-hot logits at a quarter of the size."""

    def __init__(
        self, size_hw: tuple[int, int] = (48, 64), batch: int = 1, outputs: str = "masks", fit: str = "stretch"
    ) -> None:
        model = {"classes": list(NAMES), "palette": [list(colour) for colour in PALETTE], "outputs": outputs}
        model |= {"ignore_index": 255, "fit": fit, "model": "fake-net"}
        self.manifest = SimpleNamespace(model=model, target="fake", precision="fp32", quantization=None)
        self.size_hw, self.batch = size_hw, batch
        self.notes: list[str] = []
        self.runs: list[np.ndarray] = []
        self.entered = 0

    fits_frames = False

    def layer_times_ms(self, frames: np.ndarray, rounds: int) -> dict[str, list[float]]:
        return {"conv": [0.5] * rounds, "mask": [0.25] * rounds}

    def __enter__(self) -> FakeSession:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.entered -= 1

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (self.batch, *self.size_hw, 3)

    @property
    def batches(self) -> Batches:
        return Batches(self.batch, self.batch, self.batch)

    def staging(self, count: int | None = None) -> None:
        return None

    def submit(self, frames: np.ndarray) -> Ticket:
        return Ticket(frames, self.run(frames))

    def wait(self, ticket: Ticket) -> None:
        pass

    def collect(self, ticket: Ticket) -> np.ndarray:
        ticket.engine_ms, ticket.copy_ms = 1.0, 0.0
        return ticket.handle

    def run(self, frames: np.ndarray) -> np.ndarray:
        assert frames.shape == (self.batch, *self.size_hw, 3)
        assert frames.dtype == np.uint8
        assert frames.flags["C_CONTIGUOUS"]
        self.runs.append(frames.copy())
        masks = frames[..., 0] // 64
        if self.manifest.model["outputs"] == "masks":
            return masks
        return np.stack([masks[:, 2::4, 2::4] == index for index in range(len(NAMES))], axis=1).astype(np.float32)


_NOISE = np.random.default_rng(5).integers(0, 20, (400, 500, 1), dtype=np.uint8)


def moving_square(index: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A dark, noisy frame with a bright square whose place tells the index."""
    frame = np.full((*size_hw, 3), 30, np.uint8)
    x = 2 * index % (size_hw[1] - 12)
    frame[8:20, x : x + 12] = 220
    return frame + np.roll(_NOISE, index)[: size_hw[0], : size_hw[1]]
