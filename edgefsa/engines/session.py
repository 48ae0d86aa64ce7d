"""An open engine: frames in, masks out, the same on every target. Imports neither torch nor onnx."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import Manifest
from edgefsa.engines.golden import check_golden_output
from edgefsa.engines.names import LAYERS_NAME
from edgefsa.errors import EngineError, InputError, TargetError
from edgefsa.media.fit import Geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.metadata import Batches, batches_of

Frames = npt.NDArray[np.uint8]
Outputs = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerPrecision:
    """What one layer of an engine runs in, as its runtime reports it.

    `precision` is "int8", "f32", "bf16", "f16", or the runtime's own word; `detail` names the kernel where the
    runtime does; `nodes` are the ONNX nodes that were fused into the layer; `multiplies` is true of convolutions and
    matrix products.
    """

    name: str
    kind: str
    precision: str
    detail: str = ""
    nodes: tuple[str, ...] = ()
    multiplies: bool = False


@dataclass(eq=False)
class Ticket:
    """A run under way. Its times are known once it is collected: `engine_ms` from its start to its result, waiting for
    runs that were submitted before it included, and `copy_ms` to a GPU's memory and back, where there is one. Where the
    GPU fits frames, `fit_ms` is for that, and `restore_ms` for fitting the masks back.
    """

    frames: Frames | Sequence[Frame]
    handle: Any
    engine_ms: float = math.nan
    copy_ms: float = math.nan
    fit_ms: float = 0.0
    restore_ms: float = 0.0


class Session(ABC):
    """Runs one engine, loaded by `with` and released after it; for one thread at a time.

    with open_engine("engines/fsanet-edge-openvino-int8-360x480") as session:
        masks = session.run(frames)

    `submit` and `collect` are the two halves of `run`: between them the caller works on other frames. `notes` says what
    a user should know of how it runs.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        self.directory = directory
        self.manifest = manifest
        if threads is not None and threads < 1:
            raise InputError(f"threads is {threads}; give 1 or more, or leave it out for all cores")
        self.threads = threads
        self.check_golden = False
        # Whether code for the CPU that lies in the engine's own file may run: whoever opens it decides.
        self.host_code = False
        self.notes: list[str] = []
        self._under_way: list[Ticket] = []

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""
        height, width = self.manifest.model["size_hw"]
        return int(height), int(width)

    @property
    def batch(self) -> int:
        """How many frames one run takes, at most."""
        return int(self.manifest.model["batch"])

    @property
    def batches(self) -> Batches:
        """How few, how many as a rule, and how many frames at most one run takes."""
        return batches_of(self.manifest.model)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape of a run's frames, [N, H, W, 3]; of the largest run where N is open."""
        return (self.batch, *self.size_hw, 3)

    def __enter__(self) -> Session:
        self._load()
        if self.check_golden and self.manifest.golden:
            try:
                check_golden_output(self)
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for ticket in self._under_way:
            ticket.handle = None
        self._under_way.clear()
        self._release()

    def run(self, frames: Frames) -> Outputs:
        """Segment uint8 [N, H, W, 3] BGR frames: class indices uint8 [N, H, W], or float32 logits [N, K, h, w].

        The frames are read in place, without a copy, where they lie contiguous; the result belongs to the
        caller. Raises InputError for another shape or type, EngineError where the runtime fails.
        """
        return self.collect(self.submit(frames))

    def staging(self, count: int | None = None) -> Frames | None:
        """Return memory uint8 [N, H, W, 3] that the next run's frames are best written to; None where any is as good.

        N is `count`, or the most that a run takes. It goes to `submit` as it is, and belongs to that run from then on.
        """
        return None

    @property
    def fits_frames(self) -> bool:
        """Whether the session fits frames of any size to the engine itself, by `submit_frames`."""
        return False

    def submit_frames(self, frames: Sequence[Frame], geometries: Sequence[Geometry], ignore_index: int) -> Ticket:
        """Start a run of 1 to `batch` frames uint8 [H, W, 3] BGR of any sizes, each fitted by its geometry.

        They are read before this returns; `collect_masks` has their masks. Only where `fits_frames` is true.
        """
        ticket = Ticket(frames, self._submit_frames(frames, geometries, ignore_index))
        self._under_way.append(ticket)
        return ticket

    def collect_masks(self, ticket: Ticket) -> list[Mask]:
        """Wait for a run of `submit_frames` and return its masks: class indices uint8, each at its frame's size.

        What the engine did not see is the ignore index. Raises what `collect` raises.
        """
        return self._collect_masks(self._taken(ticket), ticket)

    def submit(self, frames: Frames) -> Ticket:
        """Start a run of uint8 [N, H, W, 3] BGR frames, which must stay as they are until it is collected.

        Several may be under way; they run one after the other. Raises what `run` raises.
        """
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or not self._takes(frames.shape):
            shape = list(self.input_shape)
            number = "" if self.batches.fixed else f", N from {self.batches.fewest}"
            raise InputError(f"the engine takes uint8 {shape} (N, H, W, BGR{number}), not {_describe(frames)}")
        frames = np.ascontiguousarray(frames)
        ticket = Ticket(frames, self._submit(frames))
        self._under_way.append(ticket)
        return ticket

    def wait(self, ticket: Ticket) -> None:
        """Wait until a run is done; its outputs stay to be collected, and so do its errors."""
        self._wait(ticket.handle)

    def collect(self, ticket: Ticket) -> Outputs:
        """Wait for a run and return its outputs, as `run` does; each ticket once, in any order.

        Raises EngineError where the runtime fails, or the ticket is not one of a run under way.
        """
        outputs, ticket.engine_ms, ticket.copy_ms = self._collect(self._taken(ticket))
        return outputs

    def _taken(self, ticket: Ticket) -> Any:
        if ticket not in self._under_way:
            raise EngineError(f"no such run of {self.directory.name} is under way; collect each ticket once")
        self._under_way.remove(ticket)
        handle, ticket.handle = ticket.handle, None  # whoever keeps the ticket keeps nothing of the runtime
        return handle

    def layer_times_ms(self, frames: Frames, rounds: int) -> dict[str, list[float]]:
        """Run `frames` so often while each layer is timed: milliseconds of each round, by the runtime's layer names.

        A run that is watched takes longer, and so it is no measure of the whole. TargetError where the runtime cannot.
        """
        raise TargetError(f"{self.manifest.target} does not time layers; tensorrt and tensorrt-rtx do")

    def layer_precisions(self) -> list[LayerPrecision]:
        """Return what each layer runs in, as it was recorded when the engine was built."""
        return read_layers(self.directory)

    def _takes(self, shape: tuple[int, ...]) -> bool:
        fewest, _, most = self.batches
        return len(shape) == 4 and shape[1:] == self.input_shape[1:] and fewest <= shape[0] <= most

    def _check_input(self, file: Path, dims: Sequence[object]) -> None:
        """Raise EngineError where a loaded file takes other frames; in place of an open batch stands any text."""
        batch = self.batch if self.batches.fixed else dims[0]
        if tuple(dims) != (batch, *self.input_shape[1:]) or (isinstance(batch, int) and batch != self.batch):
            raise EngineError(
                f"{file} takes {list(dims)}, its manifest says {list(self.input_shape)} with batch {self.batches}; "
                "rebuild it"
            )

    @abstractmethod
    def _load(self) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...

    @abstractmethod
    def _submit(self, frames: Frames) -> Any:
        """Start a run; what `_collect` gets."""

    @abstractmethod
    def _wait(self, handle: Any) -> None:
        """Wait for a run."""

    @abstractmethod
    def _collect(self, handle: Any) -> tuple[Outputs, float, float]:
        """Wait for a run; return its outputs, and the times of the engine and of copies in milliseconds."""

    def _submit_frames(self, frames: Sequence[Frame], geometries: Sequence[Geometry], ignore_index: int) -> Any:
        """Start a run of frames that are fitted on the way; what `_collect_masks` gets."""
        raise self._fits_none()

    def _collect_masks(self, handle: Any, ticket: Ticket) -> list[Mask]:
        """Wait for a run of frames; return their masks, and write its times into the ticket."""
        raise self._fits_none()

    def _fits_none(self) -> EngineError:
        return EngineError(f"{self.manifest.target} fits no frames itself; hand {self.directory.name} fitted ones")

    def _not_open(self) -> EngineError:
        return EngineError(f"{self.directory.name} is not open; use it as `with open_engine(path) as session:`")


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def write_layers(directory: Path, layers: list[LayerPrecision]) -> None:
    """Store the layers' precisions in the engine directory."""
    text = json.dumps([asdict(layer) for layer in layers], indent=1)
    (directory / LAYERS_NAME).write_text(text + "\n", encoding="utf-8")


def read_layers(directory: Path) -> list[LayerPrecision]:
    """Read what `write_layers` stored; EngineError where it is missing or something else."""
    try:
        rows = json.loads((directory / LAYERS_NAME).read_text(encoding="utf-8"))
        return [LayerPrecision(**{**row, "nodes": tuple(row["nodes"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EngineError(f"{directory / LAYERS_NAME} cannot be read ({error}); rebuild the engine") from error


def telling_line(error: BaseException) -> str:
    """Return the line of a runtime's message that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    meant = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (meant or lines or [type(error).__name__])[-1][:300]
