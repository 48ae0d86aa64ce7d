"""Files under /sys and /proc, laid out as the kernel documents them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefsa.machine.telemetry import sysfs
from edgefsa.machine.telemetry.sysfs import SystemReader, open_rails, open_rapl
from tests.unit.recorded import play


def put(root: Path, values: dict[str, object]) -> Path:
    for name, value in values.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def counters(root: Path, package: int, dram: int) -> Path:
    for folder, name, energy in (
        ("intel-rapl:0", "package-0", package),
        ("intel-rapl:0:0", "core", package // 2),
        ("intel-rapl:0:1", "dram", dram),
        ("intel-rapl:1", "psys", 3 * package),
    ):
        values = {"name": name, "energy_uj": energy, "max_energy_range_uj": 1_000_000_000}
        put(root / "sys/class/powercap" / folder, values)
    return root


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(sysfs.time, "monotonic", lambda: now[0])
    return now


def test_rapl_counts_packages_and_memory_and_no_part_twice(tmp_path: Path, clock: list[float]) -> None:
    reader = open_rapl(counters(tmp_path, 500_000_000, 100_000_000))
    assert reader is not None
    clock[0] += 2.0
    counters(tmp_path, 590_000_000, 106_000_000)
    assert reader.read().rails_w == {"CPU package-0": 45.0, "memory of package-0": 3.0}


def test_rapl_counters_begin_again(tmp_path: Path, clock: list[float]) -> None:
    reader = open_rapl(counters(tmp_path, 990_000_000, 0))
    assert reader is not None
    clock[0] += 1.0
    counters(tmp_path, 20_000_000, 1_000_000)
    assert reader.read().rails_w["CPU package-0"] == pytest.approx(30.0)


def test_rapl_where_nobody_may_read_it(tmp_path: Path) -> None:
    put(tmp_path / "sys/class/powercap/intel-rapl:0", {"name": "package-0"})
    assert open_rapl(tmp_path) is None
    assert open_rapl(tmp_path / "nothing") is None


def test_a_counter_that_goes_away(tmp_path: Path, clock: list[float]) -> None:
    reader = open_rapl(counters(tmp_path, 5, 5))
    assert reader is not None
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    clock[0] += 1.0
    assert list(reader.read().rails_w) == ["memory of package-0"]


def test_rails_of_a_jetson_by_its_monitors(tmp_path: Path) -> None:
    """INA3221 as AGX Thor and Orin have it: three channels, of which one may hang on nothing, and the shunts' sum."""
    monitor = {"name": "ina3221", "in1_label": "VDD_GPU", "in1_input": 20000, "curr1_input": 600}
    monitor |= {
        "in2_label": "NC",
        "in2_input": 1,
        "curr2_input": 1,
        "in7_label": "sum of shunt voltages",
        "in7_input": 5,
    }
    put(tmp_path / "sys/class/hwmon/hwmon1", monitor)
    put(tmp_path / "sys/class/hwmon/hwmon2", {"name": "ina238", "power1_input": 19_780_000})
    put(tmp_path / "sys/class/hwmon/hwmon3", {"name": "coretemp", "in1_label": "no rail"})
    reader = open_rails(tmp_path)
    assert reader is not None and reader.read().rails_w == {"VDD_GPU": 12.0, "VIN": 19.78}
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
    assert reader.read().rails_w == {"VIN": 19.78}
    assert open_rails(tmp_path / "nothing") is None


def test_temperatures_clocks_and_memory(tmp_path: Path) -> None:
    play("desktop", tmp_path)
    put(tmp_path / "sys/class/thermal/thermal_zone0", {"temp": 46500, "type": "tj-thermal"})
    put(tmp_path / "sys/class/thermal/thermal_zone1", {"temp": -256000, "type": "cv0-thermal"})
    put(tmp_path / "sys/class/hwmon/hwmon0", {"name": "coretemp", "temp1_input": 61000, "temp2_input": 59000})
    for core, kilohertz in enumerate((800_000, 1_600_000)):
        put(tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq", {"scaling_cur_freq": kilohertz})
    reading = SystemReader(tmp_path).read()
    assert (reading.temperature_c, reading.cpu_clock_mhz) == (61.0, 1200.0)
    assert reading.memory_used_mb == (32768000 - 24576000) / 1024
    assert reading.throttled is None


def test_throttling_by_an_alert(tmp_path: Path) -> None:
    for index, kind in enumerate(("gpu-throttle-alert", "pwm-fan")):
        put(tmp_path / f"sys/class/thermal/cooling_device{index}", {"type": kind, "cur_state": index})
    reader = SystemReader(tmp_path)
    assert reader.read().throttled is False  # a fan that turns is no throttling
    put(tmp_path / "sys/class/thermal/cooling_device0", {"cur_state": 1})
    assert reader.read().throttled is True


@pytest.mark.parametrize(
    "counter",
    ["sys/class/hwmon/hwmon4/oc3_event_cnt", "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"],
)
def test_throttling_by_events_since_the_reading_before(counter: str, tmp_path: Path) -> None:
    reader = SystemReader(put(tmp_path, {counter: 7}))
    assert reader.read().throttled is False
    put(tmp_path, {counter: 8})
    assert reader.read().throttled is True
    assert reader.read().throttled is False


def test_a_machine_with_nothing(tmp_path: Path) -> None:
    reading = SystemReader(tmp_path).read()
    assert reading == type(reading)()
