"""Frames in, masks out: the engine with its resizing, batching and class names around it."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.errors import EngineError, InputError
from edgefsa.media.fit import Geometry, fit_of, geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.segmentation import Segmentation, SegmentationTimes

if TYPE_CHECKING:
    from edgefsa.engines import Session
    from edgefsa.engines.session import Ticket

IN_FLIGHT = 2  # runs at once where frames are not live (docs/decisions/0020)


@dataclass(frozen=True)
class SegmenterTicket:
    """A run of the engine that is under way, how its frames were fitted, and how long that took."""

    run: Ticket
    geometries: list[Geometry]
    prepare_ms: float
    is_fitted_on_gpu: bool = False


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

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The class names, by class index."""
        return tuple(self.model["classes"])

    @functools.cached_property
    def palette_rgb(self) -> tuple[tuple[int, int, int], ...]:
        """The display colours (R, G, B, 0 to 255), by class index."""
        return tuple((red, green, blue) for red, green, blue in self.model["palette"])

    @property
    def ignore_index(self) -> int:
        """What stands in a mask where no class is known: beyond what a crop has seen."""
        return int(self.model["ignore_index"])

    @property
    def batch(self) -> int:
        """How many frames the engine takes at a time, at most."""
        return self.session.batch

    def segment(self, frame: Frame) -> Segmentation:
        """Segment one frame, uint8 [H, W, 3] BGR; InputError where it is something else."""
        return self.segment_batch([frame])[0]

    def segment_batch(self, frames: Sequence[Frame]) -> list[Segmentation]:
        """Segment any number of frames (uint8 [H, W, 3] BGR, of one size or several), in their order."""
        batch = self.batch
        results: list[Segmentation] = []
        for first in range(0, len(frames), batch):
            results += self.collect(self.submit(frames[first : first + batch]))
        return results

    def segment_ahead(
        self, batches: Iterable[Sequence[Frame]], in_flight: int = IN_FLIGHT
    ) -> Iterator[list[Segmentation]]:
        """Yield the segmentations of each of `batches` (none to `batch` frames) in order.

        Up to `in_flight` runs are under way while the caller works on what was yielded.
        """
        tickets: deque[SegmenterTicket | None] = deque()
        try:
            for frames in batches:
                tickets.append(self.submit(frames) if frames else None)
                if len(tickets) == in_flight:
                    yield self._collect_any(tickets.popleft())
            while tickets:
                yield self._collect_any(tickets.popleft())
        finally:  # where the caller ends before the frames do
            for ticket in tickets:
                self._collect_any(ticket)

    def _collect_any(self, ticket: SegmenterTicket | None) -> list[Segmentation]:
        return [] if ticket is None else self.collect(ticket)

    def submit(self, frames: Sequence[Frame]) -> SegmenterTicket:
        """Fit 1 to `batch` frames to the engine and start its run; InputError where they are something else.

        Several may be under way: while the engine computes, the caller reads, fits and draws others.
        """
        session = self.session
        if not 1 <= len(frames) <= session.batch:
            raise InputError(f"the engine takes 1 to {session.batch} frames a run, not {len(frames)}")
        start_ns = time.perf_counter_ns()
        for frame in frames:
            _check_frame(frame)
        fit = fit_of(self.model)
        geometries = [geometry(fit, (frame.shape[0], frame.shape[1]), session.size_hw) for frame in frames]
        if not all(made.changes_nothing for made in geometries) and session.fits_frames:
            run = session.submit_frames(frames, geometries, self.ignore_index)
            return SegmenterTicket(run, geometries, (time.perf_counter_ns() - start_ns) / 1e6, is_fitted_on_gpu=True)
        count = max(len(frames), session.batches.fewest)
        batch = session.staging(count)
        if batch is None and count == 1:
            batch = np.ascontiguousarray(geometries[0].to_engine(frames[0]))[None]
        else:
            batch = np.empty((count, *session.input_shape[1:]), np.uint8) if batch is None else batch
            for index, (made, frame) in enumerate(zip(geometries, frames, strict=True)):
                made.to_engine(frame, batch[index])
            batch[len(frames) :] = batch[len(frames) - 1]
        prepare_ms = (time.perf_counter_ns() - start_ns) / 1e6
        return SegmenterTicket(session.submit(batch), geometries, prepare_ms)

    def wait(self, ticket: SegmenterTicket) -> None:
        """Wait until the engine is done with a run, which stays to be collected."""
        self.session.wait(ticket.run)

    def collect(self, ticket: SegmenterTicket) -> list[Segmentation]:
        """Wait for a run and return its frames' segmentations; each ticket once."""
        session = self.session
        if ticket.is_fitted_on_gpu:
            return self._collected(session.collect_masks(ticket.run), ticket, 0.0)
        outputs = session.collect(ticket.run)
        start_ns = time.perf_counter_ns()
        geometries = ticket.geometries
        if outputs.dtype != np.uint8:
            outputs = np.stack([masks_from_logits(item, session.size_hw) for item in outputs[: len(geometries)]])
        masks = [made.mask_to_frame(mask, self.ignore_index) for mask, made in zip(outputs, geometries, strict=False)]
        return self._collected(masks, ticket, (time.perf_counter_ns() - start_ns) / 1e6)

    def _collected(self, masks: Sequence[Mask], ticket: SegmenterTicket, mask_ms: float) -> list[Segmentation]:
        run = ticket.run
        prepare_ms, mask_ms = ticket.prepare_ms + run.fit_ms, mask_ms + run.restore_ms
        times = SegmentationTimes(prepare_ms, run.engine_ms, mask_ms, run.copy_ms)
        return [Segmentation(mask, self.names, self.palette_rgb, times, self.ignore_index) for mask in masks]


def masks_from_logits(logits: npt.NDArray[np.floating[Any]], size_hw: tuple[int, int]) -> Mask:
    """Upsample logits [K, h, w] bilinearly (half-pixel centres), then argmax: class indices uint8 [H, W]."""
    height, width = size_hw
    planes = [cv2.resize(np.float32(plane), (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits]
    return np.asarray(np.argmax(planes, axis=0), np.uint8)


def _check_frame(frame: Frame) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise InputError(f"a frame is uint8 [H, W, 3] in BGR order, not {frame.dtype} {list(frame.shape)}")
