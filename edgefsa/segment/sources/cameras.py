"""Cameras."""

from __future__ import annotations

from collections.abc import Iterator

from edgefsa.media.camera import Camera
from edgefsa.segment.sources.base import FrameSource, SourceFrame


class CameraSource(FrameSource):
    """A camera by its number; it goes on until it is stopped or unplugged. Times are those of the clock."""

    live = True

    def __init__(self, number: int) -> None:
        super().__init__(f"camera{number}")
        self._camera = Camera(number)
        self.fps = self._camera.fps

    def __iter__(self) -> Iterator[SourceFrame]:
        count = 0
        for timed in self._camera:
            yield SourceFrame(timed.frame, f"{self.name}_{count:06d}", count, timed.time_s)
            count += 1
        self.note(f"camera {self._camera.number} stopped after {count} frames")

    def close(self) -> None:
        """Release the camera, at the end of a read that is under way."""
        self._camera.close()
