"""Frames and masks to a function of the caller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgefsa.segment.sinks.base import Sink

if TYPE_CHECKING:
    from edgefsa.segment.run import Run, SegmentedFrame


class CallbackSink(Sink):
    """Calls a function with each frame, in a thread of the pipeline; the run ends where it returns False.

    Without `every_frame` it gets only the newest frame whenever it is done with the one before. What it raises ends
    the run, and is raised by `run_pipeline`.
    """

    name = "callback"

    def __init__(self, function: Callable[[SegmentedFrame], object], *, every_frame: bool = True) -> None:
        super().__init__()
        self._function = function
        self.every_frame = every_frame
        self._run: Run | None = None

    def start(self, run: Run) -> None:
        """Take note of the run that the function may end."""
        self._run = run

    def write(self, frame: SegmentedFrame) -> None:
        """Call the function."""
        if self._function(frame) is False and self._run is not None:
            self._run.stop()
