"""The program that measures the memory of builds, on one small graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="the program builds OpenVINO engines: pip install 'edgefsa[cpu]'")


def test_peaks_are_measured_beside_their_estimates(program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program("build_memory").main(["--quick", "--results", str(tmp_path)])
    printed = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("fsanet-edge")]
    record = json.loads((tmp_path / "build-memory.json").read_text())
    assert [row["work"] for row in record["rows"]] == ["calibration", "openvino fp32"]
    for row, cells in zip(record["rows"], printed, strict=True):
        assert 50 < row["peak_mb"] < int(cells[-1]) and cells[-2] == f"{row['peak_mb']:.0f}"
        assert row["size_hw"] == [64, 96] and row["activations_mb"] > row["calibrated_mb"] > 0
    assert record["command"] == "python benchmarks/build_memory.py" and record["machine"]["memory_gib"]


def test_the_peak_is_that_of_the_program_alone(program) -> None:
    """A process begins with the peak of the one that starts it: a ballast here must not show."""
    build_memory = program("build_memory")
    ballast = b"x" * (400 << 20)
    code = "import sys; sys.argv[1:] or sys.exit(3); block = b'x' * (100 << 20)"
    peak = build_memory.peak_mb("argument", command=("-c", code))
    assert 100 < peak < 200 and len(ballast) == 400 << 20
    with pytest.raises(SystemExit, match="ended with 3"):
        build_memory.peak_mb(command=("-c", code))
