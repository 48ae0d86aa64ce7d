"""What the stages of one run share: what is running, its controls, its figures. Safe to use from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefsa.errors import InputError
from edgefsa.segment.segmentation import Segmentation
from edgefsa.segment.segmenter import Segmenter
from edgefsa.segment.sources import FrameSource, SourceFrame
from edgefsa.segment.statistics import Statistics

if TYPE_CHECKING:
    from edgefsa.machine.telemetry import Telemetry

_NOTES_KEPT = 100


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame, its segmentation, the name of the engine that made it, and the time from its capture to its mask."""

    source: SourceFrame
    segmentation: Segmentation
    engine: str
    camera_to_mask_ms: float


@dataclass(frozen=True)
class EngineFacts:
    """What a view says about an engine. `size_hw` is that of its input."""

    name: str
    model: str
    target: str
    precision: str
    names: tuple[str, ...]
    palette_rgb: tuple[tuple[int, int, int], ...]
    ignore_index: int
    size_hw: tuple[int, int]

    @classmethod
    def of(cls, name: str, segmenter: Segmenter) -> EngineFacts:
        """Read them from an open engine."""
        manifest = segmenter.session.manifest
        return cls(
            name=name,
            model=str(manifest.model.get("model", name)),
            target=manifest.target,
            precision=manifest.precision,
            names=segmenter.names,
            palette_rgb=segmenter.palette_rgb,
            ignore_index=segmenter.ignore_index,
            size_hw=segmenter.session.size_hw,
        )


@dataclass(frozen=True)
class Saturation:
    """How much of a quantised tensor lies beyond the range that it was calibrated for.

    `share` is that of its values (0 to 1) over some frames, `calibrated` that on the frames of the calibration, `reach`
    the mean magnitude of the saturated values as a multiple of the range. `worst_frame` has the largest share,
    `worst_share`. `drifted` says that frames like these were not calibrated for.
    """

    tensor: str
    block: str
    share: float
    calibrated: float
    reach: float
    worst_frame: str
    worst_share: float
    drifted: bool


@dataclass(frozen=True)
class CanaryFigures:
    """How well the engine agrees with its own ONNX graph on the frames that ran through both.

    Shares of equal mask pixels, 0 to 1: of the `last` frame, their `mean`, the `lowest`; `below` counts the frames
    under `bound`. `saturation` is that of the most saturated tensor of an INT8 engine over the last few frames.
    """

    frames: int
    last: float
    mean: float
    lowest: float
    below: int
    bound: float
    saturation: Saturation | None = None


class Run:
    """The state of one run of the pipeline, which every sink gets before the first frame.

    `source_name`, `source_fps` (None for pictures) and `live` are the source's; `engines` those that are loaded, by
    name; `statistics` the figures; `canary` what a canary found so far; `telemetry` the machine's power and
    temperature, where they are sampled; `notes` the latest of what a user should know, and `on_note` is called with
    each of them as it comes.
    """

    def __init__(
        self,
        source: FrameSource,
        segmenters: Mapping[str, Segmenter],
        *,
        on_note: Callable[[str], None] | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.source_name, self.source_fps, self.live = source.name, source.fps, source.live
        self.engines = {name: EngineFacts.of(name, segmenter) for name, segmenter in segmenters.items()}
        self.statistics = Statistics()
        self.canary: CanaryFigures | None = None
        self.telemetry = telemetry
        self.notes: deque[str] = deque(maxlen=_NOTES_KEPT)
        self._on_note = on_note
        self._engine = next(iter(segmenters))
        self._stopped = threading.Event()
        self._playing = threading.Event()
        self._playing.set()
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    @property
    def engine(self) -> EngineFacts:
        """The engine that the next frames go to."""
        return self.engines[self._engine]

    def switch_engine(self, name: str) -> None:
        """Send the next frames to another engine; InputError for one that is not loaded."""
        if name not in self.engines:
            raise InputError(f"no engine named {name} is loaded; there are {', '.join(self.engines)}")
        self._engine = name

    @property
    def paused(self) -> bool:
        """Whether frames wait (of files) or are left out (of a live source)."""
        return not self._playing.is_set()

    def pause(self, paused: bool = True) -> None:
        """Hold the run, or let it go on."""
        if paused:
            self._playing.clear()
        else:
            self._playing.set()

    @property
    def stopped(self) -> bool:
        """Whether the run is to end, or has ended."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the run: frames under way are finished, and every sink completes what it writes."""
        self._stopped.set()
        self._playing.set()

    def fail(self, error: BaseException) -> None:
        """End the run with an error of a stage; the first one is what the caller of the pipeline gets."""
        with self._lock:
            self._error = self._error or error
        self.stop()

    @property
    def error(self) -> BaseException | None:
        """The error that ended the run."""
        return self._error

    @property
    def throttled(self) -> bool:
        """Whether heat or a power limit holds the machine's clocks down now, where that is sampled."""
        sample = self.telemetry.latest() if self.telemetry is not None else None
        return bool(sample is not None and sample.throttled)

    def note(self, text: str) -> None:
        """Record what a user should know, in one line."""
        self.notes.append(text)
        if self._on_note is not None:
            self._on_note(text)

    def wait_while_paused(self, timeout_s: float) -> bool:
        """Wait while the run is paused, at most so long; return whether it plays."""
        return self._playing.wait(timeout_s)
