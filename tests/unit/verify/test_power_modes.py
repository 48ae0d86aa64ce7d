"""Power modes are switched, measured in, and put back whatever happens; a program with a state plays nvpmodel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefsa.errors import InputError
from edgefsa.machine.nvpmodel import PowerMode, check_may_switch
from edgefsa.verify import power_modes
from edgefsa.verify.power_modes import measured_in, modes_from_text
from tests.unit.verify.fake_nvpmodel import FakeNvpmodel

# Says the mode that it measures in and then takes its time.
DRIVER = """
import sys, time
from edgefsa import console
from edgefsa.verify import power_modes
power_modes.SETTLE_S = 0.0
def measure(mode):
    print("in", mode.name, flush=True)
    time.sleep(300)
modes = power_modes.modes_from_text("15W,MAXN")
print("ready", flush=True)
console.run(lambda: power_modes.measured_in(modes, measure) and None)
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvpmodel:
    fake = FakeNvpmodel(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(power_modes, "SETTLE_S", 0.0)
    return fake


def test_each_mode_is_measured_in_and_the_first_comes_back(board: FakeNvpmodel) -> None:
    modes = modes_from_text("MAXN, 15W")
    assert modes == [PowerMode(2, "MAXN_SUPER"), PowerMode(0, "15W")]
    results = measured_in(modes, lambda mode: board.mode)
    assert results == [(modes[0], "MAXN_SUPER"), (modes[1], "15W")]
    assert board.mode == "25W" and board.log()[-1] == "done 1"


def test_an_unknown_mode_is_refused_with_those_that_there_are(board: FakeNvpmodel) -> None:
    with pytest.raises(InputError, match="power mode 7W is not one of this board's, which are 15W, 25W, MAXN_SUPER"):
        modes_from_text("15W,7W")
    with pytest.raises(InputError, match=r"power mode \(empty\)"):
        modes_from_text("15W,")
    assert board.log() == []


def test_without_nvpmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="nvpmodel is not here"):
        modes_from_text("15W")


def test_an_error_in_the_measuring_puts_the_mode_back(board: FakeNvpmodel) -> None:
    def measure(mode: PowerMode) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measured_in(modes_from_text("15W"), measure)
    assert board.mode == "25W"


def test_a_mode_that_needs_a_restart(board: FakeNvpmodel) -> None:
    board.refuse("Reboot required for changing to this power mode")
    with pytest.raises(InputError, match=r"did not switch to 15W .*Reboot required.* sudo nvpmodel -m 0"):
        measured_in(modes_from_text("15W"), lambda mode: None)
    assert board.mode == "25W"


def test_a_user_who_is_not_root_goes_by_sudo(board: FakeNvpmodel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    sudo = board.folder / "sudo"
    sudo.write_text(sudo.read_text().replace("#!/bin/sh", f'#!/bin/sh\necho "$@" >> {board.folder}/asked'))
    check_may_switch()
    assert measured_in(modes_from_text("15W"), lambda mode: board.mode) == [(PowerMode(0, "15W"), "15W")]
    asked = (board.folder / "asked").read_text().splitlines()
    switches = [f"--non-interactive nvpmodel -m {number}" for number in (0, 1)]
    assert asked == ["--validate", *switches] and board.mode == "25W"

    sudo.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(InputError, match="needs root, and sudo does not give it"):
        check_may_switch()
    sudo.unlink()
    monkeypatch.setenv("PATH", str(board.folder))
    with pytest.raises(InputError, match="needs root"):
        check_may_switch()


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be so in time"
        time.sleep(0.01)


def started(fake: FakeNvpmodel) -> subprocess.Popen[str]:
    environment = {**os.environ, "PATH": f"{fake.folder}{os.pathsep}{os.environ['PATH']}"}
    program = subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    assert program.stdout is not None and program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_while_it_measures(name: str, status: int, tmp_path: Path) -> None:
    """As a terminal sends it: to every process of the group."""
    fake = FakeNvpmodel(tmp_path / "bin")
    with started(fake) as program:
        assert program.stdout is not None and program.stdout.readline() == "in 15W\n"
        assert fake.mode == "15W"
        os.killpg(program.pid, getattr(signal, name))
        assert program.wait(60) == status
    assert fake.mode == "25W"
    assert fake.log() == ["begun 0", "done 0", "begun 1", "done 1"]


def test_a_signal_while_it_switches_waits_for_the_switch(tmp_path: Path) -> None:
    fake = FakeNvpmodel(tmp_path / "bin", seconds=1.0)
    with started(fake) as program:
        until(lambda: fake.log() == ["begun 0"])
        os.killpg(program.pid, signal.SIGINT)
        assert program.wait(60) == 130
    assert fake.mode == "25W" and fake.log() == ["begun 0", "done 0", "begun 1", "done 1"]


def test_a_second_signal_does_not_keep_the_mode_from_coming_back(tmp_path: Path) -> None:
    fake = FakeNvpmodel(tmp_path / "bin", seconds=1.0)
    with started(fake) as program:
        assert program.stdout is not None and program.stdout.readline() == "in 15W\n"
        os.killpg(program.pid, signal.SIGINT)
        until(lambda: fake.log()[-1] == "begun 1")
        os.killpg(program.pid, signal.SIGINT)
        os.killpg(program.pid, signal.SIGTERM)
        assert program.wait(60) in (130, 143)
    assert fake.mode == "25W" and fake.log()[-1] == "done 1"
