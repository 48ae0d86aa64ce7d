"""The programs about live runs, from end to end, at a length that tells nothing but that they work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgefsa.build import ModelRequest, export_model
from edgefsa.engines import build_engine

pytest.importorskip("openvino", reason="the programs measure OpenVINO engines: pip install 'edgefsa[cpu]'")
pytest.importorskip("uvicorn", reason="the programs serve live views: pip install 'edgefsa[serve]'")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("engine")
    export_model(ModelRequest(size_hw=(64, 96)), folder / "m.onnx")
    return build_engine(folder / "m.onnx", folder, precision="fp32", target="openvino").engine


def test_every_part_is_measured_and_laid_out(
    program: Any, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = program("live")
    monkeypatch.setattr(live, "build", lambda *_: engine)
    monkeypatch.setattr(live, "SIZE_HW", (64, 96))
    monkeypatch.setattr(live, "HD_HW", (96, 128))
    monkeypatch.setattr(live, "ROUNDS", 1)
    monkeypatch.setattr(live, "VIEWERS", 2)
    live.main(["--seconds", "1.5", "--results", str(tmp_path)])
    record = json.loads((tmp_path / "live-cpu.json").read_text())
    parts = record["rows"]
    assert set(parts) == set(live.PARTS) and record["machine"]["cpu"]
    assert parts["throughput"]["share"] == pytest.approx(
        parts["throughput"]["pipeline_fps"] / parts["throughput"]["bench_fps"], rel=0.02
    )
    assert parts["camera"]["frames"] > 10 and parts["camera"]["camera_to_mask_p95_ms"] > 0
    assert [row["viewers"] for row in parts["viewers"]] == ["nobody", "one", "2, one of them silent"]
    assert parts["viewers"][1]["pictures_a_second"] > 0, "the viewer got pictures"
    assert parts["record"]["slowest_ms"] == max(parts["record"][f"{key}_ms"] for key in ("overlay", "h264", "engine"))
    rows = live.lines(parts)
    assert len(rows) == 6 and all(len(row) == len(live.HEADER) for row in rows)

    live.main(["throughput", "--seconds", "0.3", "--results", str(tmp_path)])
    kept = json.loads((tmp_path / "live-cpu.json").read_text())["rows"]
    assert kept["camera"] == parts["camera"], "parts that are not measured again stay"
    with pytest.raises(SystemExit):
        live.main(["speed"])


def test_a_soak_sees_failures_recovery_and_growth(
    program: Any, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soak = program("soak")
    monkeypatch.setattr(soak, "built_elsewhere", lambda _: engine)
    monkeypatch.setattr(soak, "GROWTH_ALLOWED", 10.0)  # it is far from settled
    monkeypatch.setattr(soak, "_growth", lambda samples: {"steady": len(samples) > 2})
    soak.main(["--minutes", "0.15", "--failures", "2", "--results", str(tmp_path)])
    found = json.loads((tmp_path / "soak-cpu.json").read_text())["rows"]
    assert found["failures"] >= 1 and found["recovered"] and found["frames"] > 20
    assert any(re.search(r"is lost", note) for note in found["notes"])


def test_growth_is_that_after_the_first_minute(program: Any) -> None:
    soak = program("soak")
    rising = [(float(second), (100 + (second < 50) * second) * 10**6, 20, 9) for second in range(600)]
    assert soak._growth(rising)["steady"]
    leaking = [(float(second), (1000 + second) * 10**5, 20, 9) for second in range(600)]
    assert soak._growth(leaking)["rss_growth"] > 0.02 and not soak._growth(leaking)["steady"]
    assert not soak._growth([(*sample[:2], 20 + second // 300, 9) for second, sample in enumerate(rising)])["steady"]


def test_fifty_failures_are_of_every_kind(program: Any) -> None:
    from tests.servers.mjpeg import FAULTS_AT_ONCE, FAULTS_LATER

    kinds = program("soak").faults(50)
    assert len(kinds) == 50 and set(kinds) == {*FAULTS_AT_ONCE, *FAULTS_LATER}
