"""`edgefsa bench --power-modes` on the command line, with a program nvpmodel that keeps a state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgefsa import console
from edgefsa.verify import power_modes
from tests.commands.conftest import Run
from tests.unit.verify.fake_nvpmodel import FakeNvpmodel


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvpmodel:
    fake = FakeNvpmodel(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(power_modes, "SETTLE_S", 0.0)
    return fake


def test_rows_say_their_mode(board: FakeNvpmodel, run: Run, built: Path) -> None:
    arguments = ("bench", built, "--rounds", 2, "--warmup", 0, "--power-modes", "15W,MAXN", "--yes")
    rows = run(*arguments, "--json").json
    assert [row["power_mode"] for row in rows] == ["15W", "MAXN_SUPER"]
    assert all(row["latency_ms"]["count"] == 2 for row in rows)
    assert board.mode == "25W"
    assert f"MAXN_SUPER: {built.name}" in run(*arguments).out


def test_it_asks_first(board: FakeNvpmodel, run: Run, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(console, "confirm", lambda question: asked.append(question) or False)
    message = run("bench", built, "--power-modes", "15W").error()
    assert "nothing was measured" in message and board.log() == []
    assert asked == ["Switch this board to 15W and back to 25W, for all that runs on it?"]


def test_where_nobody_can_answer_it_stops(board: FakeNvpmodel, run: Run, built: Path) -> None:
    assert "give --yes" in run("bench", built, "--power-modes", "15W").error()
    assert board.log() == []


def test_a_mode_or_a_program_that_is_missing(board: FakeNvpmodel, run: Run, built: Path) -> None:
    assert "15W, 25W, MAXN_SUPER" in run("bench", built, "--power-modes", "60W", "--yes").error()
    (board.folder / "nvpmodel").unlink()
    assert "nvpmodel is not here" in run("bench", built, "--power-modes", "15W", "--yes").error()


def test_no_engine_no_switch(board: FakeNvpmodel, run: Run, tmp_path: Path) -> None:
    assert "edgefsa build" in run("bench", tmp_path, "--power-modes", "15W", "--yes").error()
    assert board.log() == []


def test_ctrl_c_in_the_middle_puts_the_mode_back(board: FakeNvpmodel, built: Path) -> None:
    command = [sys.executable, "-m", "edgefsa.cli", "bench", str(built), "--rounds", "1000000000"]
    program = subprocess.Popen(
        [*command, "--power-modes", "15W,MAXN", "--yes", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while board.log() != ["begun 0", "done 0"]:
            assert program.poll() is None, program.communicate()
        os.killpg(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=120)
    finally:
        program.kill()
    assert program.returncode == 130 and out == "", err
    assert board.mode == "25W" and board.log()[-1] == "done 1"


def test_energy_and_conditions_are_said(run: Run, built: Path) -> None:
    outcome = run("bench", built, "--rounds", 2, "--warmup", 0)
    assert (
        "meanwhile " in outcome.out and "energy: no power can be read here" in outcome.out
    ) or " mJ a frame" in outcome.out
    (row,) = json.loads(run("bench", built, "--rounds", 2, "--warmup", 0, "--json").out)
    assert set(row["conditions"]) >= {"temperature_c", "gpu_clock_mhz", "throttled", "power_w"}
