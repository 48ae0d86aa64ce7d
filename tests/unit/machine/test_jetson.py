"""Which Jetson a machine is, by the files of Jetson Linux."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefsa.machine.gpu_state import jetson_gpu_state
from edgefsa.machine.jetson import jetpack_of, jetson


def test_an_orin_nano(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
    )
    asked: list[list[str]] = []

    def ask(command: list[str]) -> str:
        asked.append(command)
        return "NV Power Mode: MAXN_SUPER\n2\n"

    assert jetson(tmp_path, ask) == {
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.3",
        "jetpack": "6.2",
        "power_mode": "MAXN_SUPER",
    }
    assert asked == [["nvpmodel", "-q"]]


def test_a_raspberry_pi_and_a_desktop_are_no_jetson(tmp_path: Path) -> None:
    assert jetson(tmp_path) is None
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B\0")
    assert jetson(tmp_path) is None


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        *[("38.4.0", "7.1"), ("38.2", "7.0"), ("38.2.1", "7.0"), ("38.3", "7")],
        *[("36.4.4", "6.2.1"), ("36.4.3", "6.2"), ("36.4", "6.1"), ("36.4.0", "6.1"), ("36.3.0", "6.0")],
        *[("36.4.5", "6"), ("36.4.7", "6"), ("36.9.1", "6"), ("36.40", "6")],
        *[("35.6.0", "5.1.4"), ("35.4.1", "5.1.2"), ("35.4", "5"), ("35.1", "5"), ("32.7.1", "4.6.1"), ("32.1", "4")],
        *[("99.1", None), ("3", None)],
    ],
)
def test_jetpack_of_a_jetson_linux_release(l4t: str, jetpack: str | None) -> None:
    assert jetpack_of(l4t) == jetpack


@pytest.mark.parametrize("name", ["17000000.gpu", "17000000.ga10b", "17000000.gv11b"])
def test_the_clock_of_a_jetsons_gpu(tmp_path: Path, name: str) -> None:
    assert jetson_gpu_state(tmp_path) is None
    folder = tmp_path / "sys/class/devfreq" / name
    folder.mkdir(parents=True)
    (folder / "cur_freq").write_text("624750000\n")
    assert jetson_gpu_state(tmp_path) == {"clock_mhz": 624.8, "clock_max_mhz": None}
    (folder / "max_freq").write_text("1020000000\n")
    assert jetson_gpu_state(tmp_path) == {"clock_mhz": 624.8, "clock_max_mhz": 1020.0}
