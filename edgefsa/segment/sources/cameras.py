"""Cameras: V4L2 and whatever else OpenCV opens by a number or a path, CSI cameras and GStreamer pipelines."""

from __future__ import annotations

from collections.abc import Iterator

from edgefsa.media.camera import Camera, CameraRequest, CapturedFrame
from edgefsa.media.feed import Feed, Newest
from edgefsa.segment.sources.live import LiveSource, Patience


class CameraSource(LiveSource[CapturedFrame]):
    """A camera by its number, its path or (`pipeline`) the GStreamer pipeline that reads it.

    It goes on until it is stopped; where it is unplugged, it goes on when it is back.
    """

    def __init__(
        self,
        device: int | str,
        name: str,
        label: str,
        request: CameraRequest | None = None,
        *,
        pipeline: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self._device, self._request, self._pipeline = device, request or CameraRequest(), pipeline
        self._granted = self._said = ""
        super().__init__(name, label, patience)

    def _connect(self) -> Feed[CapturedFrame]:
        self._newest = Newest()
        return Feed(self._open, self._newest)

    def _open(self) -> Camera:
        camera = Camera(self._device, self.label, self._request, pipeline=self._pipeline)
        self.fps = camera.fps
        self._granted = camera.granted
        return camera

    def _connected(self) -> None:
        super()._connected()
        if self._granted != self._said:
            self.note(self._granted)
            self._said = self._granted

    def _converted(self, item: CapturedFrame) -> Iterator[CapturedFrame]:
        yield item

    def _left_out(self) -> int:
        return self._newest.dropped
