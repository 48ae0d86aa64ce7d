"""Readings joined to samples, and samples summed up over a window."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgefsa.errors import InputError
from edgefsa.machine.telemetry import Sample, Window, energy_per_frame
from edgefsa.machine.telemetry.sample import Reading, merged, total_power


@pytest.mark.parametrize(
    ("rails", "power", "names"),
    [
        ({"VDD_IN": 4.6, "VDD_CPU_GPU_CV": 0.6, "VDD_SOC": 1.5}, 4.6, "VDD_IN"),
        (
            {"VDD_GPU_SOC": 2.4, "VDD_CPU_CV": 1.6, "VIN_SYS_5V0": 4.7, "VDDQ_VDD2_1V8AO": 0.4},
            8.7,
            "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0",
        ),
        ({"VDD_GPU": 2.0, "VDD_CPU_SOC_MSS": 5.9, "VIN_SYS_5V0": 5.6, "VIN": 19.8}, 19.8, "VIN"),
        ({"POM_5V_IN": 2.5, "POM_5V_GPU": 0.0}, 2.5, "POM_5V_IN"),
        ({"GPU board": 120.0, "CPU package-0": 45.5}, 165.5, "GPU board + CPU package-0"),
        ({}, None, ""),
    ],
)
def test_the_power_of_the_whole(rails: dict[str, float], power: float | None, names: str) -> None:
    found, of = total_power(rails)
    assert found == (None if power is None else pytest.approx(power)) and of == names


def test_of_each_field_the_first_reader_that_says_it_counts() -> None:
    sample = merged(
        {
            "board": Reading(rails_w={"VDD_IN": 5.0}, temperature_c=45.0, gpu_load=0.5),
            "sysfs": Reading(temperature_c=47.0, cpu_clock_mhz=729.0, gpu_load=0.9, throttled=False),
        },
        7.0,
    )
    assert (sample.time_s, sample.power_w, sample.power_of, sample.source) == (7.0, 5.0, "VDD_IN", "board, sysfs")
    assert (sample.temperature_c, sample.cpu_clock_mhz, sample.gpu_load, sample.throttled) == (47.0, 729.0, 0.5, False)
    assert (sample.gpu_clock_mhz, sample.dla_load, sample.memory_used_mb) == (None, None, None)


def test_throttling_that_one_reader_sees_is_throttling() -> None:
    readings = {"a": Reading(throttled=False), "b": Reading(throttled=True), "c": Reading()}
    assert merged(readings, 0.0).throttled is True
    assert merged({"c": Reading()}, 0.0).throttled is None


def test_a_window_against_numpy() -> None:
    """The mean of the power is the integral of the line through uneven samples, over its time."""
    random = np.random.default_rng(3)
    times = np.sort(random.uniform(10.0, 20.0, 40))
    powers, clocks = random.uniform(4.0, 9.0, 40), random.uniform(300.0, 900.0, 40)
    samples = [
        Sample(
            float(t), power_w=float(p), gpu_clock_mhz=float(c), temperature_c=float(40 + i), source="s", power_of="x"
        )
        for i, (t, p, c) in enumerate(zip(times, powers, clocks, strict=True))
    ]
    inside = (times >= 12.0) & (times <= 18.0)
    window = Window.of(samples, 12.0, 18.0)
    steps = np.diff(times[inside]) * (powers[inside][1:] + powers[inside][:-1]) / 2
    mean = steps.sum() / np.ptp(times[inside])
    assert window.samples == inside.sum() and window.length_s == 6.0
    assert window.power_w == pytest.approx(mean) and window.energy_j == pytest.approx(6.0 * mean)
    assert window.gpu_clock_mhz == pytest.approx(clocks[inside].mean())
    assert window.temperature_c == 40 + np.flatnonzero(inside).max()
    assert window.throttled is None and (window.power_of, window.source) == ("x", "s")


def test_one_sample_or_none_gives_no_power() -> None:
    alone = Window.of([Sample(1.0, power_w=5.0)], 0.0, 2.0)
    assert (alone.samples, alone.power_w, alone.energy_j) == (1, None, None)
    empty = Window.of([], 0.0, 2.0)
    assert empty.samples == 0 and empty.in_words() == ""


def test_throttling_seen_once_is_said() -> None:
    samples = [Sample(float(index), throttled=index == 3, power_w=5.0, power_of="VDD_IN") for index in range(6)]
    window = Window.of(samples, 0.0, 5.0)
    assert window.throttled and "THROTTLED" in window.in_words() and "5.00 W (VDD_IN)" in window.in_words()
    assert not Window.of(samples, 4.0, 5.0).throttled


def test_the_energy_of_a_frame() -> None:
    """12 W for 10 s over an idle of 5 W are 70 J: 0.7 J for each of 100 frames."""
    busy = Window.of([Sample(float(t), power_w=12.0, power_of="VDD_IN") for t in range(11)], 0.0, 10.0)
    idle = Window.of([Sample(float(t), power_w=5.0) for t in range(20, 24)], 20.0, 23.0)
    energy = energy_per_frame(busy, idle, 100)
    assert energy is not None and energy.joules_per_frame == pytest.approx(0.7)
    words = energy.in_words()
    for part in ("700.0 mJ a frame", "12.00 W over 10.0 s", "100 frames", "idle 5.00 W over 3.0 s", "VDD_IN"):
        assert part in words
    assert "THROTTLED" in dataclasses.replace(energy, throttled=True).in_words()
    assert "THROTTLED" not in words


def test_no_power_is_no_energy_and_no_frames_are_refused() -> None:
    nothing = Window.of([Sample(0.0), Sample(1.0)], 0.0, 1.0)
    assert energy_per_frame(nothing, nothing, 3) is None
    with pytest.raises(InputError, match="energy of 0 frames"):
        energy_per_frame(nothing, nothing, 0)
