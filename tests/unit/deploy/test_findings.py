"""What the doctor finds on recorded boards, on boards that were spoilt as people spoil them, and without a board."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from edgefsa.deploy.facts import Facts, facts_of_machine
from edgefsa.deploy.finding import OK, PROBLEM, WARNING, Finding
from edgefsa.deploy.findings import findings
from edgefsa.deploy.jetson_findings import jetson_findings
from edgefsa.machine.installed import Environment
from tests.unit.recorded import BOARDS, play

RUNS = {"runs": True, "why_not": None}
MISSING = {"runs": False, "why_not": "the package tensorrt is not installed"}
NO_PLUGINS = {"path": None, "why_not": "there is no plugin library"}
NANO, NANO_7 = "orin-nano-jetpack6.2", "orin-nano-jetpack7.2"


def facts(board: str, root: Path, python: Environment | None = None, *, folders: tuple[str, ...] = ()) -> Facts:
    """The facts of a recorded board whose own Python runs, with cuda-bindings by pip as the extra `jetson` has it."""
    machine = play(board, root)
    version = "3.12" if "jetpack7" in board else "3.10"
    site = root / "venv/site-packages"
    bindings = "13.2.0" if "jetpack7" in board else "12.9.4"
    package(site, "cuda-bindings", bindings)
    return facts_of_machine(
        root,
        machine.ask,
        python=python or Environment(version, virtual=True, sees_system=True),
        folders=[*folders, str(site), *machine.folders()],
        cv2_answer=machine.answers["cv2"],
    )


def package(site: Path, name: str, version: str) -> str:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return str(site)


def cv2(facts: Facts, **changes: Any) -> Facts:
    return dataclasses.replace(facts, opencv=dataclasses.replace(facts.opencv, **changes))


def one(found: list[Finding], words: str) -> Finding:
    """The only finding that has these words in it."""
    (match,) = [finding for finding in found if words in finding.what]
    return match


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_as_jetpack_leaves_it_has_no_problem(board: str, tmp_path: Path) -> None:
    found = jetson_findings(facts(board, tmp_path))
    assert [finding for finding in found if finding.level == PROBLEM] == []
    assert one(found, "it brings TensorRT").level == OK
    assert one(found, "with GStreamer").what.startswith("JetPack's OpenCV 4.8.0")
    assert one(found, "which goes with JetPack's modules").level == OK


@pytest.mark.parametrize(
    ("board", "level", "mend"),
    [
        (NANO, OK, None),
        (NANO_7, WARNING, "sudo nvpmodel -m 2"),
        ("orin-nx-jetpack6.1", WARNING, "sudo nvpmodel -m 0"),
        ("agx-orin-jetpack6.2.1", WARNING, "sudo nvpmodel -m 0"),
        ("agx-orin-jetpack7.2.2", OK, None),
        ("thor-jetpack7.1", WARNING, "sudo nvpmodel -m 0"),
    ],
)
def test_the_power_mode(board: str, level: str, mend: str | None, tmp_path: Path) -> None:
    finding = one(jetson_findings(facts(board, tmp_path)), "power mode")
    assert (finding.level, finding.mend) == (level, mend)


def test_module_dla_and_clocks(tmp_path: Path) -> None:
    nano, agx = (jetson_findings(facts(board, tmp_path / board)) for board in (NANO, "agx-orin-jetpack7.2.2"))
    assert one(nano, "p3767-0005").what.endswith("compute capability 8.7, no DLA")
    assert one(agx, "p3701-0005").what.endswith("2 DLA cores, which edgefsa does not use")
    assert "306 to 1020 MHz" in one(nano, "GPU's clock").what
    assert one(agx, "GPU's clock").what == "the GPU's clock is held at 1300.5 MHz"


def test_an_unknown_module_and_an_unknown_release(tmp_path: Path) -> None:
    known = facts(NANO, tmp_path)
    changed = {"module": None, "module_id": "p3767-9999", "l4t": "40.1", "jetpack": None}
    strange = dataclasses.replace(known, jetson={**(known.jetson or {}), **changed})
    found = jetson_findings(strange)
    assert one(found, "p3767-9999").level == WARNING and "compute capability 8.7 by its SoC" in one(found, "9999").what
    assert one(found, "Jetson Linux 40.1 is not known to edgefsa").level == WARNING
    assert one(found, "TensorRT 10.3").level == OK


def test_an_old_jetpack(tmp_path: Path) -> None:
    known = facts(NANO, tmp_path)
    old = dataclasses.replace(
        known, jetson={**(known.jetson or {}), "l4t": "35.6.0", "jetpack": "5.1.4"}, debian={"libnvinfer8": "8.5.2-1"}
    )
    found = jetson_findings(old)
    assert one(found, "JetPack 5.1.4").level == PROBLEM
    assert "older than 10.3" in one(found, "TensorRT 8.5.2").what


def test_jetpack_6_0_has_a_tensorrt_that_is_too_old(tmp_path: Path) -> None:
    known = facts(NANO, tmp_path)
    debian = {**known.debian, "libnvinfer8": "8.6.2.3-1+cuda12.2"}
    del debian["libnvinfer10"]
    debian["python3-libnvinfer"] = "8.6.2.3-1+cuda12.2"
    old = dataclasses.replace(known, jetson={**(known.jetson or {}), "l4t": "36.3.0", "jetpack": "6.0"}, debian=debian)
    finding = one(jetson_findings(old), "TensorRT 8.6.2.3")
    assert finding.level == PROBLEM and "JetPack 6.1 or newer" in str(finding.mend)


def test_a_board_without_the_compute_stack(tmp_path: Path) -> None:
    bare = dataclasses.replace(facts(NANO, tmp_path), debian={"nvidia-l4t-core": "36.4.3-20250107174145"})
    found = jetson_findings(bare)
    assert one(found, "TensorRT is not installed").mend == "sudo apt update && sudo apt install nvidia-jetpack"
    assert one(found, "CUDA toolkit is not installed").mend == "sudo apt install cuda-toolkit-12-6"


@pytest.mark.parametrize(("board", "level"), [(NANO, PROBLEM), (NANO_7, WARNING)])
def test_pips_tensorrt_over_jetpacks(board: str, level: str, tmp_path: Path) -> None:
    site = tmp_path / "pips"
    package(site, "tensorrt", "10.9.0.34")
    package(site, "tensorrt_cu12_libs", "10.9.0.34")
    finding = one(jetson_findings(facts(board, tmp_path, folders=(str(site),))), "in place of JetPack's TensorRT")
    assert finding.level == level
    assert finding.mend == "python -m pip uninstall --yes tensorrt tensorrt_cu12_libs"


def test_pips_opencv_over_jetpacks(tmp_path: Path) -> None:
    site = package(tmp_path / "pips", "opencv-python-headless", "4.12.0.88")
    spoilt = cv2(facts(NANO, tmp_path, folders=(site,)), by="pip", gstreamer=False, version="4.12.0")
    finding = one(jetson_findings(spoilt), "pip's OpenCV 4.12.0")
    assert finding.level == PROBLEM and "/dev/video0 (CSI) cannot be read by it" in finding.what
    assert finding.mend == "python -m pip uninstall --yes opencv-python-headless"
    webcam = one(jetson_findings(dataclasses.replace(spoilt, cameras=[])), "pip's OpenCV")
    assert webcam.level == WARNING and "has no GStreamer" in webcam.what


def test_numpy_2_under_jetpacks_modules(tmp_path: Path) -> None:
    """With the system's NumPy behind it pip's goes; without, an older one comes. cv2's own failure is said with it."""
    site = package(tmp_path / "pips", "numpy", "2.2.6")
    works = facts(NANO, tmp_path, folders=(site,))
    assert one(jetson_findings(works), "NumPy 2.2.6").level == OK, "what can be imported is not made for another"
    known = cv2(works, by="pip")
    finding = one(jetson_findings(known), "NumPy 2.2.6")
    assert (finding.level, finding.mend) == (WARNING, "python -m pip uninstall --yes numpy")
    assert "made for 1.21" in finding.what
    failing = cv2(known, error="ImportError: numpy.core.multiarray failed to import", version=None)
    found = jetson_findings(failing)
    assert one(found, "NumPy 2.2.6").level == PROBLEM and "multiarray" in one(found, "NumPy 2.2.6").what
    assert not any("cv2 cannot be imported: " in finding.what for finding in found)
    alone = dataclasses.replace(known, python=[item for item in known.python if item.by == "pip"])
    assert one(jetson_findings(alone), "NumPy 2.2.6").mend == "python -m pip install 'numpy<2'"


