"""A Jetson's power modes, by nvpmodel's configuration and answers as boards were seen to give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefsa.machine.nvpmodel import PowerMode, current_power_mode, find_power_mode, power_modes
from tests.unit.recorded import BOARDS, play

SUPER = [PowerMode(0, "15W"), PowerMode(1, "25W"), PowerMode(2, "MAXN_SUPER")]
AGX = [PowerMode(0, "MAXN"), PowerMode(1, "MODE_15W"), PowerMode(2, "MODE_30W"), PowerMode(3, "MODE_50W")]


@pytest.mark.parametrize("board", BOARDS)
def test_the_mode_that_is_on_is_one_of_those_configured(board: str, tmp_path: Path) -> None:
    machine = play(board, tmp_path)
    modes = power_modes(tmp_path)
    assert len(modes) >= 3 and current_power_mode(machine.ask) in modes
    assert find_power_mode("MAXN", modes) is not None


def test_modes_of_two_boards(tmp_path: Path) -> None:
    play("orin-nano-jetpack6.2", tmp_path / "nano")
    play("agx-orin-jetpack6.2.1", tmp_path / "agx")
    assert power_modes(tmp_path / "nano") == SUPER and power_modes(tmp_path / "agx") == AGX


def test_without_nvpmodel(tmp_path: Path) -> None:
    assert power_modes(tmp_path, lambda command: "") == []
    assert current_power_mode(lambda command: "") is None
    assert current_power_mode(lambda command: "NVPM ERROR: failed to read PARAM\n") is None


def test_modes_as_nvpmodel_prints_them(tmp_path: Path) -> None:
    printed = "NVPM VERB: parsing done\nNVPM VERB: POWER_MODEL: ID=0 NAME=15W\n# POWER_MODEL ID=9 NAME=X\n"
    assert power_modes(tmp_path, lambda command: printed) == [PowerMode(0, "15W")]


@pytest.mark.parametrize(
    ("asked", "modes", "found"),
    [
        *[("25W", SUPER, 1), ("25w", SUPER, 1), ("MAXN", SUPER, 2), ("maxn_super", SUPER, 2), ("MAXN", AGX, 0)],
        *[("30W", AGX, 2), ("MODE_30W", AGX, 2), ("10W", SUPER, None), ("", SUPER, None), ("5W", AGX, None)],
        ("MAXN", [*SUPER, PowerMode(3, "MAXN_2CORE")], None),
    ],
)
def test_a_mode_by_the_name_that_people_use(asked: str, modes: list[PowerMode], found: int | None) -> None:
    mode = find_power_mode(asked, modes)
    assert (mode.number if mode else None) == found
