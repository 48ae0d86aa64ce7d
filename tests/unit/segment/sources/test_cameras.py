"""Cameras, played: unplugged and plugged in again, hanging in their driver, asked for more than they have."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from edgefsa.errors import InputError, SourceError
from edgefsa.segment import Segmenter, SourceOptions, open_source, run_pipeline
from edgefsa.segment.sources import CameraSource, Patience
from tests.unit.segment.fakes import FakeSession, moving_square

QUICK = Patience(open_s=20.0, silent_s=20.0, retry_s=0.01, longest_retry_s=0.02)


class Plug:
    """What a played camera does: how many frames it gives each time that it is opened (0: none), and whether it then
    hangs in its driver until `go`.
    """

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.hangs = False
        self.go = threading.Event()
        self.opened: list[Any] = []
        self.open_now = 0
        self.size_hw = (48, 64)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Any:
    plug = Plug()

    class Capture:
        def __init__(self, device: int | str, api: int) -> None:
            plug.opened.append((device, api))
            plug.open_now += 1
            self.left = plug.frames.pop(0) if plug.frames else 10**9

        def set(self, *_: object) -> bool:
            return True

        def get(self, prop: int) -> float:
            return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

        def grab(self) -> bool:
            time.sleep(0.01)
            self.left -= 1
            if self.left < 0 and plug.hangs:
                plug.go.wait(60)
            return self.left >= 0

        def retrieve(self) -> tuple[bool, np.ndarray]:
            return True, moving_square(3, plug.size_hw)

        def release(self) -> None:
            plug.open_now -= 1

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    yield plug
    plug.go.set()
    begun = time.monotonic()
    while plug.open_now and time.monotonic() - begun < 20:
        time.sleep(0.01)
    assert plug.open_now == 0, "a camera was left open"


def camera(patience: Patience = QUICK) -> tuple[CameraSource, list[str]]:
    source = CameraSource(0, "camera0", "camera 0", patience=patience)
    said: list[str] = []
    source.on_note = said.append
    source.on_reconnect = lambda: said.append("reconnect")
    return source, said


def test_a_camera_gives_live_frames_and_says_what_it_grants(plug: Plug) -> None:
    with open_source("camera:0", SourceOptions(camera_size_hw=(720, 1280))) as source:
        frames = list(itertools.islice(source, 5))
    assert isinstance(source, CameraSource)
    assert (source.live, source.total, source.fps, source.name) == (True, None, 30.0, "camera0")
    assert source.notes == ["camera 0: 64x48, 30 frames a second (1280x720 was asked for)"]
    times = [frame.time_s for frame in frames]
    assert times[0] == 0.0
    assert min(np.diff(times)) >= 0.009, "the clock's times"
    assert [frame.name for frame in frames[:2]] == ["camera0_000000", "camera0_000001"]


def test_frames_that_nobody_had_time_for_are_counted(plug: Plug) -> None:
    source, _ = camera()
    left_out: list[int] = []
    source.on_drop = left_out.append
    with source:
        time.sleep(0.3)  # as long as an engine takes to open: no loss
        for frame in source:
            if frame.index == 1:
                assert left_out == []
                time.sleep(0.2)
            if frame.index == 4:
                break
    assert sum(left_out) >= 1


def test_a_camera_that_is_unplugged_goes_on_when_it_is_back(plug: Plug) -> None:
    plug.frames = [8, 0, 0]
    source, said = camera()
    with source:
        for _ in source:
            if "reconnect" in said:
                break
    assert said[0] == "camera 0: 64x48, 30 frames a second"
    assert said[1] == "camera 0 is lost (it ended); it is opened again as soon as that works"
    assert said[2] == "camera 0 is still lost: gives no frames"
    assert said[3].startswith("camera 0 is back after ")
    assert said[4:] == ["reconnect"], "what it grants has not changed"
    assert len(plug.opened) == 4


def test_a_camera_that_comes_back_with_another_size_says_so(plug: Plug) -> None:
    plug.frames = [8]
    source, said = camera()
    with source:
        for _ in source:
            plug.size_hw = (24, 32)
            if "reconnect" in said:
                break
    assert said[0] == "camera 0: 64x48, 30 frames a second"
    assert said[-1] == "camera 0: 32x24, 30 frames a second"


def test_a_camera_that_hangs_is_said_and_not_opened_a_second_time(plug: Plug) -> None:
    plug.frames, plug.hangs = [5], True
    source, said = camera(replace(QUICK, silent_s=1.0))
    threading.Timer(3.0, plug.go.set).start()
    with source:
        for _ in source:
            assert plug.open_now == 1
            if "reconnect" in said:
                break
    assert said[1] == "camera 0 is lost (gave no frame for 1 s); it is opened again as soon as that works"
    assert len(plug.opened) == 2


def test_a_camera_that_hangs_does_not_keep_the_pipeline_from_ending(plug: Plug) -> None:
    plug.frames, plug.hangs = [5], True
    begun = time.monotonic()
    with (
        CameraSource(0, "camera0", "camera 0", patience=Patience(silent_s=100.0)) as source,
        Segmenter(FakeSession()) as segmenter,
    ):
        report = run_pipeline(source, segmenter, [], duration_s=0.5)
    assert report.statistics.frames >= 1
    assert time.monotonic() - begun < 20
    assert plug.open_now == 1, "it still hangs in its driver"


@pytest.mark.parametrize("spec", ["0", "camera:0", "/dev/video0"])
def test_ways_to_name_a_camera(plug: Plug, spec: str) -> None:
    with open_source(spec) as source:
        next(iter(source))
    assert plug.opened == [(0, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)]
    assert source.name == "camera0"


def test_a_camera_by_its_lasting_name(plug: Plug) -> None:
    with open_source("/dev/v4l/by-id/usb-cam-index0") as source:
        next(iter(source))
    assert plug.opened[0][0] == "/dev/v4l/by-id/usb-cam-index0"
    assert source.name == "usb-cam-index0"


def test_cameras_of_gstreamer(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda api: True)
    asked = SourceOptions(camera_size_hw=(1080, 1920), camera_fps=60.0, flip="180")
    with open_source("csi://1", asked) as source:
        frame = next(iter(source))
    pipeline, api = plug.opened[0]
    assert api == cv2.CAP_GSTREAMER
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ! ")
    assert "width=1920, height=1080, format=NV12, framerate=60/1 ! nvvidconv flip-method=2" in pipeline
    assert np.array_equal(frame.frame, moving_square(3)), "the pipeline has turned it"
    with open_source("gst:v4l2src ! jpegdec", SourceOptions(flip="h")) as source:
        frame = next(iter(source))
    assert plug.opened[1][0].startswith("v4l2src ! jpegdec ! videoconvert ! ")
    assert np.array_equal(frame.frame, moving_square(3)[:, ::-1])


def test_without_gstreamer_its_cameras_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.videoio_registry, "hasBackend", lambda api: False)
    with pytest.raises(SourceError, match=r"csi://0 needs an OpenCV with GStreamer"):
        open_source("csi://0")
    with pytest.raises(SourceError, match=r"location=rtsp://\*\*\*@cam/s needs an OpenCV") as raised:
        open_source("gst:rtspsrc location=rtsp://root:hunter2@cam/s")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("camera:0", {"rate": 30.0}, "--rate means nothing for camera:0"),
        ("0", {"loop": True}, "--loop means nothing for 0"),
        ("csi://0", {"camera_format": "MJPG"}, "--camera-format means nothing for csi://0"),
        ("gst:videotestsrc", {"camera_fps": 30.0}, "--camera-fps means nothing for gst:videotestsrc"),
        ("gst: ", {}, "gst: names no pipeline"),
        ("csi://front", {}, "csi://front: 'front' is no whole number; write csi://0"),
    ],
)
def test_what_means_nothing_for_a_camera_is_refused(spec: str, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(spec, SourceOptions(**options))