def test_bindings_of_a_newer_cuda(tmp_path: Path) -> None:
    site = package(tmp_path / "pips", "cuda-bindings", "13.0.1")
    finding = one(jetson_findings(facts(NANO, tmp_path, folders=(site,))), "cuda-bindings 13.0.1")
    assert (finding.level, finding.mend) == (PROBLEM, "python -m pip install 'cuda-bindings>=12,<13'")
    none = dataclasses.replace(facts(NANO_7, tmp_path / "7"), python=[])
    assert one(jetson_findings(none), "neither cuda-bindings nor pycuda").level == PROBLEM


@pytest.mark.parametrize(
    ("python", "words", "mend"),
    [
        (Environment("3.12", True, True), "JetPack's TensorRT and OpenCV are for 3.10", "python3.10 -m venv"),
        (Environment("3.10", True, False), "does not see JetPack's", "--clear --system-site-packages"),
    ],
)
def test_the_wrong_python(python: Environment, words: str, mend: str, tmp_path: Path) -> None:
    finding = one(jetson_findings(facts(NANO, tmp_path, python)), words)
    assert finding.level == PROBLEM and mend in str(finding.mend)


def test_tensorrt_11_where_it_can_be_added(tmp_path: Path) -> None:
    agx = facts("agx-orin-jetpack7.2.2", tmp_path)
    assert one(jetson_findings(agx), "TensorRT 11.4.1").what.endswith("on this module")
    nx = {**(agx.jetson or {}), "module": "Jetson Orin NX 16GB"}
    finding = one(jetson_findings(dataclasses.replace(agx, jetson=nx)), "TensorRT 11.4.1")
    assert "names AGX Orin and Thor: of this module nothing is known" in finding.what

    added = {**agx.debian, "libnvinfer11": "11.4.1.3-1+cuda13.2"}
    assert one(jetson_findings(dataclasses.replace(agx, debian=added)), "11.4.1").level == OK
    unknown = one(jetson_findings(dataclasses.replace(agx, debian=added, jetson=nx)), "11.4.1")
    assert unknown.level == WARNING and "is not known" in unknown.what


