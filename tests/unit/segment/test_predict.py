"""What `predict_source` writes, of folders, videos and a camera."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edgefsa.media.labels import read_label
from edgefsa.segment import predict_source
from tests.unit.segment.fakes import FakeSession, moving_square


def test_predict_a_folder(tmp_path: Path, fake_engine: FakeSession) -> None:
    from edgefsa.media.pictures import write_image

    for index in range(3):
        write_image(tmp_path / "in" / f"i{index}.png", moving_square(index, (96, 128)))
    result = predict_source("engine", tmp_path / "in", tmp_path / "out")
    assert result["frames"] == 3
    assert [Path(path).name for path in result["outputs"]][:2] == ["i0_overlay.jpg", "i0_mask.png"]
    assert read_label(result["outputs"][5]).shape == (96, 128)
    assert fake_engine.entered == 0


@pytest.mark.parametrize(("output", "expected"), [("out", "out/clip_overlay.mp4"), ("deep/x.avi", "deep/x.avi")])
def test_predict_a_video(tmp_path: Path, fake_engine: FakeSession, make_video: Any, output: str, expected: str) -> None:
    (tmp_path / "clip.avi").write_bytes(make_video("a.avi", "MJPG").read_bytes())
    result = predict_source("engine", tmp_path / "clip.avi", tmp_path / output, limit=6)
    assert result["outputs"] == [str(tmp_path / expected)]
    assert (tmp_path / expected).stat().st_size > 1000
    assert (result["frames"], result["notes"]) == (6, [])
    assert result["median_latency_ms"] > 0


def test_predict_says_that_a_video_was_cut(tmp_path: Path, fake_engine: FakeSession, make_video: Any) -> None:
    data = make_video("a.avi", "MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    result = predict_source("engine", tmp_path / "cut.avi", tmp_path / "out")
    assert len(result["notes"]) == 1
    assert f"{result['frames']} frames, {result['frames'] / 25:.2f} of its 0.80 s" in result["notes"][0]


def test_predict_does_the_rest_of_a_folder_with_a_bad_image(tmp_path: Path, fake_engine: FakeSession) -> None:
    from edgefsa.media.pictures import write_image

    for name in "ac":
        write_image(tmp_path / "in" / f"{name}.png", moving_square(0))
    (tmp_path / "in" / "b.png").write_bytes(b"broken")
    result = predict_source("engine", tmp_path / "in", tmp_path / "out")
    assert result["frames"] == 2
    assert [failure["file"] for failure in result["failed"]] == [str(tmp_path / "in" / "b.png")]
    assert "b.png is not a picture" in result["failed"][0]["reason"]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a_mask.png", "a_overlay.jpg", "c_mask.png", "c_overlay.jpg"]


class SlowCamera:
    """A frame every 0.15 s, as a camera in the dark gives them, though it says 30 a second."""

    def __init__(self, *_: object) -> None:
        pass

    def get(self, _: int) -> float:
        return 30.0

    def grab(self) -> bool:
        time.sleep(0.15)
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, moving_square(3)

    def release(self) -> None:
        pass


def test_a_recording_from_a_camera_lasts_as_long_as_it_took(
    tmp_path: Path, fake_engine: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", SlowCamera)
    begun = time.monotonic()
    result = predict_source("engine", "camera:0", tmp_path, limit=5)
    took_s = time.monotonic() - begun
    with av.open(result["outputs"][0]) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert len(times) == result["frames"]
    assert 0.55 <= times[-1] <= took_s, "0.6 s of waiting are 0.6 s of video, not 5 frames at 30 a second"
