"""tegrastats: lines that boards were seen to print, and a program of that name that prints them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefsa.machine.telemetry.sample import Reading, total_power
from edgefsa.machine.telemetry.tegrastats import open_tegrastats, reading_of_line
from tests.unit.recorded import play

# A Jetson Nano of JetPack 4, and an AGX Thor of JetPack 7.2 whose tegrastats says nothing of the GPU.
NANO_4 = (
    "RAM 2594/3956MB (lfb 12x4MB) SWAP 0/1978MB (cached 0MB) CPU [12%@1479,4%@1479,5%@1479,3%@1479] EMC_FREQ 8% "
    "GR3D_FREQ 37% PLL@39C CPU@41C PMIC@100C GPU@38C AO@45.5C thermal@40.25C POM_5V_IN 2532/2698 POM_5V_GPU 0/123"
)
THOR_7_2 = (
    "07-02-2026 13:45:44 RAM 36529/125749MB (lfb 12x4MB) CPU [2%@972,1%@972] cpu@60.406C tj@63.281C gpu@62.906C "
    "VDD_GPU 37528mW/37528mW/37528mW VDD_CPU_SOC_MSS 18961mW/18961mW/18961mW VIN_SYS_5V0 18331mW/18331mW/18331mW "
    "VIN 87426mW/43713mW/87426mW"
)
# AGX Orin of JetPack 5: cores that are off, a sensor that is off, a rail below zero, and the memory's rail.
AGX_5 = (
    "RAM 10239/62841MB (lfb 442x4MB) CPU [0%@1728,0%@1420,off,off] GR3D_FREQ 0% cpu@37.5C cv0@-256C tj@37.5C "
    "VDD_GPU_SOC 1592mW/1592mW VDD_CPU_CV -398mW/-398mW VIN_SYS_5V0 2624mW/2624mW VDDQ_VDD2_1V8AO 403mW/403mW"
)


@pytest.mark.parametrize(
    ("board", "power_w", "names", "temperature_c", "cpu_mhz", "gpu_mhz", "gpu_load", "dla_load", "used_mb"),
    [
        ("orin-nano-jetpack6.2", 4.644, "VDD_IN", 46.843, 729.0, None, 0.0, None, 2497),
        ("orin-nano-jetpack7.2", 3.462, "VDD_IN", 46.5, 729.0, 306.0, 0.0, None, 2837),
        ("orin-nx-jetpack6.1", 7.615, "VDD_IN", 45.5, 1420.0, 612.0, 0.3, None, 6123),
        (
            "agx-orin-jetpack6.2.1",
            8.726,
            "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
            *(52.562, (2188 + 2112 + 2035 + 2201 + 4 * 1267 + 4 * 1036) / 12, 0.0, 0.0, 0.0, 18207),
        ),
        (
            "agx-orin-jetpack7.2.2",
            13.907,
            "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
            *(52.968, 2201.0, 1300.0, 0.12, 0.0, 20642),
        ),
        ("thor-jetpack7.1", 19.78, "VIN", 38.875, 972.0, 314.0, None, None, 105265),
    ],
)
def test_lines_of_each_board(
    board: str,
    power_w: float,
    names: str,
    temperature_c: float,
    cpu_mhz: float,
    gpu_mhz: float | None,
    gpu_load: float | None,
    dla_load: float | None,
    used_mb: float,
    tmp_path: Path,
) -> None:
    reading = reading_of_line(play(board, tmp_path).answers["tegrastats"])
    found, of = total_power(reading.rails_w)
    assert found == pytest.approx(power_w) and of == names
    assert (reading.temperature_c, reading.gpu_load, reading.dla_load) == (temperature_c, gpu_load, dla_load)
    assert reading.cpu_clock_mhz == pytest.approx(cpu_mhz) and reading.gpu_clock_mhz == gpu_mhz
    assert reading.memory_used_mb == used_mb and reading.throttled is None


def test_older_and_stranger_lines() -> None:
    nano = reading_of_line(NANO_4)
    assert nano.rails_w == {"POM_5V_IN": 2.532, "POM_5V_GPU": 0.0}
    assert (nano.temperature_c, nano.gpu_load, nano.gpu_clock_mhz) == (45.5, 0.37, None)
    thor = reading_of_line(THOR_7_2)
    assert total_power(thor.rails_w) == (87.426, "VIN") and thor.gpu_load is None and thor.gpu_clock_mhz is None
    agx = reading_of_line(AGX_5)
    assert agx.rails_w["VDD_CPU_CV"] == -0.398 and total_power(agx.rails_w)[0] == pytest.approx(3.818)
    assert (agx.temperature_c, agx.cpu_clock_mhz) == (37.5, 1574.0)


@pytest.mark.parametrize("words", ["NVDLA0 20%@1408 NVDLA1 off", "NVDLA0_FREQ 20%@1408 NVDLA1_FREQ off"])
def test_the_load_of_the_busier_dla(words: str) -> None:
    assert reading_of_line(f"RAM 1/2MB {words} APE 174").dla_load == 0.2


@pytest.mark.parametrize("line", ["", "tegrastats: command line error\n", "RAM ?/?MB CPU [] GR3D_FREQ"])
def test_what_is_no_line_says_nothing(line: str) -> None:
    assert reading_of_line(line) == Reading()


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be so in time"
        time.sleep(0.01)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program tegrastats that notes what it was started with and prints a line until it is ended."""
    program = tmp_path / "tegrastats"
    line = play("orin-nano-jetpack6.2", tmp_path / "board").answers["tegrastats"].strip()
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys, time\n"
        f"pathlib.Path({str(tmp_path / 'arguments')!r}).write_text(' '.join(sys.argv[1:]))\n"
        f"while True:\n    print({line!r}, flush=True)\n    time.sleep(0.02)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_program_is_followed_and_ended(fake: Path) -> None:
    reader = open_tegrastats(0.25)
    assert reader is not None and reader.measures_power
    until(lambda: reader.read() != Reading())
    assert reader.read().rails_w["VDD_IN"] == 4.644
    assert (fake / "arguments").read_text() == "--interval 250"
    process = reader._process
    reader.close()
    assert process.returncode is not None and reader.read() == Reading()


def test_a_program_that_ends_by_itself(fake: Path) -> None:
    (fake / "tegrastats").write_text("#!/bin/sh\necho 'RAM 5/10MB'\n")
    reader = open_tegrastats(1.0)
    assert reader is not None
    reader._follower.join(30)
    assert reader.read() == Reading()
    reader.close()


def test_without_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert open_tegrastats(1.0) is None
    (tmp_path / "tegrastats").write_text("no program at all")
    (tmp_path / "tegrastats").chmod(0o755)
    assert open_tegrastats(1.0) is None
