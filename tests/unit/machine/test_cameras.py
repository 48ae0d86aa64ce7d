"""The cameras that Linux shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgefsa.machine.cameras import Camera, cameras
from tests.unit.recorded import play


def test_a_csi_camera(tmp_path: Path) -> None:
    play("orin-nano-jetpack6.2", tmp_path)
    assert cameras(tmp_path) == [Camera("/dev/video0", "vi-output, imx219 9-0010", "csi", True)]


def test_a_webcam_is_one_camera_though_it_has_two_nodes(tmp_path: Path) -> None:
    play("desktop", tmp_path)
    assert cameras(tmp_path) == [Camera("/dev/video0", "HD Pro Webcam C920", "usb", True)]


def test_numbers_are_in_order_and_other_kinds_are_other(tmp_path: Path) -> None:
    for number in (10, 2):
        folder = tmp_path / f"sys/class/video4linux/video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text("Virtual Camera\n")
    assert [(camera.device, camera.kind) for camera in cameras(tmp_path)] == [
        ("/dev/video2", "other"),
        ("/dev/video10", "other"),
    ]
    assert not any(camera.readable for camera in cameras(tmp_path))


def test_one_that_may_not_be_opened(tmp_path: Path) -> None:
    play("desktop", tmp_path)
    (tmp_path / "dev/video0").chmod(0)
    if os.access(tmp_path / "dev/video0", os.R_OK):
        pytest.skip("root may open every file")
    assert not cameras(tmp_path)[0].readable


def test_a_machine_with_nothing(tmp_path: Path) -> None:
    assert cameras(tmp_path) == []
