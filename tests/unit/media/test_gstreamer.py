"""The text of GStreamer pipelines."""

from __future__ import annotations

import cv2
import pytest

from edgefsa.errors import SourceError
from edgefsa.media.gstreamer import csi_pipeline, require_gstreamer, with_sink

END = "videoconvert ! video/x-raw, format=BGR ! appsink drop=1 max-buffers=1 sync=false"


def test_a_csi_camera_gives_its_newest_frame_as_bgr() -> None:
    assert csi_pipeline(0) == (
        "nvarguscamerasrc sensor-id=0 ! "
        "video/x-raw(memory:NVMM), width=1280, height=720, format=NV12, framerate=30/1 ! "
        f"nvvidconv flip-method=0 ! video/x-raw, format=BGRx ! {END}"
    )


@pytest.mark.parametrize(("fps", "fraction"), [(60.0, "60/1"), (29.97, "2997/100"), (30000 / 1001, "30000/1001")])
def test_size_and_rate_are_asked_of_the_sensor(fps: float, fraction: str) -> None:
    pipeline = csi_pipeline(2, (1080, 1920), fps)
    assert pipeline.startswith("nvarguscamerasrc sensor-id=2 ! ")
    assert f"width=1920, height=1080, format=NV12, framerate={fraction} !" in pipeline


@pytest.mark.parametrize(("flip", "method"), [(None, 0), ("180", 2), ("h", 4), ("v", 6)])
def test_the_converter_flips(flip: str | None, method: int) -> None:
    assert f"nvvidconv flip-method={method} " in csi_pipeline(0, flip=flip)


def test_a_pipeline_without_a_sink_gets_one() -> None:
    assert with_sink(" videotestsrc ! videoscale ! ") == f"videotestsrc ! videoscale ! {END}"
    assert with_sink("videotestsrc ! appsink") == "videotestsrc ! appsink"


def test_an_opencv_without_gstreamer_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda api: api != cv2.CAP_GSTREAMER)
    with pytest.raises(SourceError, match=r"csi://0 needs an OpenCV with GStreamer.*--system-site-packages"):
        require_gstreamer("csi://0")
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda api: api == cv2.CAP_GSTREAMER)
    require_gstreamer("csi://0")
