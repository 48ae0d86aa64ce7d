"""`edgefsa report` on a real engine: what it measures, the gate's exit status, and what it refuses before measuring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.conftest import Outcome, Run

QUICK = ("--data", "synthetic", "--limit", 8, "--rounds", 20, "--in-flight", 1, "--json")


@pytest.fixture
def first(run: Run, built: Path, tmp_path: Path) -> Any:
    """The report.json of a first run, as a value."""
    outcome = run("report", built, *QUICK, "-o", tmp_path / "first")
    assert outcome.status == 0, outcome.err
    return json.loads((tmp_path / "first" / "report.json").read_text())


def test_a_report_is_measured_and_then_a_baseline(run: Run, built: Path, tmp_path: Path, first: Any) -> None:
    (engine,) = first["engines"]
    assert engine["name"] == built.name and 0 <= engine["accuracy"]["miou"] <= 1
    assert 60 < engine["footprint"]["peak_rss_mib"] < 1500 and engine["footprint"]["open_s"] > 0
    assert engine["bytes_on_disk"] == sum(path.stat().st_size for path in built.iterdir())
    assert engine["macs"] > 10**8
    assert sum(part["count"] for part in engine["layer_map"]) == sum(engine["layers"].values())
    stages, whole = engine["stages_ms"], engine["frame_to_mask_ms"]["median"]
    assert list(stages) == ["prepare", "copy", "engine", "mask"] and 0 < sum(stages.values()) < 2 * whole
    assert len(engine["frames"]["names"]) == 8 and len(engine["times_ms"]["yardstick"]) == 20
    low, high = engine["intervals"]["miou"]
    assert 0 <= low <= high <= 1
    assert (tmp_path / "first" / "report.html").read_text().count("<svg") == 5

    baseline = tmp_path / "old.json"

    def again(*limits: str) -> Outcome:
        baseline.write_text(json.dumps(first))
        return run("report", built, *QUICK, "-o", tmp_path / "again", "--baseline", baseline, *limits)

    same = again("--max-drop", "0.5")
    assert same.status == 0 and "worse" not in same.err, same.err
    (drop, _) = same.json["gate"]["comparisons"]
    assert (drop["loss"], drop["low"], drop["high"], drop["verdict"]) == (0, 0, 0, "kept")

    better = [[min(hit + union // 20, union) for hit, union in zip(*rows, strict=True)] for rows in frames(engine)]
    engine["frames"]["hits"] = better
    engine["times_ms"]["frame_to_mask"] = [ms / 50 for ms in engine["times_ms"]["frame_to_mask"]]
    worse = again("--max-drop", "0.5", "--max-slowdown", "5%")
    assert worse.status == 3
    lines = [line for line in worse.err.splitlines() if line.startswith("worse: ")]
    assert [built.name in line for line in lines] == [True, True]
    assert "mIoU %" in lines[0] and "0.5 allowed" in lines[0]
    assert "frame to mask ms" in lines[1] and "5 % allowed" in lines[1]
    assert "Against the baseline" in (tmp_path / "again" / "report.html").read_text()
    assert again().status == 0, "without limits it only compares"


def frames(engine: Any) -> list[tuple[list[int], list[int]]]:
    return list(zip(engine["frames"]["hits"], engine["frames"]["unions"], strict=True))


def test_peers_are_set_beside_the_engines(run: Run, built: Path, tmp_path: Path) -> None:
    peers = tmp_path / "peers.json"
    peers.write_text('{"peers": [{"name": "PIDNet-S", "miou_percent": 80.1, "frame_to_mask_ms": 8.0}]}')
    outcome = run("report", built, *QUICK, "--peers", peers, "-o", tmp_path / "out")
    assert outcome.status == 0 and outcome.json["peers"][0]["name"] == "PIDNet-S"
    assert "PIDNet-S" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "content", "words"),
    [
        (("--baseline", "FILE"), None, "cannot read the baseline"),
        (("--baseline", "FILE"), "{", "is not JSON"),
        (("--baseline", "FILE"), '{"engines": [], "machine": {}, "date": ""}', "no format, as reports of earlier"),
        (("--baseline", "FILE"), '{"some": "json"}', "is no report of edgefsa"),
        (("--peers", "FILE"), "[]", "no object with a list of peers"),
        (("--max-drop", "0.5"), None, "add --baseline report.json"),
        (("--max-slowdown", "5%"), None, "add --baseline report.json"),
        (("--max-slowdown", "0.05"), None, "--max-slowdown 0.05 is no percentage"),
        (("--max-slowdown", "-5%"), None, "--max-slowdown -5% is no percentage"),
        (("--max-slowdown", "nan%"), None, "--max-slowdown nan% is no percentage"),
        (("--max-drop", "-1"), None, "--max-drop"),
    ],
)
def test_what_cannot_be_used_is_said_before_measuring(
    run: Run, built: Path, tmp_path: Path, options: tuple[str, str], content: str | None, words: str
) -> None:
    file = tmp_path / "file.json"
    if content is not None:
        file.write_text(content)
    name, value = options
    outcome = run("report", built, name, str(file) if value == "FILE" else value, "-o", tmp_path / "out")
    assert words in outcome.error()
    assert not (tmp_path / "out").exists()
