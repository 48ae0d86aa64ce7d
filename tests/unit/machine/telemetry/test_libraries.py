"""NVML and jetson-stats, played by objects that answer as these libraries document it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from edgefsa.machine import Gpu
from edgefsa.machine.telemetry import nvml
from edgefsa.machine.telemetry.jetson_stats import open_jetson_stats
from edgefsa.machine.telemetry.nvml import open_nvml

CARD = Gpu("NVIDIA GeForce RTX 4060", "8.9", 8188, "0000:c1:00.0")


class NvmlError(Exception):
    """What pynvml raises."""


def fake_nvml(**answers: Any) -> ModuleType:
    """A pynvml whose functions give `answers`; the others raise, as for a GPU that does not say."""
    module = ModuleType("pynvml")
    module.NVMLError, module.NVML_TEMPERATURE_GPU, module.NVML_CLOCK_SM = NvmlError, 0, 1  # type: ignore[attr-defined]
    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown", "GpuIdle")
    for bit, name in enumerate(names):
        setattr(module, f"nvmlClocksThrottleReason{name}", 1 << bit)
    functions = ("PowerUsage", "Temperature", "ClockInfo", "UtilizationRates", "CurrentClocksThrottleReasons")
    for name in functions:

        def answer(handle: object, *arguments: object, name: str = name) -> Any:
            assert handle == b"0000:c1:00.0"
            if name not in answers:
                raise NvmlError(name)
            return answers[name]

        setattr(module, f"nvmlDeviceGet{name}", answer)
    module.nvmlInit = module.nvmlShutdown = lambda: None  # type: ignore[attr-defined]
    module.nvmlDeviceGetHandleByPciBusId = lambda bus: bus  # type: ignore[attr-defined]
    return module


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "gpus", lambda: (CARD,))


def test_a_gpu_by_nvml(card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"PowerUsage": 115_500, "Temperature": 61, "ClockInfo": 2460, "CurrentClocksThrottleReasons": 1 << 5}
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(**answers, UtilizationRates=SimpleNamespace(gpu=87)))
    reader = open_nvml()
    assert reader is not None and reader.measures_power
    reading = reader.read()
    assert reading.rails_w == {"GPU board": 115.5} and reading.temperature_c == 61.0
    assert (reading.gpu_clock_mhz, reading.gpu_load, reading.throttled) == (2460.0, 0.87, False)  # idle is none
    beside = open_nvml(with_power=False)
    assert beside is not None and not beside.measures_power and beside.read().rails_w == {}
    reader.close()


@pytest.mark.parametrize("bit", range(5))
def test_each_reason_of_throttling(bit: int, card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(CurrentClocksThrottleReasons=1 << bit))
    reader = open_nvml()
    assert reader is not None and reader.read().throttled is True


def test_a_gpu_that_says_nothing(card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    reader = open_nvml()
    assert reader is not None and not reader.measures_power and reader.read() == type(reader.read())()


def test_nvml_is_not_asked_without_a_gpu_or_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(nvml, "gpus", lambda: ())
    assert open_nvml() is None
    monkeypatch.setattr(nvml, "gpus", lambda: (CARD,))
    assert open_nvml() is None


def test_nvml_that_cannot_start(card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_nvml()

    def fails() -> None:
        raise NvmlError("Driver Not Loaded")

    module.nvmlInit = fails  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert open_nvml() is None


def test_the_names_are_nvmls_own() -> None:
    """The real package has every function, constant and reason that is asked for by name."""
    pynvml = pytest.importorskip("pynvml", reason="needs the package nvidia-ml-py")
    for name in vars(fake_nvml()):
        assert name.startswith("__") or hasattr(pynvml, name), name


class FakeJtop:
    """jtop 4 and later: attributes after `start`, in mW, kHz, KB, percent and degrees."""

    def __init__(self, interval: float) -> None:
        self.interval, self.closed = interval, False
        cores = [{"online": True, "freq": {"cur": clock}} for clock in (729600, 1344000)]
        self.cpu = {"cpu": [*cores, {"online": False}]}
        self.gpu = {"gpu": {"status": {"load": 42.0}, "freq": {"cur": 918000}}}
        self.temperature = {"tj": {"temp": 51.5, "online": True}, "cv0": {"temp": -256, "online": False}}
        self.memory = {"RAM": {"used": 3 * 1024 * 1024}}
        self.power = {"rail": {"VDD_SOC": {"power": 1500}}, "tot": {"power": 6200, "name": "VDD_IN"}}

    def start(self) -> None:
        """Connect."""

    def close(self) -> None:
        self.closed = True


def fake_jtop(kind: type) -> ModuleType:
    module = ModuleType("jtop")
    module.jtop, module.JtopException = kind, type("JtopException", (Exception,), {})  # type: ignore[attr-defined]
    return module


def test_a_board_by_jetson_stats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", fake_jtop(FakeJtop))
    reader = open_jetson_stats(0.5)
    assert reader is not None
    reading = reader.read()
    assert reading.rails_w == {"VDD_SOC": 1.5, "VDD_IN": 6.2}
    assert (reading.temperature_c, reading.cpu_clock_mhz, reading.gpu_clock_mhz) == (51.5, 1036.8, 918.0)
    assert (reading.memory_used_mb, reading.gpu_load) == (3072.0, 0.42)
    source = reader._source
    reader.close()
    assert source.closed and source.interval == 0.5


def test_jetson_stats_without_its_service_or_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake_jtop(FakeJtop)

    class Unserved(FakeJtop):
        def start(self) -> None:
            raise module.JtopException("The jtop.service is not active")

    module.jtop = Unserved  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jtop", module)
    assert open_jetson_stats(1.0) is None
    monkeypatch.setitem(sys.modules, "jtop", None)
    assert open_jetson_stats(1.0) is None
