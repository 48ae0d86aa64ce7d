"""The description of a machine: this one, and others by recorded answers."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from edgefsa import machine
from edgefsa.machine import description as described
from edgefsa.machine.gpu_state import gpu_states, output_of
from edgefsa.machine.jetson import jetson

# What nvidia-smi prints for two cards, the second of which does not say its power limits.
TWO_CARDS = """00000000:01:00.0, 570.86.15, 1410, 1980, 2619, 2619, 350.00, 700.00
00000000:C1:00.0, 570.86.15, 210, 2100, 405, 9001, [N/A], [N/A]
"""
CARD = machine.Gpu("NVIDIA GeForce RTX 4060", "8.9", 8188, "0000:c1:00.0")


def test_this_machine() -> None:
    found = described.machine_description()
    assert found["cpu"] == machine.cpu().name and tuple(found["cpu_features"]) == machine.cpu().features
    assert found["cores"] == os.cpu_count() and 1 <= found["cores_usable"] <= found["cores"]
    assert found["packages"]["numpy"] == np.__version__ and found["python"] == platform.python_version()
    assert len(found["gpus"]) == len(machine.gpus())
    assert json.loads(json.dumps(found)) == found


def test_describing_the_machine_imports_no_runtime() -> None:
    code = (
        "import sys; from edgefsa.machine.description import machine_description; machine_description()\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'openvino', 'tensorrt') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clocks_and_power_limits_by_pci_bus() -> None:
    asked: list[list[str]] = []
    states = gpu_states(lambda command: asked.append(list(command)) or TWO_CARDS)
    assert states["01:00.0"] == {
        "driver": "570.86.15",
        "clock_mhz": 1410.0,
        "clock_max_mhz": 1980.0,
        "memory_clock_mhz": 2619.0,
        "memory_clock_max_mhz": 2619.0,
        "power_limit_w": 350.0,
        "power_limit_max_w": 700.0,
    }
    assert states["c1:00.0"]["clock_mhz"] == 210.0 and states["c1:00.0"]["power_limit_w"] is None
    ((program, query, form),) = asked
    assert program == "nvidia-smi" and query.startswith("--query-gpu=pci.bus_id,driver_version,clocks.sm,")
    assert form == "--format=csv,noheader,nounits"


@pytest.mark.parametrize("answer", ["", "No devices were found\n", "NVIDIA-SMI has failed\n\n"])
def test_no_answer_is_no_state(answer: str) -> None:
    assert gpu_states(lambda command: answer) == {}


def test_a_missing_or_failing_program_says_nothing() -> None:
    assert output_of(["edgefsa-has-no-such-program"]) == ""
    assert output_of([sys.executable, "-c", "print('said')"]) == "said\n"


def test_a_gpu_gets_the_state_of_its_own_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "gpus", lambda: (CARD,))
    monkeypatch.setattr(described, "gpu_states", lambda: gpu_states(lambda command: TWO_CARDS))
    monkeypatch.setattr(described, "jetson_gpu_state", lambda: None)
    (found,) = described.machine_description()["gpus"]
    assert (found["name"], found["clock_mhz"], found["memory_clock_max_mhz"]) == (CARD.name, 210.0, 9001.0)
    words = described.gpu_in_words(found)
    assert words == (
        "NVIDIA GeForce RTX 4060, compute capability 8.9, 8188 MB, driver 570.86.15, clock 210 of 2100 MHz, "
        "memory clock 405 of 9001 MHz"
    )


def test_a_board_says_its_power_mode() -> None:
    gpu = {"name": "Orin", "compute_capability": "8.7", "memory_mb": 7620, "clock_mhz": 624.8, "clock_max_mhz": 1020.0}
    words = described.gpu_in_words(gpu, {"power_mode": "MAXN_SUPER"})
    assert words == "Orin, compute capability 8.7, 7620 MB, clock 624.8 of 1020 MHz, power mode MAXN_SUPER"


def test_without_a_gpu_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "gpus", lambda: ())
    monkeypatch.setattr(described, "gpu_states", lambda: pytest.fail("nvidia-smi was asked"))
    assert described.gpu_descriptions() == []


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (("avx2", "avx512_vnni", "amx_tile", "amx_int8"), "INT8 by AMX"),
        (("avx2", "avx_vnni", "avx512_vnni"), "INT8 by AVX-512 VNNI, no AMX"),
        (("avx2", "avx_vnni"), "INT8 by AVX-VNNI, no AMX"),
        (("avx2", "avx512f"), "no VNNI and no AMX: INT8 by 16-bit sums"),
        (("asimd", "asimddp", "i8mm"), "INT8 by I8MM"),
        (("asimd", "asimddp"), "INT8 by dot products, no I8MM"),
        (("asimd",), ""),
    ],
)
def test_what_multiplies_8_bit_integers(features: tuple[str, ...], words: str) -> None:
    assert described.int8_in_words(features) == words
    found = described.cpu_in_words({"cpu": "A CPU", "cores_usable": 2, "cpu_features": list(features)})
    assert found == "A CPU, 2 cores" + (f", {words}" if words else "")


def test_this_machine_is_no_jetson_or_says_which() -> None:
    assert described.machine_description()["jetson"] == jetson()
