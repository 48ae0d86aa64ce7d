"""The doctor's account of this machine, and of others that are played by files."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgefsa import machine as device
from edgefsa.deploy import doctor, doctor_text
from edgefsa.engines import targets, usable_targets


@pytest.fixture
def facts() -> dict:
    return json.loads(json.dumps(doctor()))


def test_every_target_can_be_used_or_says_why_not(facts: dict) -> None:
    assert set(facts["targets"]) == set(targets())
    for name, reason in usable_targets().items():
        target = facts["targets"][name]
        assert target["runs"] == (reason is None) and target["why_not"] == reason
        assert target["builds"] == (target["why_not_build"] is None)
        assert target["builds"] or not target["runs"]


def test_auto_picks_a_target_that_runs(facts: dict) -> None:
    for choice in facts["auto"].values():
        assert choice["target"] is None or facts["targets"][choice["target"]]["runs"]


def test_the_cpu_is_the_one_that_linux_describes(facts: dict) -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("needs /proc/cpuinfo")
    text = cpuinfo.read_text()
    assert facts["cpu"]["name"] in text
    assert all(f" {feature}" in text for feature in facts["cpu"]["features"])
    assert facts["cpu"]["cores"] >= 1


def test_versions_are_those_of_the_packages(facts: dict) -> None:
    import numpy as np

    assert facts["packages"]["numpy"] == np.__version__
    assert facts["packages"]["pycuda"] is None or facts["packages"]["pycuda"][0].isdigit()


def test_the_text_names_targets_cpu_and_a_jetson(facts: dict) -> None:
    board = {"model": "NVIDIA", "module": "Jetson NX", "l4t": "36.4.3", "jetpack": "6.2", "power_mode": "MAXN"}
    card = {"name": "NVIDIA GeForce RTX 4060", "compute_capability": "8.9", "memory_mb": 8192}
    text = doctor_text({**facts, "jetson": board, "gpus": [card]})
    for word in (*targets(), facts["cpu"]["name"], "Jetson NX", "JetPack 6.2", "MAXN", "RTX 4060", "8.9"):
        assert word in text
    assert "none that the NVIDIA driver shows" in doctor_text({**facts, "gpus": []})


def test_torch_and_onnx_stay_out() -> None:
    code = "import sys; from edgefsa.deploy import doctor; doctor(); print({'torch', 'onnx'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_a_machine_without_any_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    for target in targets().values():
        monkeypatch.setattr(type(target), "version", lambda self: "")
    facts = doctor()
    assert not any(target["runs"] for target in facts["targets"].values())
    assert all("pip install" in target["why_not"] for target in facts["targets"].values())
    assert facts["auto"]["int8"]["target"] is None
    assert device.cpu().name in doctor_text(facts)


def test_a_runtime_that_is_installed_and_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its shared library is missing: the doctor says so, and `auto` takes the next."""
    real = importlib.import_module

    def without_openvino(name: str, package: str | None = None) -> object:
        if name == "openvino":
            raise ImportError("libopenvino.so: cannot open shared object file\nmore of it")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without_openvino)
    facts = doctor()
    assert not facts["targets"]["openvino"]["runs"] and not facts["targets"]["openvino"]["builds"]
    reason = facts["targets"]["openvino"]["why_not"]
    assert "libopenvino.so: cannot open shared object file" in reason and "\n" not in reason
    if facts["targets"]["onnxruntime"]["runs"] and not facts["targets"]["tensorrt-rtx"]["runs"]:
        assert facts["auto"]["int8"]["target"] == "onnxruntime"


def test_the_plugin_library_or_why_there_is_none(facts: dict) -> None:
    plugins = facts["plugins"]
    assert (plugins["path"] is None) == (plugins["why_not"] is not None)
    if facts["packages"]["tensorrt"] is None:
        assert "tensorrt is not installed" in plugins["why_not"] and plugins["why_not"] in doctor_text(facts)
    found = {"path": "/lib/x.so", "tensorrt": "10.3.0", "architectures": [87], "why_not": None}
    assert "TensorRT plugins: /lib/x.so (TensorRT 10.3.0, sm_87)" in doctor_text({**facts, "plugins": found})


def test_findings_are_counted_and_each_says_its_mend(facts: dict) -> None:
    assert {finding["level"] for finding in facts["findings"]} <= {"ok", "warning", "problem"}
    found = [
        {"level": "problem", "what": "NumPy 2.2.6 is imported", "mend": "pip uninstall numpy"},
        {"level": "warning", "what": "power mode 15W", "mend": None},
        {"level": "ok", "what": "Python 3.10", "mend": None},
    ]
    lines = doctor_text({**facts, "findings": found}).splitlines()[-5:]
    assert lines[0] == "findings: 1 problems, 1 warnings"
    assert lines[1].split() == ["problem", "NumPy", "2.2.6", "is", "imported"]
    assert lines[2].strip() == "mend: pip uninstall numpy"
    assert [line.split()[0] for line in lines[3:]] == ["warning", "ok"]


def test_what_was_read_of_this_machine(facts: dict) -> None:
    import cv2

    assert facts["opencv"]["version"] == cv2.__version__
    assert facts["environment"]["version"] == ".".join(facts["python"].split(".")[:2])
    assert facts["memory"] is None or facts["memory"]["available_mb"] > 0
