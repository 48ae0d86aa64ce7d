"""The report of a deployment, laid out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgefsa.deploy.deployment_report import report_text, write_report
from edgefsa.machine.telemetry import Sample, Window, energy_per_frame

TIMES = {"min": 1.0, "median": 2.0, "p95": 3.0, "p99": 4.0, "mean": 2.2, "count": 100}


@pytest.fixture
def report() -> dict:
    samples = [Sample(time_s=0.0, power_w=4.0, power_of="VDD"), Sample(time_s=10.0, power_w=4.0, power_of="VDD")]
    busy, idle = Window.of(samples, 0.0, 10.0), replace(Window.of(samples, 0.0, 10.0), power_w=3.0)
    energy = energy_per_frame(busy, idle, 1000)
    assert energy is not None
    bench = {
        **{"latency_ms": TIMES, "frame_to_mask_ms": {**TIMES, "median": 5.0}, "engine_fps": 500.0, "fps": 200.0},
        **{"conditions": busy.as_dict(), "energy": energy.as_dict()},
    }
    return {
        "time": "2026-01-02T03:04:05+00:00",
        "host": "user@[fe80::1%eth0]",
        "bundle": {"file": "street.edgefsa", "engine": "e", "sha256": "ab" * 32, "signed_by": "ann@example.org"},
        "board": {"python": "3.10.12", "architecture": "aarch64"},
        "doctor": {
            "cpu": {"name": "some CPU"},
            "findings": [
                {"level": "ok", "what": "all is well", "mend": None},
                {"level": "problem", "what": "no GStreamer in cv2", "mend": "pip uninstall opencv-python"},
            ],
            "jetson": {"model": "some board", "l4t": "36.4.3", "jetpack": "6.2", "power_mode": "MODE"},
        },
        "engine": {"engine": "engines/e", "build": {"detail": "2 of 2 int8 layers"}},
        "check": {"agreement": 0.99871, "needed": 0.98},
        "bench": [bench],
        "steps": {"copy": {"seconds": 1.24, "before": False}, "venv": {"seconds": 3.0, "before": True}},
        "notes": ["without the plugins: no nvcc"],
        "release": {"directory": "/home/user/edgefsa-board", "current": "b", "previous": "a", "removed": []},
    }


def test_people_read_what_the_json_says(report: dict, tmp_path: Path) -> None:
    paths = write_report(report, tmp_path / "report")
    assert [path.name for path in paths] == ["street-user-fe80-1-eth0.json", "street-user-fe80-1-eth0.txt"]
    assert json.loads(paths[0].read_text()) == report
    text = paths[1].read_text()
    for words in (
        "street.edgefsa, SHA-256 abababab",
        "ann@example.org",
        "Python 3.10.12, aarch64, some CPU, some board, JetPack 6.2, power mode MODE",
        "99.87 % of the pixels agree, 98.00 % must",
        "engine: median 2.00, p95 3.00, p99 4.00 ms, 500.0 fps",
        "frame to mask: median 5.00, p95 3.00, p99 4.00 ms, 200.0 fps",
        "4.00 W (VDD)",
        "10.0 mJ a frame above idle",
        "problem   no GStreamer in cv2; mended by: pip uninstall opencv-python",
        "copy 1.2, venv 3.0 s",
        "without the plugins: no nvcc",
        "/home/user/edgefsa-board/current -> releases/b",
        "releases/a",
    ):
        assert words in text, words


def test_what_there_is_not_is_said(report: dict) -> None:
    report["release"]["previous"] = report["bundle"]["signed_by"] = report["doctor"]["jetson"] = None
    report["bench"][0]["energy"] = None
    text = report_text(report)
    assert "no power can be read there" in text and "all is well" not in text
    assert "signed by nobody" in text and "before it nothing" in text and "JetPack" not in text