def test_a_desktop_whose_card_has_no_driver(tmp_path: Path) -> None:
    machine = play("desktop", tmp_path)
    found = facts_of_machine(tmp_path, machine.ask, folders=[], cv2_answer=machine.answers["cv2"])
    found = dataclasses.replace(found, gpus=())
    targets = {"tensorrt": MISSING, "openvino": RUNS}
    result = findings(found, targets, NO_PLUGINS)
    assert found.jetson is None
    assert one(result, "1 NVIDIA card(s)").mend == "sudo ubuntu-drivers install && sudo reboot"
    assert one(result, "/dev/video0").what == "camera /dev/video0 (HD Pro Webcam C920, usb)"
    assert one(result, "of memory are free").level == OK and "2048 MB of swap" in one(result, "free").what
    assert one(result, "engines run here by openvino").level == OK

    with_driver = findings(dataclasses.replace(found, gpus=("NVIDIA GeForce RTX 4060",)), targets, NO_PLUGINS)
    assert one(with_driver, "RTX 4060").mend == "python -m pip install 'edgefsa[tensorrt]'"
    both = findings(found, {"tensorrt": RUNS}, NO_PLUGINS)
    assert one(both, "TensorRT plugins").mend == "edgefsa plugins --build"
    assert one(findings(found, {"tensorrt": RUNS}, {"path": "/x.so", "why_not": None}), "/x.so").level == OK


