"""JSON lines: what they say, that they can be followed, and what happens when nobody reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from edgefsa.errors import OutputError
from edgefsa.segment import JsonLinesSink
from tests.unit.segment.fakes import NAMES
from tests.unit.segment.sinks.frames import run_of, segmented

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("live", [False, True])
def test_a_line_has_time_shares_latency_and_engine(tmp_path: Path, live: bool) -> None:
    before = datetime.now(timezone.utc)
    with JsonLinesSink(tmp_path / "logs" / "a.jsonl") as sink:
        sink.start(run_of(live=live))
        sink.write(segmented(7))
    assert sink.outputs == [tmp_path / "logs" / "a.jsonl"]
    (line,) = sink.outputs[0].read_text().splitlines()
    record = json.loads(line)
    assert abs(datetime.fromisoformat(record["time"]) - before) < timedelta(seconds=20)
    assert (record["index"], record["time_s"], record["name"]) == (7, 0.28, "f7")
    assert record["engine"] == "fake-fp32"
    mask = segmented(7).segmentation.mask
    assert record["shares"] == {NAMES[index]: round(float((mask == index).mean()), 6) for index in np.unique(mask)}
    expected = {"prepare": 0.1, "engine": 0.8, "mask": 0.1, "frame_to_mask": 1.0}
    assert record["latency_ms"] == expected | ({"camera_to_mask": 2.5} if live else {})


def test_each_line_is_there_at_once_and_earlier_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("earlier\n")
    with JsonLinesSink(path) as sink:
        for index in range(3):
            sink.write(segmented(index))
            lines = path.read_text().splitlines()
            assert (lines[0], len(lines)) == ("earlier", index + 2)
            assert json.loads(lines[-1])["index"] == index


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*: is a directory"), JsonLinesSink(tmp_path):
        pass
    with JsonLinesSink("/dev/full") as sink, pytest.raises(OutputError, match="/dev/full: no space left"):
        sink.write(segmented(0))


def test_a_reader_that_goes_away_ends_the_run() -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from edgefsa.segment import JsonLinesSink, Segmenter, run_pipeline
from tests.unit.segment.fakes import FakeSession
from tests.unit.segment.sinks.frames import Squares
with Segmenter(FakeSession()) as segmenter, JsonLinesSink("-") as sink:
    report = run_pipeline(Squares(10_000_000), segmenter, [sink])
print("ended after", report.statistics.frames, "frames", file=sys.stderr)
os._exit(0)  # the interpreter would write what is left to the reader that is gone
"""
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert program.stdout is not None and program.stderr is not None
    assert json.loads(program.stdout.readline())["index"] == 0
    program.stdout.close()
    assert program.stderr.read().startswith("ended after ")
    assert program.wait(60) == 0
