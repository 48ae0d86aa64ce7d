"""Nowhere: what measures a run without what becomes of its masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefsa.segment.sinks.base import Sink

if TYPE_CHECKING:
    from edgefsa.segment.run import SegmentedFrame


class NullSink(Sink):
    """Takes every frame and does nothing with it."""

    name = "null"

    def write(self, frame: SegmentedFrame) -> None:
        """Do nothing."""