def test_a_tensorrt_for_a_newer_driver(tmp_path: Path) -> None:
    machine = play("desktop", tmp_path)
    site = package(tmp_path / "pips", "tensorrt_cu13", "10.14.1.48")
    found = facts_of_machine(tmp_path, machine.ask, folders=[site], cv2_answer=machine.answers["cv2"])
    found = dataclasses.replace(found, gpus=("NVIDIA GeForce RTX 4060",), driver_cuda=(12, 8))
    finding = one(findings(found, {"tensorrt": MISSING, "openvino": RUNS}, NO_PLUGINS), "is for CUDA 13")
    assert finding.level == PROBLEM and str(finding.mend).endswith("pip install tensorrt-cu12")
    newer = dataclasses.replace(found, driver_cuda=(13, 0))
    assert one(findings(newer, {"tensorrt": RUNS}, NO_PLUGINS), "TensorRT for it").level == OK


def test_a_machine_with_nothing(tmp_path: Path) -> None:
    found = facts_of_machine(tmp_path, lambda command: "", folders=[], cv2_answer="")
    result = findings(found, {"tensorrt": MISSING, "openvino": MISSING}, NO_PLUGINS)
    assert (found.jetson, found.debian, found.python, found.memory, found.nvidia_cards) == (None, {}, [], None, 0)
    assert {finding.what: finding.level for finding in result} == {
        "cv2 cannot be imported: the process that imported it ended without an answer": PROBLEM,
        "how much memory there is cannot be read; builds cannot be fitted to it": WARNING,
        "no camera is attached (V4L2 shows none)": OK,
        "no target can run an engine here": PROBLEM,
    }


def test_two_opencvs_of_pip(tmp_path: Path) -> None:
    machine = play("desktop", tmp_path)
    site = package(tmp_path / "pips", "opencv-python", "4.12.0.88")
    package(tmp_path / "pips", "opencv-python-headless", "4.12.0.88")
    found = facts_of_machine(tmp_path, machine.ask, folders=[site], cv2_answer=machine.answers["cv2"])
    finding = one(findings(found, {"tensorrt": MISSING, "openvino": RUNS}, NO_PLUGINS), "write over each other's")
    assert finding.level == WARNING and "uninstall --yes opencv-python opencv-python-headless" in str(finding.mend)


def test_a_small_board_without_swap_is_warned_and_gets_the_command(tmp_path: Path) -> None:
    """zram is no room: it is in the memory itself."""
    for board, zram in ((NANO, True), (NANO_7, False)):
        result = findings(facts(board, tmp_path / board), {"tensorrt": RUNS}, NO_PLUGINS)
        finding = one(result, "a build may run out of memory")
        assert finding.level == WARNING and "mkswap /swapfile" in str(finding.mend)
        assert ("(zram)" in finding.what) is zram
    big = findings(facts("thor-jetpack7.1", tmp_path / "thor"), {"tensorrt": RUNS}, NO_PLUGINS)
    assert one(big, "of memory are free").level == OK


def test_findings_are_plain_json(tmp_path: Path) -> None:
    result = [dataclasses.asdict(finding) for finding in jetson_findings(facts(NANO, tmp_path))]
    assert json.loads(json.dumps(result)) == result
    assert all(finding["level"] in (OK, WARNING, PROBLEM) and finding["what"] for finding in result)
