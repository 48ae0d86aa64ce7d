"""What every sink is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.segment.overlay import OverlayStyle

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame


class Sink(ABC):
    """Takes frames with their masks; a context manager. `outputs` lists the files once they are whole.

    The pipeline calls `start`, `write` and `poll` in one thread, which is the main one where `in_main_thread` is true,
    and enters and leaves the sink in another. A sink that wants `every_frame` gets all that there is time for; one that
    does not (a view) only the newest. `name` is what figures and messages call it.
    """

    name = "sink"
    every_frame = True
    in_main_thread = False

    def __init__(self, style: OverlayStyle | None = None) -> None:
        self.style = style or OverlayStyle()
        self.outputs: list[Path] = []

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def start(self, run: Run) -> None:  # noqa: B027 most sinks need nothing of it
        """Take note of the run that the frames belong to, with its controls and figures; called before the first."""

    @abstractmethod
    def write(self, frame: SegmentedFrame) -> None:
        """Take one frame; OutputError where it cannot be written."""

    def poll(self) -> None:  # noqa: B027 most sinks have nothing to do meanwhile
        """Do what is due between frames; called at least some ten times a second."""
