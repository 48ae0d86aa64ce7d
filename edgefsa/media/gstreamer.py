"""GStreamer pipelines for OpenCV, which JetPack's is built with: CSI cameras, and whatever a user writes."""

from __future__ import annotations

from fractions import Fraction

import cv2

from edgefsa.errors import SourceError

DEFAULT_SIZE_HW, DEFAULT_FPS = (720, 1280), 30.0
# nvvidconv's numbers for what `--flip` names.
_FLIP_METHODS = {None: 0, "180": 2, "h": 4, "v": 6}
# The newest frame alone waits, and none is held back for its time.
_SINK = "videoconvert ! video/x-raw, format=BGR ! appsink drop=1 max-buffers=1 sync=false"


def csi_pipeline(
    sensor: int, size_hw: tuple[int, int] | None = None, fps: float | None = None, flip: str | None = None
) -> str:
    """Return the pipeline of a CSI camera on a Jetson: 1280 x 720 at 30 frames a second unless asked otherwise.

    `flip` is "h" (left and right), "v" (top and bottom), "180" or None; the video converter does it.
    """
    height, width = size_hw or DEFAULT_SIZE_HW
    rate = Fraction(fps or DEFAULT_FPS).limit_denominator(1001)
    caps = f"width={width}, height={height}, format=NV12, framerate={rate.numerator}/{rate.denominator}"
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM), {caps} ! "
        f"nvvidconv flip-method={_FLIP_METHODS[flip]} ! video/x-raw, format=BGRx ! {_SINK}"
    )


def with_sink(pipeline: str) -> str:
    """Return a user's pipeline with an end that OpenCV reads frames from, where it has none."""
    pipeline = pipeline.strip().rstrip("!").rstrip()
    return pipeline if "appsink" in pipeline else f"{pipeline} ! {_SINK}"


def require_gstreamer(spec: str) -> None:
    """Raise SourceError where this OpenCV has no GStreamer."""
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"{spec} needs an OpenCV with GStreamer, and {cv2.__version__} here, like every one that pip installs, has "
            "none; use JetPack's: apt install python3-opencv, python3 -m venv --system-site-packages, and pip "
            "uninstall opencv-python-headless in it"
        )
