"""Which Jetson a machine is, by the files of Jetson Linux; the boards are recorded (samples/)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefsa.machine.gpu_state import jetson_gpu_state
from edgefsa.machine.jetson import jetson
from tests.unit.recorded import play

KEYS = ("module", "module_id", "soc", "compute_capability", "dla_cores", "l4t", "jetpack", "power_mode")


@pytest.mark.parametrize(
    ("board", "facts"),
    [
        (
            "orin-nano-jetpack6.2",
            ("Jetson Orin Nano 8GB developer kit", "p3767-0005", "tegra234", "8.7", 0, "36.4.3", "6.2", "MAXN_SUPER"),
        ),
        (
            "orin-nano-jetpack7.2",
            ("Jetson Orin Nano 8GB developer kit", "p3767-0005", "tegra234", "8.7", 0, "39.2.1", "7.2.1", "25W"),
        ),
        ("orin-nx-jetpack6.1", ("Jetson Orin NX 16GB", "p3767-0000", "tegra234", "8.7", 2, "36.4.0", "6.1", "15W")),
        (
            "agx-orin-jetpack6.2.1",
            ("Jetson AGX Orin 64GB", "p3701-0005", "tegra234", "8.7", 2, "36.4.4", "6.2.1", "MODE_30W"),
        ),
        (
            "agx-orin-jetpack7.2.2",
            ("Jetson AGX Orin 64GB", "p3701-0005", "tegra234", "8.7", 2, "39.2.2", "7.2.2", "MAXN"),
        ),
        (
            "thor-jetpack7.1",
            ("Jetson AGX Thor developer kit (T5000)", "p3834-0008", "tegra264", "11.0", 0, "38.4.0", "7.1", "120W"),
        ),
    ],
)
def test_each_board(board: str, facts: tuple[object, ...], tmp_path: Path) -> None:
    machine = play(board, tmp_path)
    found = jetson(tmp_path, machine.ask)
    assert found is not None and tuple(found[key] for key in KEYS) == facts
    assert found["model"].startswith("NVIDIA Jetson") and "\0" not in found["model"]
    assert found["power_mode"] in found["power_modes"]
    modes = list(found["power_modes"])
    assert [found["power_modes"][mode] for mode in modes] == list(range(len(modes)))


def test_a_raspberry_pi_and_a_desktop_are_no_jetson(tmp_path: Path) -> None:
    assert jetson(tmp_path, lambda command: "") is None
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B\0")
    assert jetson(tmp_path, lambda command: "") is None
    assert jetson(tmp_path / "desktop", play("desktop", tmp_path / "desktop").ask) is None


def test_a_container_on_a_jetson_says_its_release_by_the_core_package(tmp_path: Path) -> None:
    found = jetson(tmp_path, lambda command: "36.4.3-20250107174145" if command[-1] == "nvidia-l4t-core" else "")
    assert found is not None and (found["l4t"], found["jetpack"]) == ("36.4.3", "6.2")
    assert found["model"] is None and found["power_mode"] is None and found["power_modes"] == {}


def test_an_unknown_module_keeps_what_its_soc_says(tmp_path: Path) -> None:
    machine = play("orin-nx-jetpack6.1", tmp_path)
    compatible = "nvidia,p9999-0000+p3767-9999\0nvidia,tegra234\0"
    (tmp_path / "proc/device-tree/compatible").write_text(compatible)
    found = jetson(tmp_path, machine.ask)
    assert found is not None
    assert (found["module_id"], found["module"], found["dla_cores"]) == ("p3767-9999", None, None)
    assert (found["soc"], found["compute_capability"]) == ("tegra234", "8.7")


@pytest.mark.parametrize("name", ["17000000.gpu", "17000000.ga10b", "17000000.gv11b", "gpu-gpc-0"])
def test_the_clock_of_a_jetsons_gpu(tmp_path: Path, name: str) -> None:
    assert jetson_gpu_state(tmp_path) is None
    folder = tmp_path / "sys/class/devfreq" / name
    folder.mkdir(parents=True)
    (folder / "cur_freq").write_text("624750000\n")
    assert jetson_gpu_state(tmp_path) == {"clock_mhz": 624.8, "clock_min_mhz": None, "clock_max_mhz": None}
    (folder / "min_freq").write_text("306000000\n")
    (folder / "max_freq").write_text("1020000000\n")
    assert jetson_gpu_state(tmp_path) == {"clock_mhz": 624.8, "clock_min_mhz": 306.0, "clock_max_mhz": 1020.0}
