"""Frames in, masks out: the engine with its resizing, batching and class names around it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.errors import EngineError, InputError
from edgefsa.media.fit import fit_of, geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.segmentation import Segmentation

if TYPE_CHECKING:
    from edgefsa.engines import Session


class Segmenter:
    """Runs an engine on camera frames of any size.

    `engine` is an engine directory, opened by `with` and closed after it, or a Session that is open already
    and stays so. A frame of another size than the engine's is fitted to it as the engine was made for (stretch,
    letterbox or crop) and its mask fitted back by nearest neighbour; what a crop did not see gets the ignore
    index. An engine of a fixed batch N is fed N frames at a time, the last ones repeated.

        with Segmenter("engines/fsanet-edge-openvino-int8-360x480") as segmenter:
            segmentation = segmenter.segment(frame)
    """

    def __init__(self, engine: str | Path | Session, *, threads: int | None = None) -> None:
        self._engine = engine
        self._threads = threads
        self._session: Session | None = None if isinstance(engine, (str, Path)) else engine
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Segmenter:
        if isinstance(self._engine, (str, Path)):
            from edgefsa.engines import open_engine

            self._session = self._stack.enter_context(open_engine(self._engine, threads=self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._engine, (str, Path)):
            self._session = None
        self._stack.close()

    @property
    def session(self) -> Session:
        """The open session; EngineError before `with` and after it."""
        if self._session is None:
            raise EngineError(f"{self._engine} is not open; use it as `with Segmenter(...) as segmenter:`")
        return self._session

    @property
    def model(self) -> dict[str, Any]:
        """The engine's model metadata, as its manifest holds it."""
        return self.session.manifest.model

    @property
    def names(self) -> tuple[str, ...]:
        """The class names, by class index."""
        return tuple(self.model["classes"])

    @property
    def palette_rgb(self) -> tuple[tuple[int, int, int], ...]:
        """The display colours (R, G, B, 0 to 255), by class index."""
        return tuple((red, green, blue) for red, green, blue in self.model["palette"])

    @property
    def ignore_index(self) -> int:
        """What stands in a mask where no class is known: beyond what a crop has seen."""
        return int(self.model["ignore_index"])

    @property
    def batch(self) -> int:
        """How many frames the engine takes at a time."""
        return self.session.batch

    def segment(self, frame: Frame) -> Segmentation:
        """Segment one frame, uint8 [H, W, 3] BGR; InputError where it is something else."""
        return self.segment_batch([frame])[0]

    def segment_batch(self, frames: Sequence[Frame]) -> list[Segmentation]:
        """Segment any number of frames (uint8 [H, W, 3] BGR, of one size or several), in their order."""
        start_ns = time.perf_counter_ns()
        for frame in frames:
            _check_frame(frame)
        batch = self.batch
        masks: list[Mask] = []
        for first in range(0, len(frames), batch):
            masks += self._masks(frames[first : first + batch])
        latency_ms = (time.perf_counter_ns() - start_ns) / 1e6
        return [Segmentation(mask, self.names, self.palette_rgb, latency_ms, self.ignore_index) for mask in masks]

    def _masks(self, frames: Sequence[Frame]) -> list[Mask]:
        """Run the engine once on at most `batch` frames."""
        session, fit = self.session, fit_of(self.model)
        geometries = [geometry(fit, (frame.shape[0], frame.shape[1]), session.size_hw) for frame in frames]
        inputs = [made.to_engine(frame) for made, frame in zip(geometries, frames, strict=True)]
        inputs += [inputs[-1]] * (session.batch - len(inputs))
        stacked = np.ascontiguousarray(inputs[0][None]) if len(inputs) == 1 else np.stack(inputs)
        outputs = session.run(stacked)
        if outputs.dtype != np.uint8:
            outputs = np.stack([masks_from_logits(item, session.size_hw) for item in outputs[: len(frames)]])
        return [made.mask_to_frame(mask, self.ignore_index) for mask, made in zip(outputs, geometries, strict=False)]


def masks_from_logits(logits: npt.NDArray[np.floating[Any]], size_hw: tuple[int, int]) -> Mask:
    """Upsample logits [K, h, w] bilinearly (half-pixel centres), then argmax: class indices uint8 [H, W]."""
    height, width = size_hw
    planes = [cv2.resize(np.float32(plane), (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits]
    return np.asarray(np.argmax(planes, axis=0), np.uint8)


def _check_frame(frame: Frame) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise InputError(f"a frame is uint8 [H, W, 3] in BGR order, not {frame.dtype} {list(frame.shape)}")
